"""Files of prices into regimes and pictures in one go: the steps of several commands, with their defaults."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import numpy as np

from prometheus.app.calibrations import CalibrationRequest
from prometheus.app.members import CALIBRATION, calibration_file, for_each, make_folder
from prometheus.app.regimes import RegimeRequest
from prometheus.arrays import DateVector
from prometheus.backfill.plan import DateSpan
from prometheus.core.files import read_small_text, require_writable, write_if_changed
from prometheus.encoders.identity import NUM_REGIME_CORE_V2
from prometheus.encoders.numeric.descriptors import WINDOW_DAYS
from prometheus.errors import FileAccessError, InputRefusedError, MissingExtraError, PrometheusError
from prometheus.files.prototypes import read_prototypes
from prometheus.market.findings import Finding
from prometheus.regime.calibration import MIN_SESSIONS, SPAN_SESSIONS, CalibrationSettings

if TYPE_CHECKING:
    from prometheus.app import App
    from prometheus.ingest.report import IngestOptions, IngestReport

OURS = "# Made by quick; take this line out to keep changes of your own.\n"
MIN_BARS = WINDOW_DAYS + MIN_SESSIONS
"""Bars of the shortest history that has a session to label: one more than is learned from."""


@dataclass(frozen=True, slots=True)
class QuickRequest:
    """Files of prices; `until` is the last date that is learned from, chosen by `choose_until` without it.

    Prototypes, pictures and a file of regions for `nightly` go into `folder`, which is made.
    """

    files: Sequence[Path]
    options: IngestOptions
    folder: Path
    until: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QuickRegion:
    """The result of one instrument, whose region has its name; of a failure `failure` alone.

    `since` is the first session of the newest label's spell; `findings` are the open ones in its prices.
    """

    instrument_id: str
    failure: str | None = None
    until: date | None = None
    prototypes: Path | None = None
    picture: Path | None = None
    model_id: str = ""
    n_sessions: int = 0
    first: date | None = None
    last: date | None = None
    label: str = ""
    confidence: float = 0.0
    high_volatility: float | None = None
    since: date | None = None
    warnings: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def path(self) -> str:
        """Where the page shows it."""
        return f"/regions/{quote(self.instrument_id, safe='')}"

    def commands(self) -> list[str]:
        """Return the commands that do the same."""
        named = ["--region", self.instrument_id, "--instrument-id", self.instrument_id]
        steps = [
            ["calibrate", *named, "--until", str(self.until), "--output", str(self.prototypes)],
            ["run_numeric_regime", *named, "--date-range", str(self.first), str(self.last),
             "--prototypes", str(self.prototypes)],
        ]  # fmt: skip
        if self.picture is not None:
            steps.append(["plot_regimes", *named, "--model-id", self.model_id, "--output", str(self.picture)])
        return [shlex.join(step) for step in steps]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        if self.failure is not None:
            return {"instrument_id": self.instrument_id, "failure": self.failure}
        plain = ("instrument_id", "model_id", "n_sessions", "label", "confidence", "high_volatility")
        as_text = ("until", "prototypes", "first", "last", "since")
        return {
            "region": self.instrument_id, "page": self.path, **{name: getattr(self, name) for name in plain},
            **{name: str(getattr(self, name)) for name in as_text},
            "picture": None if self.picture is None else str(self.picture), "warnings": list(self.warnings),
            "findings": [each.to_dict() for each in self.findings], "commands": self.commands(),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class QuickReport:
    """What was loaded, the regions by instrument, none in a dry run, and the file that makes them `nightly`'s."""

    loaded: IngestReport
    regions: tuple[QuickRegion, ...]
    regions_file: Path

    @property
    def labelled(self) -> list[QuickRegion]:
        """The regions that were labelled."""
        return [each for each in self.regions if each.failure is None]

    @property
    def failures(self) -> list[QuickRegion]:
        """The instruments that could not be labelled."""
        return [each for each in self.regions if each.failure is not None]

    @property
    def exit_code(self) -> int:
        """0, or 3 if rows were set aside or an instrument could not be labelled."""
        return 3 if self.failures else self.loaded.exit_code

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "loaded": self.loaded.to_dict(), "regions": [each.to_dict() for each in self.regions],
            "regions_file": str(self.regions_file),
        }  # fmt: skip


