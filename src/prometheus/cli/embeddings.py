"""Embed numeric windows, macro events and news, and compute the regimes of a region."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from prometheus.cli import options as opt
from prometheus.cli.options import answer_of_run
from prometheus.cli.parameters import ONLY_REGION, LabelledRegion, option
from prometheus.cli.runner import Answer, command, command_app
from prometheus.core import MINILM
from prometheus.errors import UsageError

if TYPE_CHECKING:
    from prometheus.app import App
    from prometheus.app.backfills import EngineChoice
    from prometheus.app.regimes import RegimeRequest
    from prometheus.backfill.plan import DateSpan
    from prometheus.backfill.regime import RegimeReport
    from prometheus.backfill.work import BackfillRun
    from prometheus.encoders.texts.documents import TextSourceType
    from prometheus.encoders.texts.service import TextCounts
    from prometheus.regime.types import RegimeState

logger = logging.getLogger(__name__)

RUNTIMES = ("onnx", "torch", "static", "multilingual")


@command(
    "--as-of 2025-01-31 --window-days 63 --market-id US_EQ --limit 500 --model-id num-regime-core-v1",
    "--start 2020-01-01 --end latest --instrument-id AAPL.US --model-id num-regime-core-v2",
    latest="prices",
)
def backfill_numeric_embeddings(
    dates: opt.Sessions = opt.SESSIONS,
    window_days: opt.WindowDays = None,
    market_id: Annotated[str | None, option("All instruments of a market, in order of id.")] = None,
    instrument_id: Annotated[list[str] | None, option("An instrument; may be repeated.")] = None,
    limit: Annotated[int | None, option("Maximum number of the market's instruments.", min=1)] = None,
    offset: Annotated[int, option("Number of the market's instruments to skip.", min=0)] = 0,
    model_id: Annotated[str, option("Numeric encoder.")] = "num-regime-core-v1",
    workers: Annotated[int | None, option("Processes, or tasks at once on a cluster; one per core without it.")] = None,
    engine: Annotated[str, option("local: processes of this machine; ray: a Ray cluster (extra: ray).")] = "local",
    ray_address: opt.RayAddress = None,
    dry_run: opt.DryRun = False,
) -> Answer:
    """Embed the windows of many instruments on one date or over a range, and store what is new or changed."""
    from prometheus.app.backfills import EngineChoice
    from prometheus.backfill.plan import NumericRequest
    from prometheus.encoders.catalogue import default_window_days

    span = dates.span()
    choice = EngineChoice(engine, workers, ray_address, dry_run)
    with command_app("instruments") as app:
        chosen = app.embeddings.select(instrument_id or [], market_id, limit, offset)
        members = frozenset(chosen).difference(instrument_id or [])
        request = NumericRequest(chosen, span, window_days or default_window_days(model_id), model_id, members)
        done = app.embeddings.backfill(request, choice)
    facts = {"model_id": model_id, "instruments": len(chosen)}
    return answer_of_run(done, facts, f"{model_id}: {len(chosen)} instruments, {done.report.planned} windows")


@command(
    "--region US --instrument-id AAPL.US --as-of 2025-01-31 --window-days 63 --model-id num-regime-core-v1",
    "--region US_INDEX --instrument-id GSPC.INDX --prototypes prototypes_US_INDEX.json --start 2008-01-01 --end latest",
    "--market-id US_EQ --start 2020-01-01 --end latest",
    latest="prices",
)
def run_numeric_regime(
    region: LabelledRegion = ONLY_REGION,
    instrument_id: opt.StandsForRegion = None,
    market_id: opt.MembersOf = None,
    dates: opt.Sessions = opt.SESSIONS,
    window_days: opt.WindowDays = None,
    model_id: Annotated[
        str | None, option("Numeric encoder; without it the one the prototypes were made with, or num-regime-core-v1.")
    ] = None,
    prototypes: Annotated[
        Path | None,
        option(
            "Prototype file, without it each embedding is its own NEUTRAL prototype; of a market the folder of "
            "calibrate --market-id, without it regimes."
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        option("Softness of the confidence, in units of distance; by the scale of the prototypes without it."),
    ] = None,
    regime_model_id: Annotated[str | None, option("Name to store the regimes under.")] = None,
    known_at: Annotated[
        str | None,
        option("Use the bars as they were stored at this instant, or at the end of this date; store nothing."),
    ] = None,
    dry_run: opt.DryRun = False,
) -> Answer:
    """Compute, store and print the regime of a region, or of a market's members, on one date or over a range."""
    from prometheus.app.regimes import RegimeRequest

    if market_id is not None:
        opt.require_no(
            "--market-id", region=region, instrument_id=instrument_id, window_days=window_days, model_id=model_id,
            temperature=temperature, regime_model_id=regime_model_id, known_at=known_at,
        )  # fmt: skip
        return _of_members(market_id, dates.span(), prototypes or opt.REGIMES_FOLDER, dry_run=dry_run)
    request = RegimeRequest(
        region, instrument_id, dates.span(), window_days, model_id,
        prototypes=prototypes, temperature=temperature, regime_model_id=regime_model_id,
    )  # fmt: skip
    with command_app(f"regimes of {region}") as app:
        if known_at is not None:
            return _as_known(app, request, known_at)
        done = app.regimes.run(request, dry_run=dry_run)
    report = done.report
    if dry_run:
        return answer_of_run(done, {"region": region}, f"regimes of {region}: {report.planned} sessions")
    logger.info(
        "%d sessions: %d embeddings and %d regimes written", report.regimes.planned, report.embeddings.written,
        report.regimes.written,
    )  # fmt: skip
    for joint_model_id, n_rows in report.joined_anew.items():
        logger.info("%d rows of %s were joined anew with these regimes", n_rows, joint_model_id)
    return Answer(lambda: _regime_facts(region, done), lambda: _regime_line(report.newest_state()))


