"""Labellers judged on many markets at once: those of files, of a market in the database, or configured regions."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np

from prometheus.app.calibrations import all_windows, describe_windows
from prometheus.app.judged_markets import load_all_bars, load_judged_market
from prometheus.app.labellers import LabellerChoice, index_until
from prometheus.app.wiring import UseCase, calendar_of
from prometheus.backfill.work import Progress
from prometheus.encoders.numeric.descriptors import WINDOW_DAYS
from prometheus.errors import InputRefusedError, UsageError
from prometheus.evaluation.judged import JudgedMarket
from prometheus.evaluation.markets import JudgedOne, MarketsReport, Refused, judge_market
from prometheus.evaluation.protocol import EvaluationPlan, Event
from prometheus.evaluation.report import draw_reliability
from prometheus.evaluation.spans import LEAST_SESSIONS, first_start, require_unseen
from prometheus.evaluation.v2 import VectorsByDate
from prometheus.files.pictures import save_figure
from prometheus.files.price_bars import read_price_bars
from prometheus.files.sources import find_sources
from prometheus.market.bars import PriceBars
from prometheus.market.calendar import US_EQ

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MarketsRequest:
    """How every market is judged: by default from the first start that works there, to its last bar.

    An earlier `start` is moved to the first that works. `vix` is the instrument whose level is a peer, `market_index`
    the one whose members the others are; neither is judged.
    """

    start: date | None = None
    end: date | None = None
    labellers: tuple[str, ...] = ()
    event: Event = "own"
    vix: str | None = None
    market_index: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Market:
    """A market to judge; `region` are the vectors of a region of several instruments, whose anchor `bars` are of."""

    name: str
    bars: JudgedMarket
    region: VectorsByDate | None = None


def evaluate_files(paths: Sequence[Path], request: MarketsRequest, progress: Progress) -> MarketsReport:
    """Judge labellers on every instrument of some files or folders of prices; no database is opened.

    UsageError for an instrument that two of the files hold, or for a VIX or an index that none does.
    """
    bars: dict[str, PriceBars] = {}
    for path in find_sources(paths).paths:
        for each in read_price_bars(path):
            (name,) = each.instrument_ids
            if name in bars:
                raise UsageError(f"{path} holds {name}, which a file before it does; leave one of them out")
            bars[name] = each
    roles = ((request.vix, "whose level is to be a peer"), (request.market_index, "the --market-index"))
    for beside, role in roles:
        if beside is not None and beside not in bars:
            raise UsageError(f"no file holds {beside}, {role}")
    calendar = calendar_of(US_EQ)
    levels = None if request.vix is None else bars.pop(request.vix)
    index = None if request.market_index is None else JudgedMarket(bars.pop(request.market_index), calendar)
    markets = (Market(name, JudgedMarket(each, calendar)) for name, each in bars.items())
    return _evaluate(markets, len(bars), request, levels, index, progress)


class EvaluateMarkets(UseCase):
    """Judges labellers on many stored markets."""

    def evaluate_members(self, market_id: str, request: MarketsRequest) -> MarketsReport:
        """Judge labellers on every instrument of a market."""
        beside = (request.vix, request.market_index)
        listed = [each for each in self._wired.catalog.list_instruments(market_id, None, 0) if each not in beside]
        markets = (Market(name, load_judged_market(self._wired, name)) for name in listed)
        return self._evaluate(markets, len(listed), request)

    def evaluate_regions(self, regions: Iterable[str], request: MarketsRequest) -> MarketsReport:
        """Judge labellers on configured regions, each by its instrument or by the vectors of its members.

        What followed is that of the region's anchor. UsageError for a region that is not configured.
        """
        names = list(regions)
        markets = [self._region(name, request.end) for name in names]
        return self._evaluate(markets, len(names), request)

    def _region(self, region: str, end: date | None) -> Market:
        subject = self._wired.subject_of(region, None, None, None, "")
        bars = load_judged_market(self._wired, subject.anchor)
        if subject.members == (subject.anchor,):
            return Market(region, bars)
        until = end or bars.bars.dates[-1].item()
        windows = all_windows(self._wired, subject, date.min, until)
        return Market(region, bars, VectorsByDate(describe_windows(subject, windows)))

    def _evaluate(self, markets: Iterable[Market], n_markets: int, request: MarketsRequest) -> MarketsReport:
        levels = None if request.vix is None else load_all_bars(self._wired, request.vix)
        index = None if request.market_index is None else load_judged_market(self._wired, request.market_index)
        return _evaluate(markets, n_markets, request, levels, index, self._wired.progress)


def draw_pooled(report: MarketsReport, folder: Path) -> None:
    """Draw the pooled calibration of every labeller, of high volatility and of bear markets; needs matplotlib."""
    for name, event in (
        ("reliability", "high volatility"),
        ("reliability_bear", "a bear market of the labeller's own"),
    ):
        title = f"{len(report.markets)} markets together"
        curves = report.curves(of_bear=name != "reliability")
        save_figure(draw_reliability(title, curves, event), folder / f"{name}.png")


def _evaluate(
    markets: Iterable[Market], n_markets: int, request: MarketsRequest, levels: PriceBars | None,
    index: JudgedMarket | None, progress: Progress,
) -> MarketsReport:  # fmt: skip
    choice = LabellerChoice(request.labellers, levels, None if index is None else index_until(index, request.end))
    if request.start is not None:
        require_unseen(request.start, choice.of())
    judged: list[JudgedOne] = []
    refused: list[Refused] = []
    for n_done, market in enumerate(markets):
        progress(n_done, n_markets)
        try:
            judged.append(_judge(market, request, choice))
        except InputRefusedError as error:
            refused.append(Refused(market.name, str(error)))
    progress(n_markets, n_markets)
    return MarketsReport(tuple(judged), tuple(refused))


def _judge(market: Market, request: MarketsRequest, choice: LabellerChoice) -> JudgedOne:
    dates = market.bars.bars.dates
    end = request.end or dates[-1].item()
    if request.start is not None and end < request.start:
        raise InputRefusedError(f"its bars end on {end}, before {request.start}")
    history = market.bars.known_on(np.datetime64(end, "D"))
    begins = 0 if market.region is None else history.position_of(market.region.sessions.dates[0]) - WINDOW_DAYS + 1
    works = first_start(history.dates[max(begins, 0) :], choice.of(), None if request.start is None else LEAST_SESSIONS)
    start = works if request.start is None else max(request.start, works)
    plan = EvaluationPlan(start, end, event=request.event)
    remark = f"from {start}, the first start that works" if request.start and start > request.start else ""
    visible = plan.visible(history)
    vectors = market.region or VectorsByDate.of(visible)
    judged = judge_market(market.name, history, plan, choice.of(visible, vectors), logger.info)
    return replace(judged, remark=remark)
