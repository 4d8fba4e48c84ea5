"""Embed macro events and news."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from prometheus.cli.options import (
    CalendarDate,
    CalendarRange,
    Country,
    DryRun,
    EventType,
    HfModelName,
    Language,
    RayAddress,
    answer_of_run,
    span_of,
)
from prometheus.cli.runner import Answer, command, command_app
from prometheus.core.config import MINILM
from prometheus.errors import UsageError

if TYPE_CHECKING:
    from prometheus.app.backfills import EngineChoice

RUNTIMES = ("onnx", "torch")


@dataclass(frozen=True, slots=True)
class TextOptions:
    """Options of text embeddings of any kind."""

    limit: Annotated[int | None, typer.Option(min=1, help="Maximum number of texts.")] = None
    model_id: Annotated[str, typer.Option(help="Name the vectors are stored under.")] = ""
    hf_model_name: HfModelName = MINILM
    long_text: Annotated[
        str, typer.Option(help="mean: of all 256-token chunks of a long text; truncate: its first one.")
    ] = "mean"
    runtime: Annotated[
        str | None,
        typer.Option(help="onnx (default), or torch for any sentence-transformers model (extra: torch)."),
    ] = None
    timezone: Annotated[str, typer.Option(help="In which a timestamp becomes a calendar date.")] = "UTC"
    workers: Annotated[
        int | None,
        typer.Option(
            help="Processes, or tasks at once on a cluster; without it one per core, or one for torch on this machine."
        ),
    ] = None
    engine: Annotated[
        str,
        typer.Option(
            help="local: processes of this machine; ray: a Ray cluster (extra: ray). onnx and torch, as in earlier "
            "versions, mean local with that --runtime."
        ),
    ] = "local"
    ray_address: RayAddress = None
    dry_run: DryRun = False

    def choices(self) -> tuple[EngineChoice, str]:
        """Return engine and runtime; UsageError if the engine of an earlier version contradicts the runtime."""
        from prometheus.app.backfills import EngineChoice

        is_runtime = self.engine in RUNTIMES
        if is_runtime and self.runtime not in (None, self.engine):
            raise UsageError(
                f"--engine {self.engine} and --runtime {self.runtime} contradict each other; leave --engine away"
            )
        engine = "local" if is_runtime else self.engine
        runtime = self.engine if is_runtime else self.runtime or RUNTIMES[0]
        return EngineChoice(engine, self.workers, self.ray_address, self.dry_run), runtime


MACRO = TextOptions(model_id="text-macro-v1")
NEWS = TextOptions(model_id="text-fin-general-v1")


@command
def backfill_macro_text_embeddings(
    as_of: CalendarDate = None,
    date_range: CalendarRange = None,
    country: Country = None,
    event_type: EventType = None,
    options: TextOptions = MACRO,
) -> Answer:
    """Embed the macro events of a date or a range, and store what is new or changed."""
    return _embed("macro", as_of, date_range, options, country=country, event_type=event_type)


@command
def backfill_text_embeddings(
    as_of: CalendarDate = None,
    date_range: CalendarRange = None,
    language: Language = None,
    options: TextOptions = NEWS,
) -> Answer:
    """Embed the news of a date or a range, headline and body joined, and store what is new or changed."""
    return _embed("news", as_of, date_range, options, language=language)


def _embed(
    kind: str, as_of: str | None, date_range: tuple[str, str] | None, options: TextOptions, **filters: str | None
) -> Answer:
    from prometheus.app.texts import TextRequest

    choice, runtime = options.choices()
    request = TextRequest(
        span_of(as_of, date_range), options.model_id, options.hf_model_name, options.long_text, options.limit,
        options.timezone, runtime=runtime, **filters,
    )  # fmt: skip
    with command_app("macro events" if kind == "macro" else "articles") as app:
        done = app.texts.embed_macro(request, choice) if kind == "macro" else app.texts.embed_news(request, choice)
    counts, model_id = done.report, options.model_id
    facts = {
        "model_id": model_id, "texts": counts.texts, "encoded": counts.encoded, "flags": dict(counts.flags),
        "flagged": counts.flagged,
    }  # fmt: skip
    subject = f"{model_id}: {counts.texts} texts, {counts.encoded} {'to encode' if done.is_dry else 'encoded'}"
    return answer_of_run(done, facts, subject, "".join(f", {n} {flag}" for flag, n in sorted(counts.flags.items())))