def _of_members(market_id: str, span: DateSpan, folder: Path, *, dry_run: bool) -> Answer:
    with command_app(f"regimes of {market_id}") as app:
        found = app.members.run(market_id, span, folder, dry_run=dry_run)
    if dry_run:
        subject = f"regimes of {market_id}: {found.run.report.planned} sessions"
        return answer_of_run(found.run, {"market_id": market_id}, subject)
    return Answer(found.to_dict, lambda: f"{found.to_text()}\n{opt.describe(found.run)}")


def _regime_line(state: RegimeState) -> str:
    held = f" (held: {state.metadata['held']})" if "held" in state.metadata else ""
    return (
        f"Regime as of {state.as_of_date} for region {state.region}: "
        f"label={state.regime_label.name}, confidence={state.confidence:.3f}{held}"
    )


def _as_known(app: App, request: RegimeRequest, known_at: str) -> Answer:
    from prometheus.app.wiring import instant_of

    instant = instant_of(known_at)
    states = app.regimes.as_known(request, instant)
    facts = [
        {
            "as_of_date": str(state.as_of_date), "region": state.region, "regime_label": state.regime_label.name,
            "confidence": state.confidence, "model_id": state.model_id, "metadata": state.metadata,
        }
        for state in states
    ]  # fmt: skip
    remark = f", by the prices known at {instant.isoformat(timespec='seconds')}; nothing is stored"
    return Answer(
        lambda: {"known_at": instant.isoformat(), "states": facts}, lambda: f"{_regime_line(states[-1])}{remark}"
    )


