"""The one place where objects are wired together; every command is one call of a method here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from prometheus.app.databases import DatabaseManager
from prometheus.core.config import PrometheusConfig

if TYPE_CHECKING:
    from prometheus.app.analogs import AnalogTasks
    from prometheus.app.briefings import BriefingTasks
    from prometheus.app.calibrations import CalibrationTasks
    from prometheus.app.embeddings import EmbeddingTasks
    from prometheus.app.evaluations import EvaluationTasks
    from prometheus.app.face import FaceTasks
    from prometheus.app.joint import JointTasks
    from prometheus.app.nightly import NightlyTasks
    from prometheus.app.prices import PriceTasks
    from prometheus.app.regimes import RegimeTasks
    from prometheus.app.text_search import TextSearchTasks
    from prometheus.app.texts import TextTasks
    from prometheus.app.window_search import WindowSearchTasks
    from prometheus.backfill.work import Progress
    from prometheus.data.run_log import RunLog


class App:
    """Everything the commands and the Python API do, over one pair of databases.

    Its parts are imported when they are first asked for.

    Parameters
    ----------
    db_manager
        The databases.
    progress
        Receives how far long work is.
    """

    def __init__(self, db_manager: DatabaseManager, progress: Progress | None = None) -> None:
        self.db_manager = db_manager
        self._progress: Progress = progress or (lambda _done, _total: None)

    @cached_property
    def prices(self) -> PriceTasks:
        """Prices and instruments."""
        from prometheus.app.prices import PriceTasks  # noqa: PLC0415

        return PriceTasks(self.db_manager, self._progress)

    @cached_property
    def embeddings(self) -> EmbeddingTasks:
        """Numeric embeddings of many instruments."""
        from prometheus.app.embeddings import EmbeddingTasks  # noqa: PLC0415

        return EmbeddingTasks(self.db_manager, self._progress)

    @cached_property
    def regimes(self) -> RegimeTasks:
        """Regimes, their prototypes and transitions."""
        from prometheus.app.regimes import RegimeTasks  # noqa: PLC0415

        return RegimeTasks(self.db_manager, self._progress)

    @cached_property
    def calibrations(self) -> CalibrationTasks:
        """Calibrated prototypes and explanations."""
        from prometheus.app.calibrations import CalibrationTasks  # noqa: PLC0415

        return CalibrationTasks(self.db_manager)

    @cached_property
    def evaluations(self) -> EvaluationTasks:
        """Labellers under one protocol."""
        from prometheus.app.evaluations import EvaluationTasks  # noqa: PLC0415

        return EvaluationTasks(self.db_manager, self._progress)

    @cached_property
    def face(self) -> FaceTasks:
        """What notebooks ask beside the commands."""
        from prometheus.app.face import FaceTasks  # noqa: PLC0415

        return FaceTasks(self.db_manager)

    @cached_property
    def joint(self) -> JointTasks:
        """Joint embeddings of regimes and texts."""
        from prometheus.app.joint import JointTasks  # noqa: PLC0415

        return JointTasks(self.db_manager, self._progress)

    @cached_property
    def analogs(self) -> AnalogTasks:
        """Past dates that looked like one."""
        from prometheus.app.analogs import AnalogTasks  # noqa: PLC0415

        return AnalogTasks(self.db_manager)

    @cached_property
    def text_search(self) -> TextSearchTasks:
        """Texts by meaning."""
        from prometheus.app.text_search import TextSearchTasks  # noqa: PLC0415

        return TextSearchTasks(self.db_manager)

    @cached_property
    def runs(self) -> RunLog:
        """The log of backfills."""
        from prometheus.data.run_log import RunLog  # noqa: PLC0415

        return RunLog(self.db_manager)

    @cached_property
    def briefings(self) -> BriefingTasks:
        """Everything about one region on one evening."""
        from prometheus.app.briefings import BriefingTasks  # noqa: PLC0415

        return BriefingTasks(self)

    @cached_property
    def window_search(self) -> WindowSearchTasks:
        """Windows of any instrument that looked like one."""
        from prometheus.app.window_search import WindowSearchTasks  # noqa: PLC0415

        return WindowSearchTasks(self.db_manager, self._progress)

    @cached_property
    def texts(self) -> TextTasks:
        """Macro events, news and their embeddings."""
        from prometheus.app.texts import TextTasks  # noqa: PLC0415

        return TextTasks(self.db_manager, self._progress)

    @cached_property
    def nightly(self) -> NightlyTasks:
        """All that is missing up to a date, of every configured region."""
        from prometheus.app.nightly import NightlyTasks  # noqa: PLC0415

        return NightlyTasks(self.db_manager, self.regimes, self.texts, self.joint)


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
