"""Search stored vectors: dates and windows like a date, texts by meaning, and the index of similar windows."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import date
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from prometheus.cli.options import FOUND_TEXTS, FoundTexts, HfModelName, TextSource
from prometheus.cli.parameters import ONLY_REGION, SearchedRegion, date_option, note_only_model, option
from prometheus.cli.runner import Answer, command, command_app, new_group, subcommand, table
from prometheus.core import MINILM
from prometheus.errors import UsageError
from prometheus.spelling import shown, spell_chance, spell_instant

if TYPE_CHECKING:
    from prometheus.analogs.search import Analog, AnalogReport
    from prometheus.app.text_search import TextHit, TextSearchReport
    from prometheus.app.window_search import WindowReport
    from prometheus.market.outcomes import ForwardReturn, Quantiles

SHOWN_CHARACTERS = 400
INDEXED = "num-regime-core-v2"
NUMBERS_CHOSEN = "prices and macro numbers are compared, as they are joined; prices alone: --space numeric"

WhoseVectors = Annotated[str | None, option("Whose vectors; needed where there are several.")]
WhoseWindows = Annotated[str, option("Whose windows.")]
Space = Literal["numeric", "joint", "text"]
Metric = Literal["euclidean", "cosine"]
By = Literal["both", "words", "meaning"]


@command("--region US_INDEX --as-of 2022-06-16 --k 5", "--instrument-id AAPL.US --as-of latest", latest="regimes")
def similar(
    as_of: Annotated[date, date_option("The date; later data is ignored.")],
    region: SearchedRegion = ONLY_REGION,
    instrument_id: Annotated[
        str | None,
        option(
            "With --region: whose closes say what followed. Without: search the windows of all instruments for "
            "those like this one's."
        ),
    ] = None,
    space: Annotated[
        Space | None,
        option("Compare prices, texts, or joint rows; without it prices, with macro numbers where they are joined."),
    ] = None,
    k: Annotated[int, option("How many analogs.")] = 10,
    exclude_sessions: Annotated[
        int, option("Minimum gap between results: sessions, or weekdays without a region.")
    ] = 63,
    metric: Annotated[Metric, option("How distance is measured.")] = "euclidean",
    model_id: WhoseVectors = None,
    regime_model_id: Annotated[str | None, option("Whose labels the analogs carry.")] = None,
    source: Annotated[TextSource, option("Of the texts, for the joint and the text space.")] = "macro",
    country: Annotated[str | None, option("Only macro texts of it, in the text space.")] = None,
    least: Annotated[bool, option("The dates least like it instead.", "--least")] = False,
) -> Answer:
    """Print the past dates nearest to a date, a minimum gap apart, and what followed each."""
    if region or instrument_id is None:
        from prometheus.analogs.search import AnalogRequest

        request = AnalogRequest(
            region, as_of, space, k, exclude_sessions, metric, model_id, regime_model_id, instrument_id, source,
            country, least,
        )  # fmt: skip
        with command_app() as app:
            report = app.analogs.find(request)
            encoders = [each.encoder_model_id for each in app.regimes.histories() if each.region == region]
        rivals, until = (encoders, None) if report.request.space == "numeric" else ([report.model_id], as_of)
        is_chosen = space is None and report.request.space == "joint"
        notes = (NUMBERS_CHOSEN,) if is_chosen else note_only_model(model_id, rivals, until)
        return Answer(report.to_dict, lambda: "\n".join(_report_lines(report)), notes=notes)
    from prometheus.app.window_search import DEFAULT_MODEL_ID, WindowRequest

    if space not in (None, "numeric") or metric != "euclidean":
        raise UsageError("windows of instruments are compared in the numeric space, by Euclidean distance")
    if least:
        raise UsageError("of all instruments' windows only the nearest are found; give --region for --least")
    wanted = WindowRequest(instrument_id, as_of, k, exclude_sessions, model_id or DEFAULT_MODEL_ID)
    with command_app("instruments") as app:
        found = app.window_search.find(wanted)
    return Answer(found.to_dict, lambda: "\n".join(_window_lines(found)))


def _report_lines(report: AnalogReport) -> Iterator[str]:
    asked = report.request
    how, named = ("least alike", "dates") if asked.least else ("nearest", "analogs")
    yield (
        f"{asked.region} {report.as_of_date}, {asked.space} space of {report.model_id}: {how} of "
        f"{report.n_candidates:,} earlier dates, more than {asked.exclude_sessions} sessions apart"
    )
    if report.parts is not None:
        yield str(report.parts)
    if not report.analogs:
        yield "none"
        return
    header = ["date", "distance", "nearer pairs", "regime", "sure", *_outcome_header(report.analogs[0].outcomes)]
    yield from table([header, *(_analog_row(analog) for analog in report.analogs)])
    yield from (f"{each.as_of_date}  {each.nearness}" for each in report.analogs if each.nearness is not None)
    yield f"closes of {report.instrument_id}; spread over the {named}, and over all dates (10 % / median / 90 %):"
    rows = [
        [f"{spread.measure} of the next {spread.horizon}", _spread_text(spread), _spread_text(base)]
        for spread, base in zip(report.spreads, report.base_spreads, strict=True)
    ]
    n_known = max(base.n_dates for base in report.base_spreads)
    yield from table([["", f"{len(report.analogs)} {named}", f"{n_known:,} dates"], *rows])


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


def _outcome_header(outcomes: Sequence[ForwardReturn]) -> list[str]:
    return [cell for each in outcomes for cell in (f"next {each.horizon}: return", "volatility", "drawdown")]


def _analog_row(analog: Analog) -> list[str]:
    nearer = "" if analog.percentile is None else f"{analog.percentile:.2%}"
    label, sure = analog.regime_label or "", "" if analog.confidence is None else spell_chance(analog.confidence)
    distance = f"{analog.distance:.3f}"
    return [str(analog.as_of_date), distance, nearer, label, sure, *_outcome_cells(analog.outcomes)]


def _outcome_cells(outcomes: Sequence[ForwardReturn]) -> list[str]:
    cells: list[str] = []
    for each in outcomes:
        if each.total_return is None or each.volatility is None or each.drawdown is None:
            cells += ["not yet known", "", ""]
        else:
            cells += [f"{each.total_return:+.1%}", f"{each.volatility:.0%}", f"{each.drawdown:.1%}"]
    return cells


def _spread_text(spread: Quantiles) -> str:
    if spread.p10 is None or spread.median is None or spread.p90 is None:
        return "not yet known"
    sign = "+" if spread.measure == "return" else ""
    return " / ".join(format(value, f"{sign}.1%") for value in (spread.p10, spread.median, spread.p90))


@command("'credit spreads widen' --as-of 2023-12-28 --k 3", latest="texts")
def similar_texts(
    as_of: Annotated[date, date_option("Only texts dated up to it and known on it.")],
    query: Annotated[str, typer.Argument(help="What the texts should say or mean; none with --like.")] = "",
    k: Annotated[int, option("How many texts.")] = 10,
    source: Annotated[TextSource | None, option("Only these; both without it.")] = None,
    model_id: Annotated[
        str | None,
        option("Whose vectors; without it, for each text those of the newest model that reads its language."),
    ] = None,
    hf_model_name: HfModelName = MINILM,
    by: Annotated[By, option("Rank by the words of the question, by its meaning, or by both.")] = "both",
    like: Annotated[str | None, option("Instead of a question: a stored text, such as MACRO:123.")] = None,
    found: FoundTexts = FOUND_TEXTS,
) -> Answer:
    """Print the texts known by a date that are most like a question; of equal texts the earliest."""
    from prometheus.app.text_search import TextQuery
    from prometheus.encoders.texts.documents import TextFilters

    filters = TextFilters(**asdict(found))
    wanted = TextQuery(query, as_of, k, source, model_id, hf_model_name, by, like, filters)
    with command_app() as app:
        report = app.text_search.find(wanted)
        remark = app.stance.remark(filters)
    notes = [
        *note_only_model(model_id, filter(None, [report.model_id]), as_of),
        *([f"note: {remark}"] if remark else []),
    ]
    lines = lambda: "\n".join(_text_lines(report, marks=sys.stdout.isatty()))  # noqa: E731
    return Answer(report.to_dict, lines, notes=notes, is_styled=True)


def _text_lines(report: TextSearchReport, *, marks: bool) -> Iterator[str]:
    without = f"; {report.n_without_vector:,} without a vector, by words alone" if report.n_without_vector else ""
    yield f"{report.n_texts:,} texts known on {report.as_of_date}, compared by {report.means}{without}"
    if report.is_nothing_close:
        yield "nothing close: random questions of this length find texts with as many of their words"
    yield "\n".join(hit_text(hit, marks=marks) for hit in report.hits)


def hit_text(hit: TextHit, *, marks: bool) -> str:
    """Return two lines for people; with the words of the question in bold, if `marks`."""
    text = hit.text
    known = "" if text.known_at is None else f", known {spell_instant(text.known_at)}"
    way = f"(tells: {hit.way})" if hit.way else ""
    name = f"{text.source_type}:{text.source_id}"
    labels = shown(" ".join(filter(None, (name, text.kind, text.place, text.origin, hit.copies, way))))
    parts = [(shown(part), is_word) for part, is_word in hit.excerpt(SHOWN_CHARACTERS)]
    body = "".join(typer.style(part, bold=True) if is_word and marks else part for part, is_word in parts)
    return f"{hit.score:5.2f}  {spell_instant(text.timestamp)}{known}  {labels}\n       {body}"


similar_index = new_group("The index that finds similar windows among millions (pgvector, HNSW).")


@subcommand(similar_index, "")
def build(model_id: WhoseWindows = INDEXED) -> Answer:
    """Make the index, or bring it in step with the stored windows."""
    with command_app("windows") as application:
        n_copied, found = application.window_search.build_index(model_id)
    return Answer(
        lambda: {"copied": n_copied, **asdict(found)},
        lambda: f"{model_id}: {n_copied:,} windows copied; {found.n_indexed:,} in the index, {_size(found.n_bytes)}",
    )


@subcommand(similar_index, "")
def status(model_id: WhoseWindows = INDEXED) -> Answer:
    """Say what the index holds, and how many windows it is behind."""
    with command_app() as application:
        found = application.window_search.index_status(model_id)
    line = (
        f"{model_id}: {found.n_indexed:,} windows in the index, {found.n_missing:,} missing or out of step, "
        f"{_size(found.n_bytes)}"
    )
    return Answer(lambda: asdict(found), lambda: line)


@subcommand(similar_index, "--queries 20 --at-least 0.95")
def check(
    model_id: WhoseWindows = INDEXED,
    queries: Annotated[int, option("Windows to ask for.", min=1, max=10_000)] = 100,
    k: Annotated[int, option("Nearest windows of each.", min=1, max=1_000)] = 10,
    at_least: Annotated[float, option("Exit with 1 below this recall.", min=0, max=1)] = 0.9,
) -> Answer:
    """Compare what the index finds with the true nearest windows, found by comparing all."""
    with command_app() as application:
        found = application.window_search.check_index(model_id, queries, k)
    line = (
        f"{model_id}: recall@{found.k} {found.recall:.3f} over {found.n_queries} queries among "
        f"{found.n_windows:,} windows, the worst {found.worst:.2f}"
    )
    return Answer(lambda: asdict(found), lambda: line, 0 if found.recall >= at_least else 1)


@subcommand(similar_index, "")
def drop(model_id: WhoseWindows = INDEXED) -> Answer:
    """Remove the index; no embedding is touched."""
    with command_app() as application:
        was_there = application.window_search.drop_index(model_id)
    line = f"{model_id}: {'removed' if was_there else 'there was no index'}"
    return Answer(lambda: {"model_id": model_id, "removed": was_there}, lambda: line)


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:,.0f} MiB"
