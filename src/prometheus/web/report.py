"""The page of a region and date as one file: no script, no address, nothing to load; fit to be sent."""

from __future__ import annotations

import re
from datetime import date

from markupsafe import Markup

from prometheus import __version__
from prometheus.app import App
from prometheus.core.files import FileKind
from prometheus.web.assets import STATIC
from prometheus.web.page import region_values
from prometheus.web.rendering import written
from prometheus.web.svg import ChartParameters, chart_values

PAGE_FILE = FileKind(
    "a page that report wrote", lambda content: b'<meta name="generator" content="Prometheus ' in content
)

_LINK = re.compile(r'<a [^>]*href="/[^"]*"[^>]*>(.*?)</a>', re.DOTALL)
_SCRIPTED = re.compile(r'<(\w+)[^>]*class="[^"]*\bscripts\b[^"]*"[^>]*>.*?</\1>', re.DOTALL)


def write_report(app: App, region: str, as_of: date | None, model_id: str | None) -> tuple[date, str]:
    """Return the date shown, the one asked for or the newest up to it, and a region's page as HTML that stands alone.

    NoRegimesError or NotFoundError as `BriefRegion.of` raises them.
    """
    briefing = app.briefings.of(region, as_of, model_id)
    day = briefing.as_of_date
    closes, timeline = app.briefings.series(region, day, briefing.history.model_id)
    title = f"{closes.instrument_id} and the regimes of {region}"
    drawn = chart_values(title, closes, timeline, ChartParameters.model_validate({}))
    values = {
        **region_values(briefing, model_id, as_of), "layout": "standalone.html", "version": __version__,
        "drawing": Markup(written("chart.svg", drawn, _no_asset)),  # noqa: S704 -- escaped by its own template
        "styles": Markup((STATIC / "page.css").read_text(encoding="utf-8")),  # noqa: S704 -- a file of ours
        "day": day,
    }  # fmt: skip
    return day, _LINK.sub(r"\1", _SCRIPTED.sub("", written("region.html", values, _no_asset)))


def _no_asset(name: str) -> str:
    raise LookupError(f"a report loads nothing, not even {name}")
