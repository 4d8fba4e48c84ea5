"""The tables of an evaluation over many markets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain

from prometheus.evaluation.figures import brier_skill, calibration_error
from prometheus.evaluation.har import HAR_ON_RANGE
from prometheus.evaluation.markets import JudgedOne, MarketsReport
from prometheus.evaluation.report import BEAR_NOTE, aligned_table, columns_of, shown

_Columns = Mapping[str, tuple[str, str]]
"""Title, figure and format of each column."""
_MAIN: _Columns = {
    "AUC": ("auc_of_probability", ".3f"), "Brier": ("brier_skill", "+.3f"), "ECE": ("calibration_error", ".3f"),
    "AUC test": ("auc_of_test_event", ".3f"), "R2": ("r2", ".3f"), "QLIKE": ("qlike", ".3f"), "eta2": ("eta2", ".3f"),
    "eta2 labels": ("eta2_of_labels", ".3f"), "switches/y": ("switches_per_year", ".2f"),
    "less holding": ("sharpe_difference", "+.3f"), "drawdown": ("max_drawdown", ".3f"),
    "half out": ("sharpe_difference_half_out", "+.3f"), "its drawdown": ("max_drawdown_half_out", ".3f"),
}  # fmt: skip
"""The event is the plan's, the area that of the stated probability."""
_BEARS: _Columns = {each.metadata["title"]: (each.name, each.metadata["format"]) for each in columns_of("bear")}
_ROW_TITLES = ("AUC", "Brier", "ECE", "R2")
_ROW_BEARS = ("bear AUC", "bear Brier", "bear ECE", "20% lag")
_ROW_PEERS = ("EWMA volatility", HAR_ON_RANGE)


def markets_text(report: MarketsReport) -> str:
    """Return the markets, the medians, what was won and lost, and the pooled calibration, as text."""
    tables = [
        table(report, title, columns)
        for table in (_medians, _won)
        for title, columns in (("", _MAIN), ("bear markets, ", _BEARS))
    ]
    return "\n\n".join([_rows(report), *tables, _pooled(report), *_left_out(report)])


def _rows(report: MarketsReport) -> str:
    peers = [peer for peer in _ROW_PEERS if peer in report.labellers[1:]]
    header = ["market", "from", "to", "sessions", *_ROW_TITLES, "fall", *_ROW_BEARS]
    lines = [[*header, *(f"AUC less {peer}" for peer in peers)], *(_row(market, peers) for market in report.markets)]
    n_markets = f"{len(report.markets)} market{'' if len(report.markets) == 1 else 's'}"
    event = {market.plan.event for market in report.markets}
    what = "known on the day" if event == {"own"} else "of the test span"
    heading = f"{report.labellers[0]} on {n_markets}; high volatility: above the threshold of the top fifth {what}"
    return f"{heading}\n{aligned_table(lines)}\n{BEAR_NOTE}"


def _row(market: JudgedOne, peers: list[str]) -> list[str]:
    ours = market.figures[0]
    gains = {gain.peer: gain for gain in market.gains}
    ahead = [f"{g.auc:+.3f} ({g.auc_low:+.3f}..{g.auc_high:+.3f})" if (g := gains.get(peer)) else "-" for peer in peers]
    cells = [shown(getattr(ours, _MAIN[title][0]), _MAIN[title][1]) for title in _ROW_TITLES]
    bears = [shown(getattr(ours, _BEARS[title][0]), _BEARS[title][1]) for title in _ROW_BEARS]
    named = [market.name, str(market.plan.start), str(market.plan.end), str(ours.n_sessions)]
    return [*named, *cells, f"{ours.own_bear_fall:.1%}", *bears, *ahead]


def _medians(report: MarketsReport, title: str, columns: _Columns) -> str:
    lines = [
        [name, *(shown(report.median_of(name, figure), form) for figure, form in columns.values())]
        for name in report.labellers
    ]
    return aligned_table([[f"{title}median of the markets", *columns], *lines])


def _won(report: MarketsReport, title: str, columns: _Columns) -> str:
    lines = [[f"{title}share won by {report.labellers[0]} against", *columns]]
    lines += [
        [peer, *(shown(report.share_won(peer, figure), ".0%") for figure, _ in columns.values())]
        for peer in report.labellers[1:]
    ]
    if columns is not _MAIN:
        return aligned_table(lines)
    lines[0] += ["AUC above/below", "Brier above/below"]
    for line in lines[1:]:
        decided = report.decided(line[0])
        line += [f"{decided[f'{what}_above']}/{decided[f'{what}_below']}" for what in ("auc", "brier")]
    note = "above/below: markets in which the whole 95 % interval of the gain lies above 0, and below"
    return f"{aligned_table(lines)}\n{note}"


def _pooled(report: MarketsReport) -> str:
    titles = ("", "bear ", "20% ")
    lines = [
        ["pooled over the markets", "sessions", *(f"{title}{what}" for title in titles for what in ("Brier", "ECE"))]
    ]
    for name in report.labellers:
        pooled = report.pooled(name)
        pairs = ((pooled.high, pooled.is_high), (pooled.own_bear, pooled.is_own_bear), (pooled.bear, pooled.is_bear))
        figures = ((shown(brier_skill(*pair), "+.3f"), shown(calibration_error(*pair), ".3f")) for pair in pairs)
        lines.append([name, f"{len(pooled.high)}", *chain.from_iterable(figures)])
    return aligned_table(lines)


def _left_out(report: MarketsReport) -> Iterator[str]:
    moved = [f"{market.name} {market.remark}" for market in report.markets if market.remark]
    if moved:
        yield "\n".join(moved)
    if report.refused:
        yield "\n".join(f"not judged: {each.name}: {each.reason}" for each in report.refused)
