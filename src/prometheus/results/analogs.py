"""Past dates that looked like one, and what followed them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from prometheus.analogs.search import Analog, AnalogReport
from prometheus.arrays import DateVector, Float64Matrix, Float64Vector
from prometheus.market.outcomes import HORIZONS, PATH_SESSIONS, Quantiles
from prometheus.results import figures
from prometheus.results.table import Column, Kind, ResultTable, columns_of

_COLUMNS: dict[str, Kind] = {
    "as_of_date": "date", "distance": "number", "percentile": "number", "regime_label": "label",
    "confidence": "number",
}  # fmt: skip
_OUTCOMES = (("return", "total_return", "+.1%"), ("volatility", "volatility", ".1%"), ("drawdown", "drawdown", ".1%"))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Analogs(ResultTable[Analog]):
    """The analogs of one date, nearest first, or the dates least like it; nothing after the date counted.

    `report` has all that was found: how what followed is spread over the analogs and over all dates, and the paths of
    closes.
    """

    report: AnalogReport

    @property
    def region(self) -> str:
        """The region."""
        return self.report.request.region

    @property
    def model_id(self) -> str:
        """Whose vectors were compared."""
        return self.report.model_id

    @property
    def dates(self) -> DateVector:
        """The analogs, shape (n,), nearest first."""
        return np.array([analog.as_of_date for analog in self], dtype="M8[D]")

    def __len__(self) -> int:
        return len(self.report.analogs)

    def __iter__(self) -> Iterator[Analog]:
        return iter(self.report.analogs)

    def to_numpy(self) -> Float64Matrix:
        """Return the closes around each analog as shares of the close on it, shape (n, 127), float64.

        Column 63 is the analog itself, always 1; the sessions before and after it stand on either side, NaN where
        there is no close up to the date asked about.
        """
        paths = [_centred(analog.path, analog.n_before) for analog in self]
        return np.array(paths, dtype=np.float64).reshape(len(paths), 2 * PATH_SESSIONS + 1)

    def plot(self, *, interactive: bool | None = None) -> figures.Picture:
        """Return the paths around the analogs over that of the date; `interactive` and errors as for `Regimes.plot`."""
        figures.require_rows(len(self), "analogs")
        report = self.report
        title = f"{report.instrument_id} around {report.as_of_date} and its {len(self)} analogs in {self.region}"
        own = _centred(report.path, report.n_before)
        return figures.draw_paths(title, self.to_numpy(), own, "median of the analogs", interactive=interactive)

    def _columns(self) -> Sequence[Column]:
        followed = (
            Column(f"{name}_{horizon}", "number", [getattr(each.outcomes[at], field) for each in self], form)
            for at, horizon in enumerate(HORIZONS)
            for name, field, form in _OUTCOMES
        )
        return [*columns_of(self, _COLUMNS, {"distance": ",.4g", "percentile": ".1%"}), *followed]

    def _headline(self) -> str:
        report, asked = self.report, self.report.request
        what = "Dates least like" if asked.least else "Analogs of"
        return (
            f"{what} {report.as_of_date} in {self.region}, {asked.space} space of {report.model_id}: "
            f"{len(self)} of {report.n_candidates:,} dates"
        )

    def _named(self) -> Mapping[str, str]:
        report = self.report
        asked = {"space": report.request.space or "", "metric": report.request.metric}
        models = {"model_id": report.model_id, "regime_model_id": report.regime_model_id or ""}
        of = {"region": self.region, "as_of_date": str(report.as_of_date)}
        return {**of, **asked, **models, "instrument_id": report.instrument_id}

    def _notes(self) -> Sequence[str]:
        report = self.report
        pairs = zip(report.spreads, report.base_spreads, strict=True)
        parts = [] if report.parts is None else [str(report.parts)]
        return [
            *parts,
            *(_compared(of_analogs, of_all) for of_analogs, of_all in pairs if of_analogs.measure == "return"),
        ]


def _centred(path: Float64Vector, n_before: int) -> Float64Vector:
    """Return a path with its date in the middle, NaN where it is too short, shape (127,)."""
    whole = np.full(2 * PATH_SESSIONS + 1, np.nan)
    first = PATH_SESSIONS - n_before
    whole[first : first + len(path)] = path
    return whole


def _compared(of_analogs: Quantiles, of_all: Quantiles) -> str:
    if of_analogs.median is None or of_all.median is None:
        return f"{of_analogs.horizon} sessions later: not known yet"
    return (
        f"{of_analogs.horizon} sessions later: median return {of_analogs.median:+.1%}, up in "
        f"{of_analogs.positive_share:.0%} of {of_analogs.n_dates}; after all {of_all.n_dates:,} dates "
        f"{of_all.median:+.1%}, up in {of_all.positive_share:.0%}"
    )
