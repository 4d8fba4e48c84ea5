"""Print the past dates that looked like a date, and what followed them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from prometheus.errors import UsageError
from prometheus.scripts.terminal import Debug, Json, command_app, new_command, parse_date, print_line, run, table

if TYPE_CHECKING:
    from prometheus.app.analog_report import Analog, AnalogReport
    from prometheus.app.window_search import WindowReport
    from prometheus.market.outcomes import Outcome, Spread


class Space(StrEnum):
    """Which vectors are compared."""

    numeric = "numeric"
    joint = "joint"
    text = "text"


class Source(StrEnum):
    """Which texts."""

    macro = "macro"
    news = "news"


class Metric(StrEnum):
    """How distance is measured."""

    euclidean = "euclidean"
    cosine = "cosine"


def similar(
    as_of: Annotated[str, typer.Option(metavar="DATE", help="The date; nothing later counts.")],
    region: Annotated[str | None, typer.Option(help="Region whose past is searched.")] = None,
    instrument_id: Annotated[
        str | None,
        typer.Option(
            help="With --region: whose closes say what followed. Without: search the windows of all instruments for "
            "those like this one's."
        ),
    ] = None,
    space: Annotated[Space, typer.Option(help="Compare prices, texts, or both joined.")] = Space.numeric,
    k: Annotated[int, typer.Option(help="How many analogs.")] = 10,
    exclude_sessions: Annotated[
        int, typer.Option(help="None so near to the date, or to each other: sessions, or weekdays without a region.")
    ] = 63,
    metric: Annotated[Metric, typer.Option(help="How distance is measured.")] = Metric.euclidean,
    model_id: Annotated[str | None, typer.Option(help="Whose vectors; needed where there are several.")] = None,
    regime_model_id: Annotated[str | None, typer.Option(help="Whose labels the analogs carry.")] = None,
    source: Annotated[Source, typer.Option(help="Of the texts, for the joint and the text space.")] = Source.macro,
    country: Annotated[str | None, typer.Option(help="Only macro texts of it, in the text space.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Print the past dates nearest to a date, none a neighbour of it or of another, and what followed each."""
    day = parse_date(as_of)
    if region is not None:
        from prometheus.app.analog_report import AnalogRequest

        request = AnalogRequest(
            region=region, as_of=day, space=space.value, k=k, exclude_sessions=exclude_sessions, metric=metric.value,
            model_id=model_id, regime_model_id=regime_model_id, instrument_id=instrument_id, source=source.value,
            country=country,
        )  # fmt: skip
        with command_app() as app:
            report = app.analogs.find(request)
        print_line(json.dumps(report.to_dict()) if as_json else "\n".join(_report_lines(report)))
        return 0
    from prometheus.app.window_search import DEFAULT_MODEL_ID, WindowRequest

    if instrument_id is None:
        raise UsageError("give --region REGION, or --instrument-id ID to search the windows of all instruments")
    if space is not Space.numeric or metric is not Metric.euclidean:
        raise UsageError("windows of instruments are compared in the numeric space, by Euclidean distance")
    wanted = WindowRequest(instrument_id, day, k, exclude_sessions, model_id or DEFAULT_MODEL_ID)
    with command_app("instruments") as app:
        found = app.window_search.find(wanted)
    print_line(json.dumps(found.to_dict()) if as_json else "\n".join(_window_lines(found)))
    return 0


def _report_lines(report: AnalogReport) -> Iterator[str]:
    asked = report.request
    yield (
        f"{asked.region} {report.as_of_date}, {asked.space} space of {report.model_id}: nearest of "
        f"{report.n_candidates:,} earlier dates, more than {asked.exclude_sessions} sessions apart"
    )
    header = ["date", "distance", "nearer pairs", "regime", "sure", *_outcome_header(report.analogs[0].outcomes)]
    yield from table([header, *(_analog_row(analog) for analog in report.analogs)])
    yield f"closes of {report.instrument_id}; spread over the analogs, and over all dates (10 % / median / 90 %):"
    rows = [
        [f"{spread.measure} of the next {spread.horizon}", _spread_text(spread), _spread_text(base)]
        for spread, base in zip(report.spreads, report.base_spreads, strict=True)
    ]
    n_known = max(base.n_dates for base in report.base_spreads)
    yield from table([["", f"{len(report.analogs)} analogs", f"{n_known:,} dates"], *rows])


def _window_lines(report: WindowReport) -> Iterator[str]:
    how = "every window compared" if report.is_exact else "found by the index"
    yield (
        f"{report.request.instrument_id} {report.as_of_date}, windows of {report.request.model_id}: nearest dated "
        f"before {report.request.before}, {how}"
    )
    if not report.windows:
        yield "none"
        return
    header = ["instrument", "date", "distance", *_outcome_header(report.windows[0].outcomes)]
    rows = [
        [each.instrument_id, str(each.as_of_date), f"{each.distance:.3f}", *_outcome_cells(each.outcomes)]
        for each in report.windows
    ]
    yield from table([header, *rows])


def _outcome_header(outcomes: Sequence[Outcome]) -> list[str]:
    return [cell for each in outcomes for cell in (f"next {each.horizon}: return", "volatility", "drawdown")]


def _analog_row(analog: Analog) -> list[str]:
    return [
        str(analog.as_of_date),
        f"{analog.distance:.3f}",
        "" if analog.percentile is None else f"{analog.percentile:.2%}",
        analog.regime_label or "",
        "" if analog.confidence is None else f"{analog.confidence:.0%}",
        *_outcome_cells(analog.outcomes),
    ]


def _outcome_cells(outcomes: Sequence[Outcome]) -> list[str]:
    return [cell for each in outcomes for cell in _outcome_texts(each)]


def _outcome_texts(outcome: Outcome) -> list[str]:
    if outcome.total_return is None or outcome.volatility is None or outcome.drawdown is None:
        return ["not yet known", "", ""]
    return [f"{outcome.total_return:+.1%}", f"{outcome.volatility:.0%}", f"{outcome.drawdown:.1%}"]


def _spread_text(spread: Spread) -> str:
    if spread.p10 is None or spread.median is None or spread.p90 is None:
        return "not yet known"
    sign = "+" if spread.measure == "return" else ""
    return " / ".join(format(value, f"{sign}.1%") for value in (spread.p10, spread.median, spread.p90))


app = new_command(similar)

if __name__ == "__main__":
    sys.exit(run(app, prog_name="python -m prometheus.scripts.similar"))
