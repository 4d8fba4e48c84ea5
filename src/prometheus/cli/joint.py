"""Join regimes with macro texts, news or macro numbers, list the joint rows, and judge their forecasts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

from prometheus.cli import options as opt
from prometheus.cli.options import TextSource
from prometheus.cli.parameters import ONLY_REGION, OnlyRegion, OnlyRegions, date_option, option
from prometheus.cli.runner import Answer, command, command_app, csv_text

if TYPE_CHECKING:
    from prometheus.backfill.joint import JointReport
    from prometheus.backfill.work import BackfillRun
    from prometheus.encoders.joint.examples import JointSpace

INSTRUMENT = "instrument_id"
COLUMNS = ("as_of_date", "region", "model_id", "dim", "l2_norm")
_OF_THE_RUN = ("run_id", "seconds", "dry_run", "estimated_seconds")

TextModelId = Annotated[str, option("Text encoder.")]
JointModelId = Annotated[str, option("joint-regime-core-v1, or -v2, -v3 and names after them.")]
NumericModelId = Annotated[
    str | None, option("Encoder whose regime embeddings are joined; without it num-regime-core-v1, of v3 -v2.")
]
TextInstrumentId = Annotated[str | None, option("Only texts that concern this instrument.")]
BuiltWith = Annotated[str | None, option("As the rows were built with.")]


@dataclass(frozen=True, slots=True)
class JointOptions:
    """Options of the join."""

    numeric_weight: Annotated[float | None, option("Weight of the numeric branch.")] = None
    text_weight: Annotated[float | None, option("Weight of the text branch.")] = None
    text_share: Annotated[float | None, option("Share of the texts in squared distance, instead of weights.")] = None
    numbers_share: Annotated[float | None, option("v3: share of the macro numbers in squared distance.")] = None
    centre_until: Annotated[
        date | None, date_option("v2, or texts in v3, first run: take the frozen means of dates up to this one.")
    ] = None
    timezone: Annotated[str, option("In which a text's timestamp becomes a calendar date.")] = "UTC"
    verbose: Annotated[bool, option("Name the dates that were skipped.", "--verbose")] = False
    dry_run: opt.DryRun = False


JOINT_OPTIONS = JointOptions()


@dataclass(frozen=True, slots=True)
class Listed:
    """The joint rows to list."""

    region: OnlyRegion = ONLY_REGION
    start: opt.First = opt.START
    end: opt.Last = opt.END
    model_id: JointModelId = "joint-regime-core-v1"
    limit: Annotated[int | None, option("Maximum number of rows.", min=1)] = None


@dataclass(frozen=True, slots=True)
class Join:
    """The regions and dates to join with macro texts, and the models."""

    region: OnlyRegions = ONLY_REGION
    text_model_id: TextModelId = "text-macro-v1"
    joint_model_id: JointModelId = "joint-regime-core-v1"
    numeric_model_id: NumericModelId = None


@dataclass(frozen=True, slots=True)
class JoinNews(Join):
    """The regions and dates to join with news, and the models."""

    text_model_id: TextModelId = "text-fin-general-v1"


@command(
    "--region US --date-range 2025-01-01 2025-01-31 --text-model-id text-macro-v1 "
    "--joint-model-id joint-regime-core-v1 --country US",
    latest="regimes",
)
def backfill_joint_regime_macro_context(
    join: Join,
    dates: opt.CalendarDates = opt.CALENDAR_DATES,
    country: opt.Country = None,
    event_type: opt.EventType = None,
    text_instrument_id: TextInstrumentId = None,
    options: JointOptions = JOINT_OPTIONS,
) -> Answer:
    """Store one joint embedding per region and date that has a regime and macro texts."""
    filters = {"country": country, "event_type": event_type, INSTRUMENT: text_instrument_id}
    return _backfill("macro", join, dates, options, filters)


@command("--region US --as-of latest --language en", latest="regimes")
def backfill_joint_regime_context(
    join: JoinNews,
    dates: opt.CalendarDates = opt.CALENDAR_DATES,
    language: opt.Language = None,
    text_instrument_id: TextInstrumentId = None,
    options: JointOptions = JOINT_OPTIONS,
) -> Answer:
    """Store one joint embedding per region and date that has a regime and news."""
    return _backfill("news", join, dates, options, {"language": language, INSTRUMENT: text_instrument_id})


def _backfill(
    source: TextSource, join: Join, dates: opt.Sessions, options: JointOptions, filters: dict[str, str | None]
) -> Answer:
    from prometheus.app.joint import JointModelChoice
    from prometheus.backfill.joint import JointRequest

    numeric_model_id = join.numeric_model_id or _numeric_model_of(join.joint_model_id)
    models = JointModelChoice(
        numeric_model_id, join.text_model_id, join.joint_model_id, options.numeric_weight, options.text_weight,
        options.text_share, options.centre_until, options.numbers_share,
    )  # fmt: skip
    of_all = (dates.span(), numeric_model_id, join.text_model_id, filters, options.timezone)
    requests = [JointRequest(_space(source), region, *of_all) for region in dict.fromkeys(join.region)]
    with command_app("regions") as app:
        done = app.joint.backfill(requests, models, dry_run=options.dry_run)
    name = models.joint_model_id
    skipped = [
        f"skipped: {run.region} {day}: {reason}"
        for run in done.report.runs
        for reason, days in (
            ("no text", run.without_text),
            ("no regime", run.without_regime),
            *((f"no {series}", days) for series, days in run.without_numbers.items()),
        )
        for day in days
    ]
    notes = skipped if options.verbose else []
    return Answer(lambda: _run_facts(done, name), lambda: "\n".join(_run_lines(done, name)), notes=notes)


def _run_lines(done: BackfillRun[JointReport], model_id: str) -> Iterator[str]:
    if done.is_dry:
        yield f"{model_id}: {opt.describe(done)}"
    for run in done.report.runs:
        shares = {"texts": run.text_share, "macro numbers": run.numbers_share}
        said = [f"{part} hold {share:.3g}" for part, share in shares.items() if share is not None]
        share = f"; {' and '.join(said)} of the squared distance" if said else ""
        gaps = f", {len(run.days_without_numbers)} without a macro number" if run.without_numbers else ""
        yield (
            f"{model_id}: {run.region}, {run.report.planned} dates joined, {run.report.written} "
            f"{'to write' if done.is_dry else 'written'}, {run.report.unchanged} unchanged; "
            f"skipped {len(run.without_text)} without text, {len(run.without_regime)} without regime{gaps}{share}"
        )


def _run_facts(done: BackfillRun[JointReport], model_id: str) -> list[dict[str, Any]]:
    closing = {key: value for key, value in done.to_dict().items() if key in _OF_THE_RUN}
    return [
        {
            "model_id": model_id, "region": run.region, "planned": run.report.planned, "written": run.report.written,
            "unchanged": run.report.unchanged, "failed": 0, "bytes": run.report.n_bytes,
            "without_text": list(map(str, run.without_text)), "without_regime": list(map(str, run.without_regime)),
            "without_numbers": list(map(str, run.days_without_numbers)), "text_share": run.text_share,
            "numbers_share": run.numbers_share, **closing,
        }
        for run in done.report.runs
    ]  # fmt: skip


@command("--region US --start 2025-01-01 --end 2025-01-31 --model-id joint-regime-core-v1 --limit 200", latest="joint")
def show_joint_regime_macro_context(listed: Listed) -> Answer:
    """Print date, model, dimension and length of a region's joint embeddings, oldest first."""
    return _show("macro", listed)


