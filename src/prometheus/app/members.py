"""The members of a market, each a region of its own name: calibrated and labelled in one go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from prometheus.app.calibrations import Calibrate, CalibrationRequest
from prometheus.app.regimes import LabelRegimes, MembersRequest
from prometheus.app.wiring import UseCase
from prometheus.backfill.plan import SKIPPED_SHOWN, DateSpan
from prometheus.backfill.regime import RegimeReport
from prometheus.backfill.work import BackfillRun, NamedProgress
from prometheus.errors import FileAccessError, InputRefusedError, UsageError
from prometheus.regime.calibration import CalibrationSettings
from prometheus.regime.types import RegimeLabel, RegimeState

CALIBRATION = "regime_calibration_"
AT_ONCE = 2
"""Instruments worked on at once: one computes while the database serves the other."""
T = TypeVar("T")


def calibration_file(name: str) -> str:
    """Return the name of the file with the prototypes of a region that is named like its instrument.

    Examples
    --------
    >>> calibration_file("BRK/B.US")
    'regime_calibration_BRK%2FB.US.json'
    """
    return f"{CALIBRATION}{quote(name, safe='')}.json"


def make_folder(folder: Path) -> None:
    """Make a folder unless it is there; `FileAccessError` if that cannot be."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise FileAccessError(str(folder), f"cannot be made ({error.strerror}); choose another folder") from error


def for_each(names: Sequence[str], work: Callable[[str], T], progress: NamedProgress) -> list[T]:
    """Return what `work` makes of each name, `AT_ONCE` at a time."""
    found = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for each in pool.map(work, names):
            found.append(each)
            progress(len(found), len(names), names[len(found) - 1])
    return found


@dataclass(frozen=True, slots=True)
class MembersCalibration:
    """The members that have a calibration in `folder`, the number of files that changed, and why others have none.

    `warnings` are the reasons to doubt the calibrations, by member; members without any are left out.
    """

    market_id: str
    folder: Path
    calibrated: tuple[str, ...]
    n_changed: int
    refused: dict[str, str]
    warnings: dict[str, tuple[str, ...]]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "market_id": self.market_id, "folder": str(self.folder), "calibrated": list(self.calibrated),
            "n_changed": self.n_changed, "refused": self.refused, "warnings": self.warnings,
        }  # fmt: skip

    def to_text(self) -> str:
        """Return counts and names in lines."""
        n_members = len(self.calibrated) + len(self.refused)
        head = (
            f"{self.market_id}: {len(self.calibrated)} of {n_members} members calibrated, {self.n_changed} files of "
            f"{self.folder} changed"
        )
        doubted = _named("with reasons to doubt them", list(self.warnings))
        return "\n".join([head, *_named("not calibrated, most often too young", list(self.refused)), *doubted])


@dataclass(frozen=True, slots=True)
class MembersRegimes:
    """The newest state of each member that was labelled, those without a calibration, and why others have no state."""

    market_id: str
    run: BackfillRun[RegimeReport]
    n_members: int
    uncalibrated: tuple[str, ...]

    @property
    def newest(self) -> list[RegimeState]:
        """The newest state of each labelled member."""
        return list({state.region: state for state in self.run.report.newest}.values())

    @property
    def held(self) -> list[str]:
        """The members whose newest label is that of the session before, their bar being suspect."""
        return [state.region for state in self.newest if "held" in state.metadata]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        states = [
            {
                "region": each.region, "as_of_date": str(each.as_of_date), "regime_label": each.regime_label.name,
                "confidence": each.confidence, "model_id": each.model_id, "held": "held" in each.metadata,
            }
            for each in self.newest
        ]  # fmt: skip
        return {
            "market_id": self.market_id, "members": self.n_members, "states": states,
            "not_calibrated": list(self.uncalibrated), "refused": [str(each) for each in self.run.report.refused],
            "embeddings": self.run.report.embeddings.to_dict(), **self.run.to_dict(),
        }  # fmt: skip

    def to_text(self) -> str:
        """Return counts and names in lines."""
        counts = Counter(state.regime_label for state in self.newest)
        shares = ", ".join(f"{label.name} {counts[label]}" for label in RegimeLabel if counts[label])
        head = f"{self.market_id}: {len(self.newest)} of {self.n_members} members labelled; newest: {shares or 'none'}"
        reasons = [f"no label: {each}" for each in self.run.report.refused[:SKIPPED_SHOWN]]
        n_more = len(self.run.report.refused) - len(reasons)
        lines = [head, *_named("held, their newest bar being suspect", self.held)]
        lines += [*_named("without a calibration", self.uncalibrated), *reasons]
        return "\n".join([*lines, f"no label: {n_more} more"] if n_more > 0 else lines)


