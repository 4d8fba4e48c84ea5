"""The composition root: one use case per question of commands, web and Python, over shared objects."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from prometheus.app.databases import DatabaseManager
from prometheus.core.config import PrometheusConfig, load_config
from prometheus.errors import UsageError

if TYPE_CHECKING:
    from prometheus.app import alerts as _alerts
    from prometheus.app import analogs as _analogs
    from prometheus.app import backfills as _backfills
    from prometheus.app import backups as _backups
    from prometheus.app import briefings as _briefings
    from prometheus.app import calibrations as _calibrations
    from prometheus.app import decisions as _decisions
    from prometheus.app import definitions as _definitions
    from prometheus.app import digests as _digests
    from prometheus.app import drift as _drift
    from prometheus.app import evaluations as _evaluations
    from prometheus.app import event_studies as _event_studies
    from prometheus.app import face as _face
    from prometheus.app import instruments as _instruments
    from prometheus.app import joint as _joint
    from prometheus.app import market_evaluations as _market_evaluations
    from prometheus.app import members as _members
    from prometheus.app import nightly as _nightly
    from prometheus.app import overview as _overview
    from prometheus.app import prices as _prices
    from prometheus.app import quick as _quick
    from prometheus.app import record as _record
    from prometheus.app import regimes as _regimes
    from prometheus.app import run_log as _run_log
    from prometheus.app import stance as _stance
    from prometheus.app import stored as _stored
    from prometheus.app import text_evaluations as _text_evaluations
    from prometheus.app import text_likeness as _text_likeness
    from prometheus.app import texts as _texts
    from prometheus.app import verification as _verification
    from prometheus.app import window_search as _window_search
    from prometheus.app.wiring import Wiring
    from prometheus.backfill.work import NamedProgress
    from prometheus.protocols import BarSource

_IN_A_FOLDER = ("regimes", "analogs", "face")
_OVER_THE_APP = ("briefings", "definitions", "nightly", "quick")
"""Made of other parts, not of the readers and stores alone."""


class App:
    """All use cases over one pair of databases, each imported on first use; `progress` receives how far work is."""

    prices: _prices.LoadPrices
    findings: _decisions.PriceFindings
    embeddings: _backfills.EmbedWindows
    regimes: _regimes.LabelRegimes
    members: _members.LabelMembers
    instruments: _instruments.KeepInstruments
    statements: _record.ReadRecord
    calibrations: _calibrations.Calibrate
    joint: _joint.JoinTexts
    analogs: _analogs.FindAnalogs
    text_search: _text_likeness.LikeTexts
    window_search: _window_search.SearchWindows
    texts: _texts.EmbedTexts
    face: _face.Notebook
    stored: _stored.ListStored
    stance: _stance.TellStance
    evaluations: _evaluations.EvaluationTasks
    markets: _market_evaluations.EvaluateMarkets
    events: _event_studies.StudyEvents
    text_evaluations: _text_evaluations.EvaluateTexts
    overview: _overview.ViewRegions
    briefings: _briefings.BriefRegion
    backups: _backups.BackUp
    definitions: _definitions.Define
    digests: _digests.CheckDigests
    verification: _verification.VerifyRows
    drift: _drift.WatchDrift
    alerts: _alerts.SendAlerts
    nightly: _nightly.RunNight
    runs: _run_log.KeepRuns
    quick: _quick.AnswerQuickly

    def __init__(self, db_manager: DatabaseManager, progress: NamedProgress | None = None) -> None:
        self.db_manager = db_manager
        self._progress = progress

    def __getattr__(self, name: str) -> Any:
        if name not in App.__annotations__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        module, use_case = App.__annotations__[name].removeprefix("_").split(".")
        made_of = self if name in _OVER_THE_APP else self.wired
        part = getattr(import_module(f"prometheus.app.{module}"), use_case)(made_of)
        setattr(self, name, part)
        return part

    @cached_property
    def wired(self) -> Wiring:
        """The readers and stores that the parts share."""
        from prometheus.app.wiring import Wiring  # noqa: PLC0415 -- some commands only look at the databases

        return Wiring(self.db_manager, self._progress)


@contextmanager
def open_app(
    config: PrometheusConfig, *, announce: Callable[[str], None] | None = None, progress: NamedProgress | None = None
) -> Iterator[App]:
    """Yield an app over the configured databases; every connection is closed at the end."""
    db_manager = DatabaseManager(config, announce=announce)
    try:
        yield App(db_manager, progress)
    finally:
        db_manager.close_all()


class FolderWiring:
    """The readers and stores of one folder, by the names of `prometheus.app.wiring.Wiring`."""

    def __init__(self, path: str | Path) -> None:
        from prometheus.files.folder_stores import FolderStores  # noqa: PLC0415 -- pyarrow is slow to import

        self.stores = FolderStores(path)
        self.config = load_config()
        self.reader, self.registry = self.stores.bars, self.stores.registry
        self.storage, self.vectors = self.stores.states, self.stores.numeric
        self.timelines = self.stores.timelines

    def following(self, _names: Collection[str]) -> BarSource:
        """Return the reader: a folder knows no renames."""
        return self.reader

    def visible_state(self) -> object:
        """Return a mark that equals no other: a folder does not say whether something was written."""
        return object()

    def __getattr__(self, name: str) -> Any:
        raise UsageError(f"a folder keeps prices, numeric vectors and regimes, no {name}; these need PostgreSQL")


class FolderApp(App):
    """The app of `prometheus.open` of a path; FileAccessError if the path is not such a folder."""

    def __init__(self, path: str | Path) -> None:
        self._folder = FolderWiring(path)
        self.stores = self._folder.stores

    @cached_property
    def wired(self) -> Wiring:
        """The readers and stores that the parts share."""
        return cast("Wiring", self._folder)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in _IN_A_FOLDER:
            raise UsageError(
                f"a folder keeps prices, numeric vectors and regimes; {name.replace('_', ' ')} need PostgreSQL"
            )
        if name == "regimes":
            from prometheus.app.histories import ReadRegimes  # noqa: PLC0415 -- labelling needs PostgreSQL

            return ReadRegimes(self.wired)
        return super().__getattr__(name)
