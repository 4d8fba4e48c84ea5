"""What the text embedding commands share: their options, and how they report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from prometheus.errors import UsageError
from prometheus.scripts import backfills

if TYPE_CHECKING:
    from prometheus.app.backfills import EngineChoice
    from prometheus.backfill.run import BackfillRun
    from prometheus.encoders.texts.service import TextCounts

RUNTIMES = ("onnx", "torch")

HfModelName = Annotated[str, typer.Option(help="A model of the Hugging Face hub, or a local folder.")]
LongText = Annotated[str, typer.Option(help="mean: of all 256-token chunks of a long text; truncate: its first one.")]
Runtime = Annotated[
    str | None,
    typer.Option(help="onnx (default), or torch for any sentence-transformers model (extra: torch)."),
]
Engine = Annotated[
    str,
    typer.Option(
        help="local: processes of this machine; ray: a Ray cluster (extra: ray). onnx and torch, as in earlier "
        "versions, mean local with that --runtime."
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        help="Processes, or tasks at once on a cluster; without it one per core, or one for torch on this machine."
    ),
]
Timezone = Annotated[str, typer.Option(help="In which a timestamp becomes a calendar date.")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most so many texts.")]


def read_engine(
    engine: str, runtime: str | None, workers: int | None, ray_address: str | None, *, dry_run: bool
) -> tuple[EngineChoice, str]:
    """Return who does the work, and the runtime of the model.

    Raises
    ------
    UsageError
        There is no such engine, or the engine of an earlier version contradicts the runtime.
    """
    from prometheus.app.backfills import EngineChoice

    if engine not in RUNTIMES:
        return EngineChoice(engine, workers, ray_address, dry_run), runtime or RUNTIMES[0]
    if runtime not in (None, engine):
        raise UsageError(f"--engine {engine} and --runtime {runtime} contradict each other; leave --engine away")
    return EngineChoice("local", workers, ray_address, dry_run), engine


def show_run(run: BackfillRun[TextCounts], model_id: str, *, as_json: bool) -> int:
    """Print what a text backfill did, or would do, and return the exit code."""
    counts = run.report
    facts = {
        "model_id": model_id, "texts": counts.texts, "encoded": counts.encoded, "flags": dict(counts.flags),
        "flagged": counts.flagged,
    }  # fmt: skip
    return backfills.show_run(
        run,
        facts,
        f"{model_id}: {counts.texts} texts, {counts.encoded} {'to encode' if run.is_dry else 'encoded'}",
        as_json=as_json,
        remark="".join(f", {n} {flag}" for flag, n in sorted(counts.flags.items())),
    )
