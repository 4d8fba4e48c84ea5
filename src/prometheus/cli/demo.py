"""The whole pipeline on the packaged sample, each step shown as a command to type."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated

from prometheus.cli.parameters import option
from prometheus.cli.runner import command, run_named
from prometheus.errors import MissingExtraError, UsageError
from prometheus.ingest.sample import PRICES

ENCODER = "num-regime-core-v1"
SCALE_FREE = "num-regime-core-v2"
US = "--region US --instrument-id AAPL.US"
INDEX = "--region US_INDEX --instrument-id GSPC.INDX"
EXPLAINED_DATES = ("2008-10-10", "2017-07-03", "2020-03-16")
ANALOGS_OF = "2022-06-16"
SINGLE_DATE = f"run_numeric_regime {US} --as-of 2025-01-31 --window-days 63 --model-id {ENCODER}"
JANUARY = "2025-01-01 2025-01-31"
EMBED_TEXTS = (
    f"backfill_macro_text_embeddings --date-range {JANUARY} --model-id text-macro-v1 "
    "--hf-model-name sentence-transformers/all-MiniLM-L6-v2"
)
JOIN = (
    f"backfill_joint_regime_macro_context --region US --date-range {JANUARY} --text-model-id text-macro-v1 "
    "--joint-model-id joint-regime-core-v1 --country US"
)
SHOW_JOINT = (
    "show_joint_regime_macro_context --region US --start 2025-01-01 --end 2025-01-31 --model-id joint-regime-core-v1 "
    "--limit 200"
)
EMBED_EARLIER_TEXTS = "backfill_macro_text_embeddings --date-range 2019-01-01 2023-12-31 --model-id text-macro-v1"
ASK_TEXTS = 'similar_texts "credit spreads widen as investors flee risk" --as-of 2023-12-28 --k 3'
WINDOWS = "--neutral-start 2018-01-01 --neutral-end 2018-12-31 --crisis-start 2020-03-01 --crisis-end 2020-04-30"


@command("", "--folder demo")
def demo(
    folder: Annotated[Path, option("Where prototype files and pictures go; it is made.")] = Path(),
    allow_own_server: Annotated[
        bool, option("Write the sample into the databases your DSNs name.", "--allow-own-server")
    ] = False,
) -> int:
    """Load the packaged prices, compute regimes, prototypes and transitions, and draw them.

    Without the extras `plots` and `texts`, or the files of the text model, the steps that need them are left out.
    """
    from prometheus.app.members import make_folder
    from prometheus.core.config import load_config

    if not load_config().uses_embedded_server and not allow_own_server:
        raise UsageError(
            "your environment names a PostgreSQL server; unset PROMETHEUS_*_DSN and PG* to use the embedded one, "
            "or pass --allow-own-server to write the sample there"
        )
    make_folder(folder)
    begin = time.monotonic()
    no_pictures, no_texts = _why_no_pictures(), _why_no_texts()
    of_stock, of_index = folder / "regimes_US.png", folder / "regimes_US_INDEX.png"
    steps = (
        _load_steps(), _index_steps(folder, of_index), _first_version_steps(folder, of_stock),
        _text_steps(folder), () if no_texts else _meaning_steps(),
    )  # fmt: skip
    for title, line in chain(*steps):
        name, *arguments = shlex.split(line)
        if name == "plot_regimes" and no_pictures:
            continue
        _say(f"\n{title}\n$ python -m prometheus {line}")
        exit_code = run_named(name, arguments)
        if exit_code:
            return exit_code
    _say(
        f"\nDone in {time.monotonic() - begin:.0f} s." + ("" if no_pictures else f" Look at {of_stock} and {of_index}.")
    )
    if no_pictures:
        _say(f"Left out, pictures: {no_pictures}")
    if no_texts:
        _say(f"Left out, what texts mean: {no_texts}")
    _say("num-regime-core-v1 compares raw windows, in which volume outweighs all else; use num-regime-core-v2.")
    _say("Open the page of each region, until Ctrl-C: python -m prometheus serve --open")
    _say("Everything is stored; run the same commands again and nothing is written twice.")
    _say("The embedded server stops by itself when idle, or now with: python -m prometheus db stop")
    return 0


def _why_no_pictures() -> str | None:
    from prometheus.regime.picture import new_figure

    try:
        new_figure(1, 1)
    except MissingExtraError as error:
        return str(error)
    return None


def _why_no_texts() -> str | None:
    from prometheus.app.text_models import why_not_read
    from prometheus.core import MINILM
    from prometheus.core.config import load_config

    error = why_not_read(MINILM, load_config().home / "models")
    if isinstance(error, MissingExtraError):
        return f"{error}, and its files with: python -m prometheus models install"
    return None if error is None else str(error)


def _load_steps() -> Iterator[tuple[str, str]]:
    yield "A PostgreSQL of your own, and its tables:", "db upgrade"
    yield "Prices of Apple and of the S&P 500:", f"ingest prices {shlex.quote(str(PRICES))}"
    yield "What was loaded:", "data report"


def _index_steps(folder: Path, picture: Path) -> Iterator[tuple[str, str]]:
    file = folder / "regime_calibration_US_INDEX.json"
    yield (
        "What calm and crisis looked like up to 2007, found without being told where they lie:",
        f"calibrate {INDEX} --until 2007-12-31 --output {shlex.quote(str(file))}",
    )
    label = f"run_numeric_regime {INDEX} --model-id {SCALE_FREE} --prototypes {shlex.quote(str(file))}"
    yield "Label every session of the years after it:", f"{label} --date-range 2008-01-01 2023-12-28"
    model = f"--model-id {_regime_model_id(file, SCALE_FREE)}"
    for day in EXPLAINED_DATES:
        yield f"Why {day} got its label:", f"show_regimes --region US_INDEX {model} --start {day} --end {day} --explain"
    yield "How its regimes follow each other:", f"show_regime_transitions --region US_INDEX {model}"
    yield "Days that looked like one, and what followed them:", f"similar --region US_INDEX --as-of {ANALOGS_OF} --k 5"
    yield "A picture of it:", f"plot_regimes {INDEX} {model} --output {shlex.quote(str(picture))}"


def _first_version_steps(folder: Path, picture: Path) -> Iterator[tuple[str, str]]:
    file = folder / "regime_prototypes_US.json"
    embed = f"run_numeric_regime {US} --date-range 2000-01-01 2025-07-23"
    yield "Embed every window of AAPL.US with the first encoder:", embed
    average = f"compute_regime_prototypes --region US {WINDOWS} --output {shlex.quote(str(file))}"
    yield "A calm year and a crash become prototypes:", average
    yield "Label every session by the nearer prototype:", f"{embed} --prototypes {shlex.quote(str(file))}"
    model = f"--model-id {_regime_model_id(file, ENCODER)}"
    yield "A picture of it:", f"plot_regimes {US} {model} --output {shlex.quote(str(picture))}"
    yield "The regime of the US region on one evening:", SINGLE_DATE


def _text_steps(folder: Path) -> Iterator[tuple[str, str]]:
    from prometheus.ingest.sample.macro_events import write_sample_macro_events

    events = folder / "macro_events_sample.jsonl"
    write_sample_macro_events(events)
    yield "Weekly facts on US rates, spreads and volatility, in sentences:", f"ingest macro {shlex.quote(str(events))}"


def _meaning_steps() -> Iterator[tuple[str, str]]:
    yield "Their meaning as vectors, by a model that runs here:", EMBED_TEXTS
    yield "Regime and texts of the same evenings, joined:", JOIN
    yield "The joint rows:", SHOW_JOINT
    yield "The texts of the years before, too:", EMBED_EARLIER_TEXTS
    yield "Which of them mean something like this:", ASK_TEXTS


def _regime_model_id(file: Path, encoder: str) -> str:
    from prometheus.files.prototypes import read_prototypes

    return read_prototypes(file).regime_model_id(encoder)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
