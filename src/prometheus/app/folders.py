"""A folder instead of the databases: the use cases that read regimes, vectors and prices, over its files."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from prometheus.app import App
from prometheus.core.config import load_config
from prometheus.errors import UsageError

if TYPE_CHECKING:
    from prometheus.app.wiring import Wiring

ANSWERED = ("regimes", "analogs", "face")


class FolderWiring:
    """The readers and stores of one folder, by the names of `prometheus.app.wiring.Wiring`."""

    def __init__(self, path: str | Path) -> None:
        from prometheus.files.folder_stores import FolderStores  # noqa: PLC0415 -- pyarrow is slow to import
        from prometheus.files.folder_timelines import FolderTimelines  # noqa: PLC0415

        self.stores = FolderStores(path)
        self.config = load_config()
        self.reader, self.registry = self.stores.bars, self.stores.registry
        self.storage, self.vectors = self.stores.states, self.stores.numeric
        self.timelines = FolderTimelines(self.stores.states)

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
        if name not in ANSWERED:
            raise UsageError(
                f"a folder keeps prices, numeric vectors and regimes; {name.replace('_', ' ')} need PostgreSQL"
            )
        if name == "regimes":
            from prometheus.app.histories import ReadRegimes  # noqa: PLC0415 -- labelling needs PostgreSQL

            return ReadRegimes(self.wired)
        return super().__getattr__(name)
