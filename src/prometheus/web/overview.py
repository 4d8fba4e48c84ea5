"""All regions at a glance: the page's front, and the same for machines."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import HTMLResponse, Response

from prometheus.app.overview import CHANGED_WITHIN, HORIZON, N_STRIP, MarketShares
from prometheus.regime.colours import LOOKS
from prometheus.regime.history import LABELS
from prometheus.regime.types import RegimeLabel
from prometheus.web.api import AppOf
from prometheus.web.operations import LeftOut, headers_of
from prometheus.web.questions import IsoDate, OptionalDate, Parameters
from prometheus.web.rendering import render
from prometheus.web.schemas import Answer, Share

api = APIRouter(prefix="/v1", tags=["regimes"])
page = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
SHARES_HEIGHT = 60
N_NIGHTS, N_TOLD = 5, 10
"""Nights that are shown, and of each how many reasons."""
BY_SEVERITY = (RegimeLabel.CARRY, RegimeLabel.NEUTRAL, RegimeLabel.RISK_OFF, RegimeLabel.CRISIS)


class OverviewParameters(Parameters):
    """The date of an overview."""

    as_of: OptionalDate = Field(None, description="Nothing later counts; default: today.", examples=["2020-03-16"])


class ChangesParameters(Parameters):
    """Changes wanted."""

    since: IsoDate = Field(description="First date.", examples=["2020-03-01"])
    until: OptionalDate = Field(None, description="Last date; default: today.", examples=["2020-03-31"])


class RegionOverview(Answer):
    """One region at a glance."""

    region: str = Field(examples=["US_INDEX"])
    name: str = Field(description="Of the instrument, where it is known.")
    instrument_id: str | None = Field(description="Whose closes it follows.")
    market: str
    model_id: str
    label: RegimeLabel
    previous_label: RegimeLabel | None
    confidence: Share = Field(description="A probability where `is_calibrated`, else a share of distances.")
    is_calibrated: bool
    high_volatility: Share | None
    bear: Share | None
    change_risk: Share | None = Field(description=f"Chance of another regime within {HORIZON} sessions.")
    is_changed: bool = Field(description=f"Whether the regime changed in the last {CHANGED_WITHIN} sessions.")
    held: str | None = Field(description="Why the label is that of the session before.")
    n_weekdays_old: int = Field(ge=0)
    is_stale: bool
    close: float | None
    move: float | None = Field(description="Of the adjusted close, from the bar before.")
    strip: str = Field(description=f"A letter for each of the last {N_STRIP} sessions: C, N, R, X.")
    as_of_date: date
    since: date = Field(description="First session of the regime.")
    close_date: date | None
    strip_start: date


class ChangeRow(Answer):
    """A change of regime."""

    region: str
    model_id: str
    as_of_date: date = Field(description="First session of the new regime.")
    from_label: RegimeLabel
    to_label: RegimeLabel


class MarketOverview(Answer):
    """The regions of one market."""

    market: str
    n_regions: int
    counts: dict[RegimeLabel, int]
    dates: list[date]
    shares: dict[RegimeLabel, list[Share]] = Field(description="Of the regions in each regime, by date.")


class UnwatchedInstrument(Answer):
    """An instrument that no region stands on."""

    instrument_id: str
    name: str | None
    market_id: str


class OverviewAnswer(Answer):
    """Every region on a date."""

    as_of: date
    counts: dict[RegimeLabel, int]
    items: list[RegionOverview]
    changes: list[ChangeRow] = Field(description="Of the month before, newest first.")
    markets: list[MarketOverview]
    without_region: list[UnwatchedInstrument]
    standings: dict[str, dict[str, int]] = Field(
        description="How many `regions` and `instruments` stood in which way in the newest night, if by the date."
    )
    left_out: list[LeftOut] = Field(description="Those of them that are not simply up to date, and why.")


class ChangeList(Answer):
    """Changes of regime, newest first."""

    items: list[ChangeRow]


@api.get("/overview", response_model=OverviewAnswer, summary="All regions at a glance")
def get_overview(app: AppOf, query: Annotated[OverviewParameters, Query()]) -> Any:
    """Return a row for each region, the changes of the last month, and each market as a whole, as of a date."""
    return app.overview.on(query.as_of).to_dict()


@api.get("/changes", response_model=ChangeList, summary="Changes of regime of all regions")
def list_changes(app: AppOf, query: Annotated[ChangesParameters, Query()]) -> Any:
    """Return the changes between two dates, each region's by the model that answers for it."""
    until = query.until or datetime.now(UTC).date()
    return {"items": [each.to_dict() for each in app.overview.changes(query.since, until)]}


@page.get("/")
def overview(request: Request, app: AppOf, query: Annotated[OverviewParameters, Query()]) -> Response:
    """Show every region, what changed, each market, and without a date the last nights."""
    found = app.overview.on(query.as_of)
    nights = [] if query.as_of else app.runs.newest(N_NIGHTS)
    values = {
        "nights": nights, "n_told": N_TOLD,
        "overview": found, "asked": query.as_of, "regions": sorted(row.region for row in found.rows),
        "has_bear": any(row.bear is not None for row in found.rows), "n_strip": N_STRIP,
        "heights": {LOOKS[label].letter: 4 + 2 * at for at, label in enumerate(BY_SEVERITY)},
        "names": {LOOKS[label].letter: label.name for label in LABELS},
        "areas": {each.market: list(_areas(each)) for each in found.markets},
        "severity": {label.name: at for at, label in enumerate(BY_SEVERITY)},
    }  # fmt: skip
    response = render(request, "overview.html", values)
    response.headers.update(headers_of(nights))
    return response


def _areas(market: MarketShares) -> Iterator[tuple[str, str]]:
    """Yield each label, the worst at the bottom, and the outline of its share over time, of width 252."""
    n = len(market.dates)
    across = np.linspace(0.0, N_STRIP, n) if n > 1 else np.array([0.0])
    below = np.zeros(n)
    for label in reversed(BY_SEVERITY):
        above = below + market.shares[:, LABELS.index(label)]
        lines = zip([*across, *across[::-1]], [*above, *below[::-1]], strict=True)
        yield label.name, " ".join(f"{x:.0f},{SHARES_HEIGHT * (1 - share):.1f}" for x, share in lines)
        below = above