def _regime_facts(region: str, done: BackfillRun[RegimeReport]) -> dict[str, Any]:
    report, latest = done.report, done.report.newest_state()
    return {
        "as_of_date": str(latest.as_of_date), "region": region, "regime_label": latest.regime_label.name,
        "confidence": latest.confidence, "model_id": latest.model_id, "metadata": latest.metadata,
        "embeddings": report.embeddings.to_dict(), "regimes": report.regimes.to_dict(),
        "joined_anew": dict(report.joined_anew), **done.to_dict(),
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class TextOptions:
    """Options of text embeddings of any kind."""

    limit: Annotated[int | None, option("Maximum number of texts.", min=1)] = None
    model_id: Annotated[str, option("Name the vectors are stored under.")] = ""
    hf_model_name: opt.HfModelName = MINILM
    long_text: Annotated[str, option("mean: of all 256-token chunks of a long text; truncate: its first one.")] = "mean"
    runtime: Annotated[
        str | None,
        option(
            "onnx (default); torch for any sentence-transformers model (extra: torch); static, the model's words "
            "without its network, for news by the million, stored under text-static-v1 unless a --model-id is given; "
            "multilingual, a model of a hundred languages (extra: languages), under text-multilingual-v1."
        ),
    ] = None
    precision: Annotated[
        str, option("Of torch on a GPU: float32, tf32 or bf16, which are faster; each needs a --model-id of its own.")
    ] = "float32"
    timezone: Annotated[str, option("In which a timestamp becomes a calendar date.")] = "UTC"
    workers: Annotated[
        int | None,
        option("Processes, or tasks at once on a cluster; without it one per core, or one for torch on this machine."),
    ] = None
    engine: Annotated[
        str,
        option(
            "local: processes of this machine; ray: a Ray cluster (extra: ray). onnx and torch, as in earlier "
            "versions, mean local with that --runtime."
        ),
    ] = "local"
    ray_address: opt.RayAddress = None
    dry_run: opt.DryRun = False

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


@command(
    "--date-range 2025-01-01 2025-01-31 --model-id text-macro-v1 "
    "--hf-model-name sentence-transformers/all-MiniLM-L6-v2",
    latest="macro",
)
def backfill_macro_text_embeddings(
    dates: opt.CalendarDates = opt.CALENDAR_DATES,
    country: opt.Country = None,
    event_type: opt.EventType = None,
    options: TextOptions = MACRO,
) -> Answer:
    """Embed the macro events of a date or a range, and store what is new or changed."""
    return _embed("MACRO", dates, options, country=country, event_type=event_type)


@command("--as-of latest --language en", latest="news")
def backfill_text_embeddings(
    dates: opt.CalendarDates = opt.CALENDAR_DATES,
    language: opt.Language = None,
    options: TextOptions = NEWS,
) -> Answer:
    """Embed the news of a date or a range, headline and body joined, and store what is new or changed."""
    return _embed("NEWS", dates, options, language=language)


def _embed(source_type: TextSourceType, dates: opt.Sessions, options: TextOptions, **filters: str | None) -> Answer:
    from prometheus.app.text_models import MODEL_ID_OF, MULTILINGUAL
    from prometheus.app.texts import TextRequest

    choice, runtime = options.choices()
    if runtime == MULTILINGUAL and options.hf_model_name != MINILM:
        raise UsageError(f"--runtime {runtime} is a model of its own; leave --hf-model-name away")
    is_unnamed = options.model_id in (MACRO.model_id, NEWS.model_id)
    model_id = MODEL_ID_OF.get(runtime, options.model_id) if is_unnamed else options.model_id
    request = TextRequest(
        dates.span(), model_id, options.hf_model_name, options.long_text, options.limit,
        options.timezone, filters, runtime, options.precision,
    )  # fmt: skip
    with command_app("macro events" if source_type == "MACRO" else "articles") as app:
        done = app.texts.embed(source_type, request, choice)
    counts = done.report
    facts = {
        "model_id": model_id, "texts": counts.texts, "encoded": counts.encoded, "flags": dict(counts.flags),
        "flagged": counts.flagged, "passages": counts.passages, "unread": dict(sorted(counts.unread.items())),
    }  # fmt: skip
    subject = f"{model_id}: {counts.texts} texts, {counts.encoded} {'to encode' if done.is_dry else 'encoded'}"
    if counts.passages:
        subject += f", {counts.passages} passages"
    flags = "".join(f", {n} {flag}" for flag, n in sorted(counts.flags.items()))
    return answer_of_run(done, facts, subject, flags + _describe_unread(counts))


def _describe_unread(counts: TextCounts) -> str:
    """Say how many texts are in languages that the model does not read, and which model may."""
    from prometheus.encoders.texts.languages import MULTILINGUAL

    if not counts.unread:
        return ""
    told = f"; {counts.unread.total()} texts in {', '.join(sorted(counts.unread))} are not read by this model"
    readable = sorted(counts.unread.keys() & MULTILINGUAL)
    if not readable:
        return told
    return f"{told}: --runtime multilingual reads {', '.join(readable)}"
