"""What documents and speeches of central banks add to HAR on an index, funds and exchange rates.

    python -m benchmarks.texts_beside_har FOLDER

FOLDER keeps the files it makes and a home of its own; some ten minutes of one core, most of them for the vectors of
long documents. Needs `../shared/data`. Speeches are dated 17:00 UTC, documents of eight central banks 18:00 of the day
on which they could be had, turns of press conferences 19:30 on; all concern every instrument. Vectors are those of
words alone (`--runtime static`).
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.search_corpora import BANKS, CONFERENCES, SPEECHES
from benchmarks.text_encoding import DATA
from prometheus.cli import main as run

INSTRUMENTS = ("^GSPC", "LQD.US", "TIP.US", "XLF.US", "AUDUSD.FX", "GBPUSD.FX", "EURJPY.FX")
PRICES = ("markets_dev_to_2020", "gspc_1927_2020")
MODEL_ID = "text-static-v1"
AS_THEY_ARE = ("--calendar", "24/7", "--zero-as-missing", "open")
"""Exchange rates trade on days without a session of shares; opens of 0 stand in old rows of the index."""


def texts() -> Iterator[dict[str, Any]]:
    """Yield the texts as rows of a file of macro events."""
    for row in pq.read_table(SPEECHES).to_pylist():
        if row["speech_date"] and (row["text"] or "").strip():
            yield {"type": "SPEECH", "timestamp": f"{row['speech_date']:%Y-%m-%d}T17:00:00Z", "text": row["text"]}
    for row in pq.read_table(BANKS).to_pylist():
        day = row["available_date"] or row["release_date"]
        if day and not row["release_date_suspect"] and (row["text"] or "").strip():
            yield {"type": "DOCUMENT", "timestamp": f"{day:%Y-%m-%d}T18:00:00Z", "text": row["text"]}
    for row in pq.read_table(CONFERENCES).to_pylist():
        if (row["text"] or "").strip():
            clock = f"{19 + (30 + row['turn'] // 60) // 60}:{(30 + row['turn'] // 60) % 60:02}:{row['turn'] % 60:02}Z"
            yield {"type": "PRESS", "timestamp": f"{row['conf_date']:%Y-%m-%d}T{clock}", "text": row["text"]}


def main(argv: Sequence[str] | None = None) -> int:
    """Load, embed, judge; return the exit code of the last command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.texts_beside_har")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(argv).folder
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["PROMETHEUS_HOME"] = str(folder.resolve() / "home")
    file = folder / "texts.jsonl"
    named = [{**row, "instrument_id": INSTRUMENTS} for row in texts()]
    file.write_text("".join(json.dumps(row) + "\n" for row in named), encoding="utf-8")
    asked = [word for each in INSTRUMENTS for word in ("--instrument-id", each)]
    commands = (
        *(["ingest", "prices", str(DATA / "prices" / f"{name}.parquet"), *AS_THEY_ARE] for name in PRICES),
        ["ingest", "macro", str(file)],
        ["backfill_macro_text_embeddings", "--date-range", "1990-01-01", "2020-12-31", "--runtime", "static"],
        ["evaluate", "texts", "--source", "macro", "--model-id", MODEL_ID, *asked],
    )
    for command in commands:
        exit_code = run([*command, *(["--model-id", MODEL_ID] if "static" in command else [])])
        if exit_code:
            break
    return exit_code


if __name__ == "__main__":
    raise SystemExit(main())
