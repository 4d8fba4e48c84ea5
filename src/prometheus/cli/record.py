"""The forward record: whether it is whole, what was said, and what that was worth."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING, Annotated

from prometheus.cli.parameters import ONLY_REGION, OnlyRegion, date_option, option
from prometheus.cli.runner import Answer, command_app, csv_text, new_group, subcommand, table
from prometheus.spelling import spell_hours, spell_instant

if TYPE_CHECKING:
    from prometheus.app.record import RecordScore
    from prometheus.regime.record import Statement

COLUMNS = (
    "number", "said_at", "as_of_date", "label", "confidence", "high_volatility", "threshold", "held", "model_id",
    "label_today", "today",
)  # fmt: skip
NOT_WHOLE = 3

record = new_group("Verify, show and score what was said of each session when it was new.")

AsOf = Annotated[
    date | None, date_option("As it stood at the end of this date, in UTC: nothing that was said or followed later.")
]


@subcommand(record, "")
def verify(
    head: Annotated[
        str | None, option("A hash that you kept: the record must still lead through it.", metavar="HASH")
    ] = None,
) -> Answer:
    """Compute every hash of the record again; exit code 3, and the first row that is wrong, if it was changed."""
    with command_app() as app:
        verdict = app.statements.verify(head)
    said = f"{verdict.head.n_statements:,} statements, head {verdict.head.hash.hex()}"
    if verdict.fault is None:
        return Answer(verdict.to_dict, lambda: f"whole: {said}")
    return Answer(verdict.to_dict, lambda: f"not whole: {verdict.fault}\nsound up to there: {said}", NOT_WHOLE)


@subcommand(record, "--region US --limit 5", latest="regimes")
def show(
    region: OnlyRegion = ONLY_REGION,
    as_of: AsOf = None,
    limit: Annotated[int | None, option("Maximum number of rows, the newest.", min=1)] = None,
) -> Answer:
    """Print what was said of a region as CSV, oldest first, and whether the tables still say so."""
    with command_app() as app:
        said = app.statements.statements(region, as_of)
    chosen = said[-limit:] if limit else said
    return Answer(
        lambda: [each.to_dict() for each in chosen], lambda: csv_text([COLUMNS, *map(_row, chosen)])
    )  # fmt: skip


def _row(said: Statement) -> tuple[object, ...]:
    high, threshold = (
        "" if value is None else f"{value:.6f}" for value in (said.high_volatility, said.threshold)
    )  # fmt: skip
    return (
        said.number, spell_instant(said.said_at, "seconds"), said.as_of_date, said.label, f"{said.confidence:.6f}",
        high, threshold, "held" if said.is_held else "", said.model_id, said.label_today or "", said.today or "",
    )  # fmt: skip


@subcommand(record, "--region US --as-of 2025-01-31", latest="regimes")
def score(region: OnlyRegion = ONLY_REGION, as_of: AsOf = None) -> Answer:
    """Print how the statements of a region came true: those said on time, and apart those said afterwards."""
    with command_app() as app:
        scores = app.statements.score(region, as_of)
    nothing = f"nothing was said by {as_of}"
    return Answer(
        lambda: [each.to_dict() for each in scores],
        lambda: "\n\n".join("\n".join(_lines(each)) for each in scores) or nothing,
    )


def _lines(scored: RecordScore) -> Iterator[str]:
    when, high = "on time" if scored.is_on_time else "afterwards", scored.high_volatility
    lag, longest = map(spell_hours, (scored.lag_hours, scored.longest_lag_hours))
    yield (
        f"{scored.region}, {scored.model_id}: {scored.n_statements:,} statements of {scored.first} to {scored.last} "
        f"said {when}, {lag} after the close (longest {longest})"
    )
    if scored.n_changed is not None:
        yield f"  labels: {scored.n_changed:,} are other ones in the tables today, {scored.n_gone:,} are gone"
    if high.brier is None:
        yield "  high volatility: no statement can be scored yet; each waits until its 21 sessions are over"
        return
    skill = "" if high.skill is None else f", skill {high.skill:.3f}"
    yield (
        f"  high volatility: {high.n_scored:,} scored, Brier {high.brier:.4f}; the base rate known beforehand "
        f"{high.base_brier:.4f}{skill}"
    )
    rows = [(f"{each.stated:.2f}", f"{each.observed:.2f}", f"{each.n:,}") for each in high.tenths]
    yield from (f"  {line}" for line in table([("stated", "came true", "statements"), *rows], numbers_right=True))
