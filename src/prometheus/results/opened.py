"""The databases, opened for reading from Python and notebooks."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Collection, Sequence
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from prometheus.analogs.search import AnalogRequest, Metric, Space, TextSource
from prometheus.app import App, FolderApp
from prometheus.app.databases import DatabaseManager
from prometheus.app.face import InstrumentReport, Saved, StoredInstrument, StoredSeries
from prometheus.app.text_search import By, Source, TextQuery
from prometheus.app.wiring import instant_of
from prometheus.backfill.plan import DateSpan
from prometheus.core import MINILM
from prometheus.core.config import PrometheusConfig, load_config
from prometheus.encoders.texts.documents import TextFilters, TextSourceType
from prometheus.errors import InputRefusedError, UsageError, no_regime_on_date
from prometheus.market.bars import Closes
from prometheus.market.frames import UNNAMED
from prometheus.regime.drift import FEWEST_SESSIONS, WINDOWS
from prometheus.regime.explanation import Reason
from prometheus.regime.history import DatedVectors, preferred_history
from prometheus.results import figures
from prometheus.results.analogs import Analogs
from prometheus.results.regimes import DateLike, Regimes, as_date
from prometheus.results.stored import DriftRow, Embeddings, Prices, Regions, RunRow, Stances, Texts, Transitions
from prometheus.results.table import Listing

if TYPE_CHECKING:
    from typing import Self

logger = logging.getLogger(__name__)


class Prometheus:
    """Regimes, transitions, embeddings, analogs, texts and prices as they are stored; only `save` ever writes.

    Made by `prometheus.open`. Use it in a ``with`` block or call `close`; one that is forgotten is closed when nothing
    holds it any more, and at the latest when Python ends. Results outlive it. One thread at a time may use it.

    What is asked of a region without regimes of that model ends in `NoRegimesError`; of a date, text or instrument that
    is not stored in `NotFoundError`; with a parameter that cannot be, as an end before the start, in `UsageError`.
    """

    def __init__(self, config: PrometheusConfig | str | Path) -> None:
        if not isinstance(config, PrometheusConfig):
            self._opened: App | None = FolderApp(config)
            self._close: Callable[[], object] = lambda: None  # no file stays open
            self._where = f"folder {config}"
            return
        self._config = config
        manager = DatabaseManager(config, announce=logger.info, read_only=True)
        self._opened = App(manager)
        self._close = weakref.finalize(self, manager.close_all)
        self._where = f"embedded server in {config.home}" if config.uses_embedded_server else "server of your own"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Prometheus: {self._where}{', closed' if self._opened is None else ''}>"

    def close(self) -> None:
        """Close every connection; closing twice does nothing more."""
        self._opened = None
        self._close()

    def regions(self) -> Regions:
        """Return what is stored: the regions, the models that labelled them, and from when to when."""
        histories = self._app.regimes.histories()
        by_region = groupby(histories, key=lambda each: each.region)
        chosen = (preferred_history(list(of_region)) for _, of_region in by_region)
        return Regions(tuple(histories), frozenset((each.region, each.model_id) for each in chosen))

    def regimes(
        self, region: str, start: DateLike | None = None, end: DateLike | None = None, model_id: str | None = None
    ) -> Regimes:
        """Return the regimes of a region from `start` to `end`, both included.

        Without `model_id` it is the model that answers for the region, see `regions`.
        """
        span, tasks = _span(start, end), self._app.regimes
        history = tasks.history(region, model_id)
        timeline, evidence = self._app.face.evidence(region, history.model_id, span)
        first, last = (timeline.dates[[0, -1]] if len(timeline.dates) else np.array([span.start] * 2, "M8[D]")).tolist()
        return Regimes(timeline, tasks.closes(history, first, last), evidence)

    def transitions(self, region: str, model_id: str | None = None, until: DateLike | None = None) -> Transitions:
        """Return how the regimes of a region follow each other, counted over dates up to `until`."""
        tasks, last = self._app.regimes, as_date("until", until, date.max)
        return Transitions(tasks.transitions(region, tasks.history(region, model_id).model_id, last)[0])

    def embeddings(
        self, region: str, start: DateLike | None = None, end: DateLike | None = None, model_id: str | None = None
    ) -> Embeddings:
        """Return the vectors behind the regimes of a region from `start` to `end`, both included.

        `model_id` is an encoder, or a regime model for its encoder; None for that of the model that answers for the
        region.
        """
        span = _span(start, end)
        found = self._app.regimes.embeddings(region, span.start, span.end, model_id)
        return Embeddings(found.region, found.encoder_model_id, found.rows)

    def analogs(  # noqa: PLR0913 -- what `similar` can be asked, the rare ones by name only
        self,
        region: str,
        as_of: DateLike,
        space: Space | None = None,
        k: int = 10,
        *,
        exclude_sessions: int = 63,
        metric: Metric = "euclidean",
        model_id: str | None = None,
        regime_model_id: str | None = None,
        instrument_id: str | None = None,
        source: TextSource = "macro",
        country: str | None = None,
        least: bool = False,
    ) -> Analogs:
        """Return the past dates most like one, or least, and what followed them; nothing after the date counts.

        A date without a vector, as a weekend, is answered by the last one before it. The parameters are those of
        `prometheus.app.analogs.AnalogRequest`.
        """
        request = AnalogRequest(
            region=region, as_of=as_date("as_of", as_of), space=space, k=k, exclude_sessions=exclude_sessions,
            metric=metric, model_id=model_id, regime_model_id=regime_model_id, instrument_id=instrument_id,
            source=source, country=country, least=least,
        )  # fmt: skip
        return Analogs(self._app.analogs.find(request))

    def texts(
        self,
        query: str,
        as_of: DateLike,
        k: int = 10,
        source: Source | None = None,
        *,
        model_id: str | None = None,
        hf_model_name: str = MINILM,
        by: By = "both",
        like: str | None = None,
        **filters: DateLike | Collection[str] | None,
    ) -> Texts:
        """Return the texts known on a date that are most like a question, in words, meaning or both.

        The parameters are those of `prometheus.app.text_search.TextQuery`, and `filters` those of
        `prometheus.encoders.texts.documents.TextFilters`, such as ``country="US"`` or ``instrument_id="AAPL.US"``.
        """
        given = {name: filters[name] for name in ("start", "end") if filters.get(name) is not None}
        dates = {name: as_date(name, cast("DateLike", day)) for name, day in given.items()}
        passing = TextFilters.of({**filters, **dates})
        asked = TextQuery(query, as_date("as_of", as_of), k, source, model_id, hf_model_name, by, like, passing)
        return Texts(query or like or "", self._app.text_search.find(asked))

    def text_means(
        self,
        instrument_id: str,
        start: DateLike | None = None,
        end: DateLike | None = None,
        *,
        source: Source = "news",
        model_id: str | None = None,
    ) -> Embeddings:
        """Return the mean vector of each date's texts that concern an instrument, in UTC, both ends included.

        A text counts if it was known on its own date. `model_id` is whose vectors they are, by default of the newest
        model.
        """
        kind: TextSourceType = "NEWS" if source == "news" else "MACRO"
        chosen, found = self._app.face.text_means(instrument_id, kind, _span(start, end), model_id)
        return Embeddings(instrument_id, chosen, DatedVectors(found.dates, found.vectors), "dates with texts")

    def stance(
        self, as_of: DateLike, source: Source = "macro", *, model_id: str | None = None, **filters: DateLike | None
    ) -> Stances:
        """Return how hawkish or dovish each text known on a date is, by a head of ``fit_stance``, or the newest one.

        It describes and does not forecast. `filters` are those of `texts`.
        """
        dates = {name: as_date(name, filters[name]) for name in ("start", "end") if filters.get(name) is not None}
        passing = TextFilters.of({**filters, **dates})
        kind: TextSourceType = "MACRO" if source == "macro" else "NEWS"
        return Stances(self._app.stance.series(as_date("as_of", as_of), kind, passing, model_id))

    def explain(self, region: str, as_of: DateLike, model_id: str | None = None) -> Listing[Reason]:
        """Return why a date has its regime; see `Regimes.explain`."""
        history, day = self._app.regimes.history(region, model_id), as_date("as_of", as_of)
        timeline, evidence = self._app.face.evidence(region, history.model_id, DateSpan.of_date(day))
        if not len(timeline.dates):
            raise no_regime_on_date(region, history.model_id, day, history.first, history.last)
        return Regimes(timeline, Closes(None, timeline.dates[:0], timeline.confidences[:0]), evidence).explain(day)

    def drift(self, region: str, as_of: DateLike | None = None, model_id: str | None = None) -> Listing[DriftRow]:
        """Return how the last sessions up to a date, by default the newest, differ from the calibration span.

        Limits that no night has kept are simulated, which takes a second or two.

        `InputRefusedError`: the model was not calibrated before that date, or too few sessions are stored.
        """
        history = self._app.regimes.history(region, model_id)
        day = as_date("as_of", as_of, history.last)
        found = self._app.drift.on(region, day, history.model_id, only_kept=False)
        if found is None:
            raise InputRefusedError(
                f"{region}: the drift of {history.model_id} is not known on {day}; it takes a calibration before that "
                f"date, {FEWEST_SESSIONS} stored sessions of its span, and {min(WINDOWS)} labelled ones since"
            )
        rows = tuple(DriftRow.of(each) for each in found.figures)
        title = f"Drift of {region} on {day} from the sessions up to {found.calibrated_until}"
        return Listing(DriftRow, rows, title, notes=(found.advice or "no reason to calibrate again",))

    def prices(
        self,
        instrument_id: str,
        start: DateLike | None = None,
        end: DateLike | None = None,
        *,
        known_at: str | date | None = None,
    ) -> Prices:
        """Return the daily bars of an instrument from `start` to `end`, both included.

        With `known_at`, an instant or a date for its end in UTC, they are the bars that were stored then, before later
        corrections; what users had decided of them then counts, too.
        """
        instant = None if known_at is None else instant_of(known_at)
        return Prices(self._app.face.prices(instrument_id, _span(start, end), instant))

    def instruments(self) -> Listing[StoredInstrument]:
        """Return what is known of each instrument: market, class, symbol, name, currency, status."""
        rows = tuple(self._app.face.instruments())
        return Listing(StoredInstrument, rows, f"Instruments: {len(rows):,}")

    def series(self) -> Listing[StoredSeries]:
        """Return which series are stored: first and last day, days, values with all revisions, newest `known_at`."""
        rows = tuple(self._app.face.series())
        return Listing(StoredSeries, rows, f"Series: {len(rows):,}")

    def report(
        self, instrument_ids: Sequence[str] | None = None, market_id: str | None = None
    ) -> Listing[InstrumentReport]:
        """Return the number of bars of each instrument, and what looks wrong with them: gaps, jumps, dead volume."""
        rows = tuple(self._app.prices.report(instrument_ids, market_id))
        return Listing(InstrumentReport, rows, f"Prices of {len(rows):,} instruments")

    def runs(self, n: int = 10) -> Listing[RunRow]:
        """Return the last `n` nights, newest first: how each ended, what it wrote and what it left out."""
        if n < 1:
            raise UsageError(f"n={n}: name a number from 1 on")
        rows = tuple(map(RunRow.of, self._app.runs.newest(n)))
        return Listing(RunRow, rows, f"The last {len(rows):,} nights" if rows else "No night has run yet")

    def save(self, regimes: Regimes, *, region: str, instrument_id: str | None = None) -> Listing[Saved]:
        """Store the regimes that a `RegimeClassifier` gave: embeddings, states and transitions, no prices.

        They are the rows that ``run_numeric_regime`` writes of the same bars, so either may follow the other.

        `instrument_id` says whose bars they are; by default it is what the frame called it, or else the region.

        `InputRefusedError`: the regimes come from a database.
        """
        source = regimes.source
        if source is None:
            raise InputRefusedError(
                f"regimes of {regimes.region} come from a database already; save those of a classifier"
            )
        figures.require_rows(len(regimes), "regimes", "store")
        (own,) = source.bars.instrument_ids
        named = instrument_id or (region if own == UNNAMED else own)
        span = DateSpan.of_range(*regimes.dates[[0, -1]].tolist())
        _ = self._app  # refused where it is closed
        manager = DatabaseManager(self._config, announce=logger.info)
        try:
            saved = App(manager).face.save(source.bars, source.prototype_set, region, named, span)
        finally:
            manager.close_all()
        written = f"{saved.n_states:,} states and {saved.n_embeddings:,} embeddings were new or changed"
        notes = () if saved.has_prices else (f"no prices of {named} are stored; load them to draw and compare",)
        return Listing(Saved, (saved,), f"Region {region}, {len(regimes):,} sessions: {written}", notes=notes)

    @property
    def _app(self) -> App:
        if self._opened is None:
            raise UsageError("this connection is closed; open another one with prometheus.open()")
        return self._opened


def open_databases(config: PrometheusConfig | str | Path | None = None) -> Prometheus:
    """Open the databases, or a folder, for reading.

    Nothing is connected before something is asked for; an embedded server is started then, and migrated. `config` says
    where the databases are: None is what the environment says now, and a path a folder of Parquet files.

    `UsageError`: a variable of the environment is malformed.
    """
    return Prometheus(load_config() if config is None else config)


def _span(start: DateLike | None, end: DateLike | None) -> DateSpan:
    return DateSpan.of_range(as_date("start", start, date.min), as_date("end", end, date.max))
