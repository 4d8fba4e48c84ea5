"""Prototype sets: mean embeddings of calibration windows, as JSON files that people keep and version."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from prometheus.arrays import Float32Matrix, as_float32
from prometheus.errors import NotFoundError, PrototypeError, UsageError, VectorError
from prometheus.regime.types import RegimeLabel, RegimePrototype

if TYPE_CHECKING:
    from prometheus.regime.calibration import RegimeCalibration

T = TypeVar("T")

CENTRES_ALONE = "centres"
"""Said by a file of centres that has neither windows nor a calibration, so that none can be lost unseen."""
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class CalibrationWindow:
    """The dates, both included, whose embeddings stand for a label; `UsageError` if they are out of order."""

    label: RegimeLabel
    start_date: date
    end_date: date

    def __post_init__(self) -> None:
        if self.end_date < self.start_date:
            raise UsageError(f"{self.label.name} window ends {self.end_date}, before it starts {self.start_date}")


@dataclass(frozen=True, slots=True, eq=False)
class PrototypeSet:
    """The prototypes of one region in one encoder's space; None is what a file does not say."""

    region: str
    prototypes: tuple[RegimePrototype, ...]
    windows: Mapping[RegimeLabel, CalibrationWindow]
    encoder_model_id: str | None = None
    window_days: int | None = None
    calibration: RegimeCalibration | None = None

    def __post_init__(self) -> None:
        require_prototypes(self.prototypes, self.region)
        if self.calibration is not None and len(self.prototypes) < 2:
            raise PrototypeError(self.region, "a calibration needs at least two prototypes to choose from")

    @property
    def dim(self) -> int:
        """The length of every centre."""
        return int(self.prototypes[0].center.size)

    def require_space(self, source: str, encoder_model_id: str, window_days: int) -> None:
        """Raise `PrototypeError` if the centres were made by another encoder or from windows of another length."""
        if self.encoder_model_id not in (None, encoder_model_id):
            raise PrototypeError(source, f"made for model {self.encoder_model_id}, not {encoder_model_id}")
        if self.window_days not in (None, window_days):
            raise PrototypeError(source, f"made of windows of {self.window_days} sessions, not {window_days}")

    def regime_model_id(self, encoder_model_id: str) -> str:
        """Return the default name of the regime model made of an encoder and this set."""
        if self.calibration is None:
            return default_regime_model_id(encoder_model_id, self.prototypes)
        calibration = json.dumps(self.calibration.to_dict(), sort_keys=True, allow_nan=False)
        digest = hashlib.sha256(f"{prototypes_fingerprint(self.prototypes)}\0{calibration}".encode())
        return f"{encoder_model_id}@{digest.hexdigest()[:8]}"

    def to_json(self) -> str:
        """Return the file's text; equal sets give equal text."""
        entries = {prototype.label.name: self._entry(prototype) for prototype in self.prototypes}
        document: dict[str, Any] = {
            "embedding_dim": self.dim,
            "prototypes": entries,
            "region": self.region,
            "schema_version": SCHEMA_VERSION,
        }
        known = {"model_id": self.encoder_model_id, "window_days": self.window_days}
        document |= {key: value for key, value in known.items() if value is not None}
        if self.calibration is not None:
            document["calibration"] = self.calibration.to_dict()
        elif self.encoder_model_id is not None and not self.windows:
            document["given"] = CENTRES_ALONE
        text = json.dumps(document, sort_keys=True, indent=2, allow_nan=False) + "\n"
        for prototype in self.prototypes:
            text = text.replace(json.dumps(_place(prototype)), _center_text(prototype))
        return text

    def _entry(self, prototype: RegimePrototype) -> dict[str, Any]:
        center = prototype.center.astype(np.float64)
        entry: dict[str, Any] = {"center": _place(prototype), "l2_norm": float(np.sqrt((center * center).sum()))}
        window = self.windows.get(prototype.label)
        if window is not None:
            entry["window"] = {"start_date": str(window.start_date), "end_date": str(window.end_date)}
        return entry


def _place(prototype: RegimePrototype) -> str:
    """Return what stands for the values of a centre, which json would indent one by one: a text no name can be."""
    return f"\0{prototype.label.name}"


def _center_text(prototype: RegimePrototype) -> str:
    indent = "\n" + 8 * " "
    return f"[{indent}{f',{indent}'.join(map(repr, prototype.center.astype(np.float64).tolist()))}{indent[:-2]}]"


def mean_prototype(label: RegimeLabel, embeddings: Float32Matrix) -> RegimePrototype:
    """Return the mean of embeddings, shape (n, dim), taken in float64 in row order."""
    return RegimePrototype(label, embeddings.astype(np.float64).mean(axis=0).astype(np.float32))


def require_prototypes(prototypes: Sequence[RegimePrototype], source: str) -> None:
    """Raise `PrototypeError` unless there is at least one, of one dimension, each label once."""
    if not prototypes:
        raise PrototypeError(source, "there is no prototype")
    labels = [prototype.label for prototype in prototypes]
    doubled = sorted({label.name for label in labels if labels.count(label) > 1})
    if doubled:
        raise PrototypeError(source, f"more than one prototype of {', '.join(doubled)}")
    dims = {prototype.label.name: int(prototype.center.size) for prototype in prototypes}
    if len(set(dims.values())) > 1:
        raise PrototypeError(source, f"prototypes of different dimension: {dims}")