@command("--region US --start latest --end latest", latest="joint")
def show_joint_regime_context(listed: Listed) -> Answer:
    """Print date, model, dimension and length of a region's joint embeddings, oldest first."""
    return _show("news", listed)


def _show(source: TextSource, listed: Listed) -> Answer:
    region = listed.region
    with command_app() as app:
        rows = app.joint.rows(_space(source), region, listed.model_id, listed.start, listed.end, listed.limit)
    values = [(str(row.as_of_date), region, row.model_id, int(row.vector.size), row.l2_norm) for row in rows]
    named = (*COLUMNS, "entity_scope")
    return Answer(
        lambda: [
            dict(zip(named, (*each, row.entity_scope), strict=True)) for each, row in zip(values, rows, strict=True)
        ],
        lambda: csv_text([COLUMNS, *((*each[:-1], f"{each[-1]:.6f}") for each in values)]),
    )


@command("--region US --instrument-id AAPL.US --start 2019-01-01", latest="joint")
def check_joint_harm(
    instrument_id: Annotated[str, option("Instrument whose volatility is forecast.")],
    region: OnlyRegion = ONLY_REGION,
    space: Annotated[TextSource, option("Joined with macro texts or with news.")] = "macro",
    start: opt.First = opt.START,
    end: opt.Last = opt.END,
    model_id: JointModelId = "joint-regime-core-v2",
    numeric_model_id: NumericModelId = None,
    country: BuiltWith = None,
    event_type: BuiltWith = None,
    language: BuiltWith = None,
    text_instrument_id: BuiltWith = None,
) -> Answer:
    """Forecast the next month's log volatility from nearest past dates, in the joint space and by numbers alone.

    The joint space passes when the 95 % interval of the difference in R squared lies above -0.02.
    """
    from prometheus.backfill.joint import JointRequest
    from prometheus.backfill.plan import DateSpan

    is_macro = space == "macro"
    filters = {"country": country, "event_type": event_type} if is_macro else {"language": language}
    filters[INSTRUMENT] = text_instrument_id
    span = DateSpan.of_range(start, end)
    numeric = numeric_model_id or _numeric_model_of(model_id)
    request = JointRequest(_space(space), region, span, numeric, "", filters)
    with command_app() as application:
        check = application.joint.check_harm(request, model_id, instrument_id)
    verdict = "no harm" if check.is_harmless else "harm cannot be ruled out"
    line = (
        f"{model_id}, {region}: R2 of next-month log volatility over {check.n_forecasts} dates: numeric "
        f"{check.r2_numeric:.3f}, joint {check.r2_joint:.3f}, difference {check.difference:+.3f} "
        f"(95 % interval {check.low:+.3f} to {check.high:+.3f}): {verdict}"
    )
    facts = {**asdict(check), "difference": check.difference, "is_harmless": check.is_harmless}
    return Answer(lambda: facts, lambda: line)


def _numeric_model_of(joint_model_id: str) -> str:
    from prometheus.encoders.identity import NUM_REGIME_CORE_V1, NUM_REGIME_CORE_V2
    from prometheus.encoders.joint.macro_model import MACRO_MODEL_ID

    return NUM_REGIME_CORE_V2 if joint_model_id.startswith(MACRO_MODEL_ID) else NUM_REGIME_CORE_V1


def _space(source: TextSource) -> JointSpace:
    from prometheus.encoders.joint.examples import REGIME_MACRO, REGIME_NEWS

    return REGIME_MACRO if source == "macro" else REGIME_NEWS
