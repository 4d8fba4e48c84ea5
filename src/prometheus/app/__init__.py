"""The composition root: what commands, web and Python ask for is one method here, over objects that are built once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

from prometheus.app.databases import DatabaseManager
from prometheus.core.config import PrometheusConfig

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
    from prometheus.data.run_log import RunLog

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
}


class App:
    """Everything the commands and the Python API do, over one pair of databases.

    Its parts are imported and made when they are first asked for.

    Parameters
    ----------
    db_manager
        The databases.
    progress
        Receives how far long work is.
    """

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

    def __init__(self, db_manager: DatabaseManager, progress: Progress | None = None) -> None:
        self.db_manager = db_manager
        self._progress = progress

    def __getattr__(self, name: str) -> Any:
        if name not in _PARTS:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        module, use_case = _PARTS[name]
        part = getattr(import_module(f"prometheus.app.{module}"), use_case)(self.wired)
        setattr(self, name, part)
        return part

    @cached_property
    def wired(self) -> Wiring:
        """The readers and stores that the parts share."""
        from prometheus.app.wiring import Wiring  # noqa: PLC0415 -- some commands only look at the databases

        return Wiring(self.db_manager, self._progress)

    @cached_property
    def runs(self) -> RunLog:
        """The log of backfills."""
        return self.wired.runs

    @cached_property
    def evaluations(self) -> EvaluationTasks:
        """Labellers under one protocol."""
        from prometheus.app.evaluations import EvaluationTasks  # noqa: PLC0415 -- as all parts

        return EvaluationTasks(self.db_manager, self.wired.progress)

    @cached_property
    def briefings(self) -> BriefRegion:
        """Everything about one region on one evening."""
        from prometheus.app.briefings import BriefRegion  # noqa: PLC0415 -- as all parts

        return BriefRegion(self)

    @cached_property
    def nightly(self) -> RunNight:
        """All that is missing up to a date, of every configured region."""
        from prometheus.app.nightly import RunNight  # noqa: PLC0415 -- as all parts

        return RunNight(self)


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