def prototypes_fingerprint(prototypes: Sequence[RegimePrototype]) -> str:
    """Return the SHA-256 of labels and centres, as 64 hex digits; the order of the prototypes does not matter."""
    digest = hashlib.sha256()
    for prototype in sorted(prototypes, key=lambda each: each.label.name):
        digest.update(f"{prototype.label.name}\0{prototype.center.size}\0".encode())
        digest.update(prototype.center.astype("<f4").tobytes())
    return digest.hexdigest()


def default_regime_model_id(encoder_model_id: str, prototypes: Sequence[RegimePrototype]) -> str:
    """Return ``<encoder id>@<first 8 hex digits of the prototypes' fingerprint>``."""
    return f"{encoder_model_id}@{prototypes_fingerprint(prototypes)[:8]}"


def parse_prototypes(text: str, source: str) -> PrototypeSet:
    """Return the set of a file's text; `PrototypeError` if it cannot classify anything."""
    try:
        document = json.loads(text, object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise PrototypeError(source, f"is not a JSON file ({error})") from error
    return _parse(document, source)


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError(f"{max(names, key=names.count)!r} stands there twice")
    return dict(pairs)


def _parse(document: object, source: str) -> PrototypeSet:
    if not isinstance(document, dict) or not isinstance(document.get("prototypes"), dict):
        raise PrototypeError(source, "has no object 'prototypes'; write one with compute_regime_prototypes")
    version = document.get("schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        raise PrototypeError(source, f"schema_version {version!r} is not known, this version reads {SCHEMA_VERSION}")
    entries = document["prototypes"]
    try:
        prototypes = tuple(_parse_prototype(name, entries[name], source) for name in sorted(entries))
    except NotFoundError as error:
        raise PrototypeError(source, str(error)) from error
    windows = {
        prototype.label: window
        for prototype in prototypes
        if (window := _parse_window(prototype.label, entries[prototype.label.name], source)) is not None
    }
    require_prototypes(prototypes, source)
    calibration = _optional(document, "calibration", dict, source)
    parsed = PrototypeSet(
        region=_stated(document, "region", str, source),
        prototypes=prototypes,
        windows=windows,
        encoder_model_id=_optional(document, "model_id", str, source),
        window_days=_optional(document, "window_days", int, source),
        calibration=None if calibration is None else _read_calibration(calibration, source),
    )
    stated = _stated(document, "embedding_dim", int, source)
    if stated != parsed.dim:
        raise PrototypeError(source, f"embedding_dim is {stated!r}, the centres have {parsed.dim} values")
    is_bare = parsed.encoder_model_id is not None and parsed.calibration is None and not windows
    if is_bare and document.get("given") != CENTRES_ALONE:
        way_out = f'it lost one of them, or, where centres are all there is, lacks "given": "{CENTRES_ALONE}"'
        raise PrototypeError(source, f"has neither a 'calibration' nor windows of its prototypes; {way_out}")
    return parsed


def _read_calibration(document: Mapping[str, Any], source: str) -> RegimeCalibration:
    from prometheus.regime.calibration import RegimeCalibration  # noqa: PLC0415 -- means alone have none

    return RegimeCalibration.from_dict(document, source)


def _optional(document: Mapping[str, Any], key: str, kind: type[T], source: str) -> T | None:
    return _stated(document, key, kind, source) if key in document else None


def _stated(document: Mapping[str, Any], key: str, kind: type[T], source: str) -> T:
    if key not in document:
        raise PrototypeError(source, f"has no {key!r}; write such a file with calibrate or compute_regime_prototypes")
    value = document[key]
    if type(value) is not kind:  # True is no int here
        said = "null" if value is None else repr(value)
        raise PrototypeError(source, f"{key} is {said}, which is no {kind.__name__}")
    return value


def _parse_prototype(name: str, entry: object, source: str) -> RegimePrototype:
    label = RegimeLabel.parse(name)
    center = entry.get("center") if isinstance(entry, dict) else None
    if not isinstance(center, list):
        raise PrototypeError(source, f"{name} has no list 'center'")
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in center):
        raise PrototypeError(source, f"{name}: 'center' holds something that is no number")
    try:
        return RegimePrototype(label, as_float32(center))
    except (VectorError, OverflowError) as error:
        raise PrototypeError(source, str(error)) from error


def _parse_window(label: RegimeLabel, entry: Mapping[str, Any], source: str) -> CalibrationWindow | None:
    window = entry.get("window")
    if window is None:
        return None
    try:
        return CalibrationWindow(
            label, date.fromisoformat(window["start_date"]), date.fromisoformat(window["end_date"])
        )
    except (KeyError, TypeError, ValueError) as error:
        raise PrototypeError(source, f"{label.name}: 'window' is not a pair of ISO dates ({error})") from error
