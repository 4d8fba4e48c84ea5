"""The composition root: one use case per question of commands, web and Python, over shared objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from prometheus.app.databases import DatabaseManager
from prometheus.core.config import PrometheusConfig, load_config
from prometheus.errors import UsageError

if TYPE_CHECKING:
    from prometheus.app.analogs import FindAnalogs
    from prometheus.app.backfills import EmbedWindows
    from prometheus.app.briefings import BriefRegion
    from prometheus.app.evaluations import EvaluationTasks
    from prometheus.app.face import Notebook
    from prometheus.app.joint import JoinTexts
    from prometheus.app.nightly import RunNight
    from prometheus.app.prices import LoadPrices
    from prometheus.app.regimes import Calibrate, LabelRegimes
    from prometheus.app.text_search import SearchTexts
    from prometheus.app.texts import EmbedTexts
    from prometheus.app.window_search import SearchWindows
    from prometheus.app.wiring import Wiring
    from prometheus.backfill.work import Progress

_PARTS = {
    "prices": ("prices", "LoadPrices"),
    "embeddings": ("backfills", "EmbedWindows"),
    "regimes": ("regimes", "LabelRegimes"),
    "calibrations": ("regimes", "Calibrate"),
    "joint": ("joint", "JoinTexts"),
    "analogs": ("analogs", "FindAnalogs"),
    "text_search": ("text_search", "SearchTexts"),
    "window_search": ("window_search", "SearchWindows"),
    "texts": ("texts", "EmbedTexts"),
    "face": ("face", "Notebook"),
    "evaluations": ("evaluations", "EvaluationTasks"),
    "briefings": ("briefings", "BriefRegion"),
    "nightly": ("nightly", "RunNight"),
}
_IN_A_FOLDER = ("regimes", "analogs", "face")
_OVER_THE_APP = ("briefings", "nightly")
"""Made of other parts, not of the readers and stores alone."""


class App:
    """All use cases over one pair of databases, each imported on first use; `progress` receives how far work is."""

    prices: LoadPrices
    embeddings: EmbedWindows
    regimes: LabelRegimes
    calibrations: Calibrate
    joint: JoinTexts
    analogs: FindAnalogs
    text_search: SearchTexts
    window_search: SearchWindows
    texts: EmbedTexts
    face: Notebook
    evaluations: EvaluationTasks
    briefings: BriefRegion
    nightly: RunNight

    def __init__(self, db_manager: DatabaseManager, progress: Progress | None = None) -> None:
        self.db_manager = db_manager
        self._progress = progress

    def __getattr__(self, name: str) -> Any:
        if name not in _PARTS:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        module, use_case = _PARTS[name]
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
    config: PrometheusConfig, *, announce: Callable[[str], None] | None = None, progress: Progress | None = None
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

    def __getattr__(self, name: str) -> Any:
        raise UsageError(f"a folder keeps prices, numeric vectors and regimes, no {name}; these need PostgreSQL")


class FolderApp(App):
    """The app of `prometheus.open` of a path; FileAccessError if the path is not such a folder."""

    def __init__(self, path: str | Path) -> None:
        self._folder = FolderWiring(path)

    @property
    def stores(self) -> Any:
        """The stores themselves, `prometheus.files.folder_stores.FolderStores`."""
        return self._folder.stores

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
