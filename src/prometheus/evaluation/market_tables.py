"""The tables of an evaluation over many markets."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus.evaluation.figures import calibration_error
from prometheus.evaluation.har import HAR_ON_RANGE
from prometheus.evaluation.markets import JudgedOne, MarketsReport
from prometheus.evaluation.report import aligned_table, shown

_MEDIANS = {
    "AUC": ("auc_of_probability", ".3f"), "Brier": ("brier_skill", "+.3f"), "ECE": ("calibration_error", ".3f"),
    "AUC test": ("auc_of_test_event", ".3f"), "R2": ("r2", ".3f"), "QLIKE": ("qlike", ".3f"), "eta2": ("eta2", ".3f"),
    "eta2 labels": ("eta2_of_labels", ".3f"), "bear bAcc": ("bear_balanced_accuracy", ".3f"),
    "bear F1": ("bear_f1", ".3f"), "bear AUC": ("bear_auc", ".3f"), "bear Brier": ("bear_brier_skill", "+.3f"),
    "bear ECE": ("bear_calibration_error", ".3f"), "lag": ("lag", ".0f"), "switches/y": ("switches_per_year", ".2f"),
    "less holding": ("sharpe_difference", "+.3f"), "drawdown": ("max_drawdown", ".3f"),
    "half out": ("sharpe_difference_half_out", "+.3f"), "its drawdown": ("max_drawdown_half_out", ".3f"),
}  # fmt: skip
"""Title, figure and format of each column; the event is the plan's, the area that of the stated probability."""
_ROW_PEERS = ("EWMA volatility", HAR_ON_RANGE)


def markets_text(report: MarketsReport) -> str:
    """Return the markets, the medians, what was won and lost, and the pooled calibration, as text."""
    return "\n\n".join([_rows(report), _medians(report), _won(report), _calibration(report), *_left_out(report)])


def _rows(report: MarketsReport) -> str:
    titles = ("AUC", "Brier", "ECE", "R2", "bear bAcc", "bear F1", "lag")
    peers = [peer for peer in _ROW_PEERS if peer in report.labellers[1:]]
    header = ["market", "from", "to", "sessions", *titles, *(f"AUC less {peer}" for peer in peers)]
    lines = [header, *(_row(market, titles, peers) for market in report.markets)]
    n_markets = f"{len(report.markets)} market{'' if len(report.markets) == 1 else 's'}"
    event = {market.plan.event for market in report.markets}
    what = "known on the day" if event == {"own"} else "of the test span"
    heading = f"{report.labellers[0]} on {n_markets}; high volatility: above the threshold of the top fifth {what}"
    return f"{heading}\n{aligned_table(lines)}"


def _row(market: JudgedOne, titles: tuple[str, ...], peers: list[str]) -> list[str]:
    ours = market.figures[0]
    gains = {gain.peer: gain for gain in market.gains}
    ahead = [f"{g.auc:+.3f} ({g.auc_low:+.3f}..{g.auc_high:+.3f})" if (g := gains.get(peer)) else "-" for peer in peers]
    cells = [shown(getattr(ours, _MEDIANS[title][0]), _MEDIANS[title][1]) for title in titles]
    return [market.name, str(market.plan.start), str(market.plan.end), str(ours.n_sessions), *cells, *ahead]


def _medians(report: MarketsReport) -> str:
    lines = [
        [name, *(shown(report.median_of(name, figure), form) for figure, form in _MEDIANS.values())]
        for name in report.labellers
    ]
    return aligned_table([["median of the markets", *_MEDIANS], *lines])


def _won(report: MarketsReport) -> str:
    header = [f"share won by {report.labellers[0]} against", *_MEDIANS, "AUC above/below", "Brier above/below"]
    lines = [header]
    for peer in report.labellers[1:]:
        decided = report.decided(peer)
        sure = [f"{decided[f'{what}_above']}/{decided[f'{what}_below']}" for what in ("auc", "brier")]
        lines.append([peer, *(shown(report.share_won(peer, figure), ".0%") for figure, _ in _MEDIANS.values()), *sure])
    note = "above/below: markets in which the whole 95 % interval of the gain lies above 0, and below"
    return f"{aligned_table(lines)}\n{note}"


def _calibration(report: MarketsReport) -> str:
    lines = [["pooled over the markets", "sessions", "ECE", "bear ECE"]]
    for name in report.labellers:
        pooled = report.pooled(name)
        errors = (calibration_error(pooled.high, pooled.is_high), calibration_error(pooled.bear, pooled.is_bear))
        lines.append([name, f"{len(pooled.high)}", *(shown(error, ".3f") for error in errors)])
    return aligned_table(lines)


def _left_out(report: MarketsReport) -> Iterator[str]:
    moved = [f"{market.name} {market.remark}" for market in report.markets if market.remark]
    if moved:
        yield "\n".join(moved)
    if report.refused:
        yield "\n".join(f"not judged: {each.name}: {each.reason}" for each in report.refused)