def _named(what: str, names: Sequence[str]) -> list[str]:
    """Return a line of members, none without any; the first ones by name."""
    more = f" and {len(names) - SKIPPED_SHOWN} more" if len(names) > SKIPPED_SHOWN else ""
    return [f"{what}: {len(names)} ({', '.join(names[:SKIPPED_SHOWN])}{more})"] if names else []


def _settings_of(name: str, settings: CalibrationSettings) -> CalibrationSettings:
    """Return the settings for a member; the index of the market may be one, and does not read itself."""
    index = settings.market_index
    return replace(settings, market_index=None) if index is not None and index.instrument_id == name else settings


class LabelMembers(UseCase):
    """Calibrates and labels all members of a market."""

    def calibrate(self, market_id: str, request: CalibrationRequest) -> MembersCalibration:
        """Write a calibration of each member into the folder `request.output`, which is made.

        The request says all but the member. UsageError for a market without members, InputRefusedError if none can be
        calibrated.
        """
        names, calibrations = self._members(market_id), Calibrate(self._wired)
        make_folder(request.output)

        def learn(name: str) -> tuple[bool, tuple[str, ...]] | str:
            own = replace(
                request, region=name, instrument_id=name, output=request.output / calibration_file(name),
                settings=_settings_of(name, request.settings),
            )  # fmt: skip
            try:
                _, learned = calibrations.learn(own)
            except InputRefusedError as error:
                return str(error)
            return learned.is_changed, learned.warnings

        found = dict(zip(names, for_each(names, learn, self._wired.progress), strict=True))
        refused = {name: each for name, each in found.items() if isinstance(each, str)}
        done = {name: each for name, each in found.items() if not isinstance(each, str)}
        if not done:
            raise InputRefusedError(f"market {market_id}: no member can be calibrated; {names[0]}: {refused[names[0]]}")
        n_changed = sum(is_changed for is_changed, _ in done.values())
        warnings = {name: warnings for name, (_, warnings) in done.items() if warnings}
        return MembersCalibration(market_id, request.output, tuple(done), n_changed, refused, warnings)

    def run(self, market_id: str, span: DateSpan, folder: Path, *, dry_run: bool = False) -> MembersRegimes:
        """Label each member that has a calibration in a folder.

        UsageError for a market without members, or where none has a calibration; InputRefusedError if none can be
        labelled.
        """
        names = self._members(market_id)
        files = {name: file for name in names if (file := folder / calibration_file(name)).exists()}
        if not files:
            raise UsageError(
                f"{folder} holds no calibration of a member of {market_id}; write them: "
                f"python -m prometheus calibrate --market-id {market_id} --until DATE --output {folder}"
            )
        done = LabelRegimes(self._wired).run_members(MembersRequest(market_id, span, files), dry_run=dry_run)
        if not done.report.planned:
            raise done.report.refused[-1]
        return MembersRegimes(market_id, done, len(names), tuple(name for name in names if name not in files))

    def _members(self, market_id: str) -> list[str]:
        names = self._wired.catalog.list_instruments(market_id)
        if not names:
            raise UsageError(f"market {market_id} has no instruments")
        return names