class AnswerQuickly:
    """Loads, checks, calibrates, labels and draws, with the use cases that the commands run."""

    def __init__(self, app: App) -> None:
        self._app = app

    def run(self, request: QuickRequest) -> QuickReport:
        """Bring every instrument of some files from prices to a picture; running it twice changes nothing.

        What `ingest prices` raises; `InputRefusedError` if no instrument has a history to label.
        """
        is_dry, regions_file = request.options.dry_run, request.folder / "regions.toml"
        require_writable(regions_file if request.folder.is_dir() else request.folder)
        loaded = self._app.prices.ingest_prices(request.files, request.options)
        if is_dry:
            return QuickReport(loaded, (), regions_file)
        make_folder(request.folder)
        names, progress = loaded.instrument_ids, self._app.wired.progress
        regions = for_each(names, lambda name: self._region(name, request), progress)
        report = QuickReport(loaded, tuple(regions), regions_file)
        if not report.labelled:
            more = f", and so for {len(regions) - 1} more" if len(regions) > 1 else ""
            raise InputRefusedError(f"{regions[0].failure}{more}" if regions else f"{_named(request.files)}: no prices")
        _write_regions(report.regions_file)
        return report

    def _region(self, name: str, request: QuickRequest) -> QuickRegion:
        """Label one instrument; a failure stops no other."""
        prototypes = request.folder / calibration_file(name)
        try:
            dates = self._app.wired.reader.load_bars([name], date.min, date.max, 1, ["close"]).dates
            if len(dates) < MIN_BARS:
                raise InputRefusedError(too_short(name, len(dates)))
            until = request.until or _learned_until(prototypes) or choose_until(dates)
            region = self._label(name, dates, until, prototypes)
        except PrometheusError as error:
            return QuickRegion(instrument_id=name, failure=str(error))
        picture = request.folder / f"regimes_{quote(name, safe='')}.png"
        try:
            self._app.regimes.plot(name, name, date.min, date.max, region.model_id, picture)
        except MissingExtraError:
            return region
        except FileAccessError as error:
            return QuickRegion(instrument_id=name, failure=str(error))
        return replace(region, picture=picture)

    def _label(self, name: str, dates: DateVector, until: date, prototypes: Path) -> QuickRegion:
        after = dates[dates > np.datetime64(until, "D")]
        if not len(after):
            raise InputRefusedError(f"{name}: no session after {until} is left to label; give an earlier --until DATE")
        calibrated = self._app.calibrations.calibrate(
            CalibrationRequest(name, name, until, prototypes, SPAN_SESSIONS, CalibrationSettings())
        )
        span = DateSpan.of_range(after[0].item(), after[-1].item())
        self._app.regimes.run(RegimeRequest(name, name, span, None, None, prototypes))
        model_id = calibrated.prototype_set.regime_model_id(NUM_REGIME_CORE_V2)
        timeline = self._app.regimes.timeline(name, span.start, span.end, model_id)
        turns = np.flatnonzero(np.diff(timeline.labels))
        high = float(timeline.high_volatilities[-1])
        return QuickRegion(
            instrument_id=name, until=until, prototypes=prototypes, model_id=model_id, n_sessions=len(timeline.dates),
            first=span.start, last=timeline.dates[-1].item(), label=timeline.label_names()[-1],
            confidence=float(timeline.confidences[-1]), high_volatility=None if np.isnan(high) else high,
            since=timeline.dates[turns[-1] + 1 if len(turns) else 0].item(), warnings=calibrated.warnings,
            findings=tuple(self._app.findings.check_known([name]).findings),
        )  # fmt: skip


def choose_until(dates: DateVector) -> date:
    """Return the last date to learn from: of the sessions with a whole window about half, at least 252.

    It is the last session of a year where one leaves enough before it, so that bars that come later do not move it.

    Examples
    --------
    >>> choose_until(np.arange("2000-01-01", "2010-01-01", dtype="M8[D]"))
    datetime.date(2004, 12, 31)
    """
    earliest = WINDOW_DAYS - 1 + MIN_SESSIONS - 1
    half = max(earliest, (WINDOW_DAYS - 1 + len(dates)) // 2 - 1)
    is_last_of_year = np.diff(dates.astype("M8[Y]").astype(np.int64)) > 0
    ends = np.flatnonzero(is_last_of_year)
    fitting = ends[(ends >= earliest) & (ends <= half)]
    chosen: date = dates[fitting[-1] if len(fitting) else half].item()
    return chosen


def too_short(name: str, n_bars: int) -> str:
    """Return why a history cannot be labelled by itself, and the way out."""
    return (
        f"{name} has {n_bars:,} sessions, and {MIN_BARS:,} are needed: {WINDOW_DAYS} behind each label, {MIN_SESSIONS} "
        "to learn from, one to label; load a longer history, or label it with prototypes of another instrument: "
        "python -m prometheus run_numeric_regime --help"
    )


def _learned_until(prototypes: Path) -> date | None:
    """Return where an earlier run of the same folder stopped learning, so that new bars do not move it."""
    if not prototypes.exists():
        return None
    calibration = read_prototypes(prototypes).calibration
    return None if calibration is None else calibration.end


def _named(files: Sequence[Path]) -> str:
    return ", ".join(map(str, files))


def _write_regions(path: Path) -> None:
    """Write the regions of all prototypes in the folder, unless the file is the user's own."""
    if path.exists() and not read_small_text(path).startswith(OURS):
        return
    names = sorted(unquote(each.stem.removeprefix(CALIBRATION)) for each in path.parent.glob(f"{CALIBRATION}*.json"))
    write_if_changed(path, "\n".join([OURS, *map(_region_table, names)]))


def _region_table(name: str) -> str:
    quoted, file = json.dumps(name, ensure_ascii=False), json.dumps(calibration_file(name))
    return f"[{quoted}]\ninstrument_id = {quoted}\nprototypes = {file}\n"
