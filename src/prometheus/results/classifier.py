"""Regimes of prices in memory: an estimator with scikit-learn's manners, vectors and analogs; no database, no files."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import Float64Matrix
from prometheus.errors import InputRefusedError, UsageError
from prometheus.market.bars import PriceBars
from prometheus.market.outcomes import forward_log_volatility
from prometheus.regime.calibration import DECODE_SESSIONS, PENALTY, SPAN_SESSIONS, CalibrationSettings, PrototypeSource
from prometheus.regime.explanation import EVIDENCE_LABELS
from prometheus.regime.prototypes import PrototypeSet
from prometheus.results.following import FollowedMarket
from prometheus.results.in_memory import Fit, each, fit_bars, label_bars
from prometheus.results.regimes import Regimes
from prometheus.spelling import did_you_mean

if TYPE_CHECKING:
    from typing import Self

    from prometheus.market.frames import Prices

_PARAMETERS = ("penalty", "decode_sessions", "span", "align_to")


class RegimeClassifier:
    """Calibrates on prices and labels the sessions of others: CARRY, NEUTRAL, RISK_OFF or CRISIS.

    It has scikit-learn's manners without needing it. What it learns and says is, byte for byte, what the commands
    ``calibrate`` and ``run_numeric_regime`` do with the same bars. Every label is that of the same call on prices cut
    at its date: nothing later counts.

    Prices are a series or frame of pandas or polars, an Arrow table or numpy arrays with dates: closes, or open, high,
    low, close, adjusted close and volume; see `prometheus.market.bars.PriceBars.from_frame`. Of a long frame of several
    instruments each is calibrated by itself.

    Parameters
    ----------
    penalty
        Cost of a change of label, in standard deviations of the encoder's space.
    decode_sessions
        Sessions each label looks back on.
    span
        Sessions to calibrate on, the last ones of the prices.
    align_to
        Earlier prototypes whose labels the new ones keep: a file that ``calibrate`` wrote, or a set of `prototypes_`.

    Attributes
    ----------
    prototypes_
        What was learned, by instrument; ``to_json()`` of each is the file that ``calibrate`` writes.
    classes_
        The labels, in the order of the columns of `predict_proba`.

    Examples
    --------
    >>> days = np.arange("2010-01-01", "2018-01-01", dtype="M8[D]")
    >>> returns = np.random.default_rng(0).normal(0, 0.01, len(days)) * np.where(np.arange(len(days)) % 700 < 90, 3, 1)
    >>> prices = {"date": days, "close": 100 * np.exp(returns.cumsum())}
    >>> model = RegimeClassifier().fit(prices)
    >>> len(model.label(prices)), model.classes_.tolist()
    (2285, ['CARRY', 'NEUTRAL', 'RISK_OFF', 'CRISIS'])
    """

    _estimator_type: ClassVar[str] = "classifier"

    def __init__(
        self,
        *,
        penalty: float = PENALTY,
        decode_sessions: int = DECODE_SESSIONS,
        span: int = SPAN_SESSIONS,
        align_to: PrototypeSet | str | PathLike[str] | None = None,
    ) -> None:
        self.penalty = penalty
        self.decode_sessions = decode_sessions
        self.span = span
        self.align_to = align_to

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.get_params().items() if name != "align_to")
        return f"RegimeClassifier({shown}{'' if self.align_to is None else ', align_to=…'})"

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002 -- as scikit-learn calls it
        """Return the parameters by name."""
        return {name: getattr(self, name) for name in _PARAMETERS}

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name; `UsageError` for an unknown one."""
        for name, value in params.items():
            if name not in _PARAMETERS:
                raise UsageError(f"unknown parameter {name!r}; {did_you_mean(name, _PARAMETERS, 'parameters')}")
            setattr(self, name, value)
        return self

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn 1.6 and later asks of an estimator; only scikit-learn calls this."""
        utils = import_module("sklearn.utils")
        target, own = utils.TargetTags(required=False), utils.ClassifierTags()
        return utils.Tags(estimator_type="classifier", target_tags=target, classifier_tags=own, no_validation=True)

    def __sklearn_is_fitted__(self) -> bool:
        """Return whether `fit` was called."""
        return hasattr(self, "_fits")

    def fit(self, X: Prices, y: object = None) -> Self:  # noqa: ARG002, N803 -- as scikit-learn calls it
        """Find prototypes in the prices, and learn from them what labels need.

        `InputRefusedError`: prices that cannot be read, or too few to calibrate on. `UsageError` or `PrototypeError`: a
        parameter that cannot be; prototypes to align to that are not of this kind.
        """
        settings = CalibrationSettings(penalty=self.penalty, decode_sessions=self.decode_sessions)
        earlier = self._earlier()
        bars = PriceBars.from_frame(X)
        self._fits = {part.instrument_ids[0]: fit_bars(part, settings, self.span, earlier) for part in bars.each()}
        self.classes_ = np.array(EVIDENCE_LABELS)
        return self

    @property
    def prototypes_(self) -> Mapping[str, PrototypeSet]:
        """What was learned, by instrument."""
        return {name: fit.prototype_set for name, fit in self._fitted().items()}

    def label(self, prices: Prices) -> Regimes | Any:
        """Return the regime of every session that has enough history; of several instruments a dict, by instrument.

        A label looks back on 512 sessions and on those that it is decoded from. Where the prices follow on those of the
        fit, or begin among them, the sessions of the fit before the first one given are used; `Regimes.warm_up` says
        how many, and how many sessions given are left out.

        `InputRefusedError` or `UsageError`: prices that cannot be read, or too few; `fit` was not called, or not on
        this instrument.
        """
        return each(PriceBars.from_frame(prices), lambda part: label_bars(part, self._fit_of(part)))

    def follow(self, prices: Prices) -> FollowedMarket:
        """Return what keeps the labels of one instrument up to date, session by session, from the end of its prices.

        Each session costs no more than its own window, and has the label that `label` gives of all prices together.

        `InputRefusedError` or `UsageError`: as for `label`, or prices of several instruments.
        """
        bars = PriceBars.from_frame(prices)
        if len(bars.instrument_ids) > 1:
            raise UsageError(f"prices of {len(bars.instrument_ids)} instruments are not followed together; take one")
        return FollowedMarket(bars, self._fit_of(bars))

    def predict(self, X: Prices) -> NDArray[np.str_]:  # noqa: N803 -- as scikit-learn calls it
        """Return the label of every session of one instrument, shape (n,); an empty text where history is lacking."""
        bars, regimes, rows = self._of_one(X)
        names = np.full(len(bars), "", dtype=self.classes_.dtype)
        names[rows] = regimes.to_numpy()
        return names

    def predict_proba(self, X: Prices) -> Float64Matrix:  # noqa: N803 -- as scikit-learn calls it
        """Return the probability of each of `classes_` for every session of one instrument, shape (n, 4).

        Rows add to 1; they are NaN where history is lacking.
        """
        bars, regimes, rows = self._of_one(X)
        shares = np.full((len(bars), len(self.classes_)), np.nan)
        shares[rows] = regimes.evidence.probabilities
        return shares

    def score(self, X: Prices, y: object = None) -> float:  # noqa: ARG002, N803 -- as scikit-learn calls it
        """Return the mean log likelihood of the forecasts of high volatility; 0 is perfect, more is better.

        Each session's probability that the next 21 sessions are volatile, more than the threshold of the fit, is held
        against what they were, as far as the prices given go on for so long. Labels themselves have no truth to be
        held against.

        `InputRefusedError`: as for `label`; or no session is followed by 21 others.
        """
        bars, regimes, rows = self._of_one(X)
        forecast = self._fit_of(bars).calibration.high_volatility
        followed = forward_log_volatility(bars.column("adjusted_close"))[rows]
        is_known = np.isfinite(followed)
        if not is_known.any():
            raise InputRefusedError(f"{regimes.region}: no labelled session is followed by 21 others; give more prices")
        is_high = followed[is_known] > np.log(forecast.threshold)
        shares = regimes.timeline.high_volatilities[is_known]
        return float(np.log(np.maximum(np.where(is_high, shares, 1.0 - shares), np.finfo(np.float64).tiny)).mean())

    def _fitted(self) -> Mapping[str, Fit]:
        if not self.__sklearn_is_fitted__():
            raise UsageError("this RegimeClassifier knows no market yet; call fit(prices) first")
        return self._fits

    def _fit_of(self, bars: PriceBars) -> Fit:
        fits, (name,) = self._fitted(), bars.instrument_ids
        if len(fits) == 1:
            return next(iter(fits.values()))
        if name not in fits:
            raise UsageError(f"fit saw no instrument {name!r}; {did_you_mean(name, fits, 'instruments')}")
        return fits[name]

    def _of_one(self, prices: Prices) -> tuple[PriceBars, Regimes, NDArray[np.intp]]:
        """Return the bars of one instrument, their regimes, and the rows that have one."""
        bars = PriceBars.from_frame(prices)
        if len(bars.instrument_ids) > 1:
            raise UsageError(f"prices of {len(bars.instrument_ids)} instruments have no one answer; use label(prices)")
        regimes = label_bars(bars, self._fit_of(bars))
        return bars, regimes, np.searchsorted(bars.dates, regimes.dates)

    def _earlier(self) -> PrototypeSource | None:
        if self.align_to is None:
            return None
        if isinstance(self.align_to, PrototypeSet):
            return PrototypeSource(self.align_to.prototypes, "align_to")
        from prometheus.files.prototypes import read_prototypes  # noqa: PLC0415 -- only where a file is named

        return PrototypeSource(read_prototypes(Path(self.align_to)).prototypes, str(self.align_to))
