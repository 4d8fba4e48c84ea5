"""Twenty questions of an analyst: what `similar_texts` answers, against verdicts read one by one.

    python -m benchmarks.analyst_questions --events banks.jsonl
    python -m prometheus ingest macro banks.jsonl --metadata-column key --metadata-column speaker
    python -m prometheus backfill_macro_text_embeddings --date-range 2007-01-01 2012-12-31
    python -m benchmarks.analyst_questions banks

The first line writes the texts of 2007 to 2012 out of `../shared/data`: every Federal Reserve speech of more than 1,500
characters, all documents of the other banks there, and the turns of press conferences of more than 200. The last line
asks what `results/analyst_questions.csv` holds of that corpus in the home of ``PROMETHEUS_HOME``, `demo` what it holds
of a home that `make demo` filled, and counts the verdicts of the hits; one that nobody read counts as unread.

One reader, who also wrote the questions, read the passage of each hit: *right* answers, *partly* touches
it, *wrong* does neither or tells the contrary. A question to which no text has an answer is right where `nothing_close`
is said.

    python -m benchmarks.analyst_questions --stories stories.jsonl

writes 44 stories of Reuters of 1987, dated on the last day; once they are ingested and embedded, too, `closeness` says
of how many of them, and of how many of the banks' texts since June 2010, the page says that nothing earlier is close.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.search_corpora import BANKS, CONFERENCES, REUTERS, SPEECHES, read_rows
from prometheus.app import App, open_app
from prometheus.app.briefings import N_COMPARED_TEXTS
from prometheus.app.text_search import TextHit, TextQuery, tell_once
from prometheus.core.config import load_config
from prometheus.encoders.texts.documents import TextFilters

VERDICTS = Path(__file__).parent / "results" / "analyst_questions.csv"
FIRST, LAST = date(2007, 1, 1), date(2012, 12, 31)
SHORTEST = {"speech": 1_500, "document": 300, "turn": 200}
N_READ = 5
STORY = "STORY"


def events() -> Iterator[dict[str, Any]]:
    """Yield the texts of 2007 to 2012 as `ingest macro` reads them."""
    speeches = {row["key"]: row for row in reversed(read_rows(SPEECHES))}
    for row in sorted(speeches.values(), key=lambda each: each["key"]):
        if _is_wanted(row["speech_date"], row["text"], "speech"):
            yield _event("SPEECH", row["speech_date"], "Federal Reserve", row["text"], row["key"], row["speaker"])
    for row in read_rows(BANKS):
        day = row["available_date"] or row["release_date"]
        if not row["release_date_suspect"] and _is_wanted(day, row["text"], "document"):
            yield _event("DOCUMENT", day, row["central_bank"], row["text"], row["doc_id"], None)
    for row in read_rows(CONFERENCES):
        if _is_wanted(row["conf_date"], row["text"], "turn"):
            key = f"{row['conf_date']:%Y-%m-%d}#{row['turn']}"
            yield _event("PRESS_CONFERENCE", row["conf_date"], "Federal Reserve", row["text"], key, row["speaker"])


def _is_wanted(day: Any, text: str | None, kind: str) -> bool:
    return day is not None and FIRST <= day.date() <= LAST and len(text or "") > SHORTEST[kind]


def _event(kind: str, day: Any, source: str, text: str, key: str, speaker: str | None) -> dict[str, Any]:
    stamp = f"{day:%Y-%m-%d}T18:00:00Z"
    country = "US" if source.lower().startswith("federal") else source[:2].upper()
    return {
        "event_type": kind, "timestamp": stamp, "country": country, "source": source, "text": text, "key": key,
        "speaker": speaker,
    }  # fmt: skip


def stories() -> Iterator[dict[str, Any]]:
    """Yield stories that have nothing to do with the banks' texts, spread over a file of Reuters."""
    bodies = [row["body"] for row in read_rows(REUTERS) if 300 <= len(row["body"] or "") <= 3_000]
    yield from (_event(STORY, LAST, "wire", body, "", None) for body in bodies[::180])


def closeness(app: App) -> Iterator[str]:
    """Yield of each kind of text how many are told to have nothing close, of those with a vector."""
    days = {day for day, kind in app.wired.texts.kinds_by_day("MACRO", date(2010, 6, 1), LAST) if kind != STORY}
    wanted = [(day, None) for day in sorted(days)[::2]]
    counts: Counter[str] = Counter()
    for day, story in [*wanted, (LAST, STORY)]:
        texts = tell_once(app.wired.texts.texts_of("MACRO", day, day))
        kept = [told for told in texts if (told.text.kind == STORY) == (story is not None)]
        for like in app.text_search.like_day(kept if story else kept[:N_COMPARED_TEXTS], day):
            if like.nearer_pairs is not None:
                counts[like.told.text.kind] += 1
                counts[f"{like.told.text.kind}: nothing close"] += like.is_nothing_close
    yield from (f"{name}: {count}" for name, count in sorted(counts.items()))


def judge(app: App, corpus: str) -> Counter[str]:
    """Return how many of the first five hits have each verdict, and how many questions are right at rank 1."""
    asked: dict[tuple[str, str, str], dict[str, str]] = {}
    for row in csv.DictReader(VERDICTS.open(encoding="utf-8")):
        if row["corpus"] == corpus:
            asked.setdefault((row["question"], row["kind"], row["as_of"]), {})[row["text"]] = row["verdict"]
    counts: Counter[str] = Counter()
    for (question, kind, as_of), verdicts in asked.items():
        publisher = kind.partition("publisher=")[2] or None
        query = TextQuery(
            question, date.fromisoformat(as_of), N_READ, "macro", filters=TextFilters(publisher=publisher)
        )
        found = app.text_search.find(query)
        if kind == "nothing there":
            counts["nothing there: said" if found.is_nothing_close else "nothing there: not said"] += 1
            continue
        told = _verdicts(app, found.hits, verdicts, corpus)
        counts.update(told)
        counts["questions"] += 1
        counts["right at rank 1"] += told[0] == "right"
        counts["nothing close said, though there is something"] += found.is_nothing_close
    return counts


def _verdicts(app: App, hits: Sequence[TextHit], verdicts: Mapping[str, str], corpus: str) -> list[str]:
    ids = [hit.text.source_id for hit in hits]
    if corpus == "demo":
        return [verdicts.get(f"MACRO:{each}", "unread") for each in ids]
    with app.db_manager.get_historical_connection() as connection:
        rows = connection.execute(
            "SELECT event_id, metadata->>'key' FROM macro_events WHERE event_id = ANY(%s)", (ids,)
        ).fetchall()
    keys: dict[int, str] = dict(rows)
    return [verdicts.get(keys[each], "unread") for each in ids]


def main() -> None:
    """Write the texts, or ask the questions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", nargs="?", choices=("banks", "demo", "closeness"))
    parser.add_argument("--events", type=Path)
    parser.add_argument("--stories", type=Path)
    arguments = parser.parse_args()
    for path, rows in ((arguments.events, events), (arguments.stories, stories)):
        if path:
            with path.open("w", encoding="utf-8") as file:
                file.writelines(f"{json.dumps(each)}\n" for each in rows())
    if arguments.corpus:
        with open_app(load_config()) as app:
            if arguments.corpus == "closeness":
                lines = list(closeness(app))
            else:
                lines = [f"{name}: {count}" for name, count in sorted(judge(app, arguments.corpus).items())]
            print("\n".join(lines))


if __name__ == "__main__":
    main()
