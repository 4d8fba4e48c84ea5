"""Many states of one region and model as columns: objects and JSON are made of them where they are asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, TypeAlias, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from prometheus.arrays import DateVector, Float32Matrix, Float64Vector
from prometheus.regime.types import RegimeLabel, RegimeState, metadata_text

T = TypeVar("T")
WriteNumbers: TypeAlias = Callable[[list[float]], Sequence[Any]]
"""Returns of finite numbers what ``str`` makes JSON of; by default the numbers, whose ``str`` is that of `json`."""
JsonColumns = Mapping[str, Any]
"""JSON values by name: an array, shape (n,), or a list has one for each row, a mapping more names, all else is shared
by every row."""


def json_values(columns: JsonColumns, row: int) -> dict[str, Any]:
    """Return the JSON values of one row.

    Examples
    --------
    >>> json_values({"share": np.array([0.5, 0.25]), "of": {"n": [4, 8], "unit": "days"}}, 1)
    {'share': 0.25, 'of': {'n': 8, 'unit': 'days'}}
    """
    return {name: _value(column, row) for name, column in columns.items()}


def as_they_are(numbers: list[float]) -> Sequence[Any]:
    """Return the numbers."""
    return numbers


def json_texts(columns: JsonColumns, n_rows: int, write_numbers: WriteNumbers = as_they_are) -> list[str]:
    """Return the values of each row as ``json.dumps`` writes them; ValueError or TypeError where it would raise it.

    Another way of writing numbers may be given, where only their values count.

    Examples
    --------
    >>> json_texts({"share": np.array([0.5, 0.25]), "unit": "%"}, 2)
    ['{"share": 0.5, "unit": "%"}', '{"share": 0.25, "unit": "%"}']
    """
    written: list[Sequence[Any]] = [[None] * n_rows]
    template = (
        f"{_template(columns, written, write_numbers)}%.0s"  # the first column has no text, and gives their number
    )
    return [template % row for row in zip(*written[1:], written[0], strict=True)]


def _value(column: Any, row: int) -> Any:
    if isinstance(column, np.ndarray):
        return column[row].item()
    if isinstance(column, Mapping):
        return json_values(column, row)
    return column[row] if isinstance(column, list) else column


def _template(column: Any, written: list[Sequence[Any]], write_numbers: WriteNumbers) -> str:
    """Return the text that all rows share, with a place for each column, whose texts are added to `written`."""
    if isinstance(column, Mapping):
        parts = (f"{_constant(name)}: {_template(each, written, write_numbers)}" for name, each in column.items())
        return f"{{{', '.join(parts)}}}"
    if not isinstance(column, np.ndarray | list):
        return _constant(column)
    written.append(_texts(column, write_numbers))
    return "%s"


def _constant(value: object) -> str:
    return json.dumps(value, allow_nan=False).replace("%", "%%")


def _opened(values: Mapping[str, Any]) -> str:
    """Return JSON values, at least one, as text that more of them follow."""
    return f"{json.dumps(values, allow_nan=False)[:-1]}, "


def _texts(column: NDArray[Any] | list[Any], write_numbers: WriteNumbers = as_they_are) -> Sequence[Any]:
    """Return values whose ``str`` is their JSON; what rows share is written once."""
    values: list[Any] = column.tolist() if isinstance(column, np.ndarray) else column
    if isinstance(column, np.ndarray) and column.dtype.kind in "fi":
        if not np.isfinite(column).all():
            raise ValueError("a number is not finite")
        return write_numbers(values) if column.dtype.kind == "f" else values
    return made_once(values, partial(json.dumps, allow_nan=False))


def made_once(values: Sequence[Any], make: Callable[[Any], T]) -> list[T]:
    """Return what `make` gives of each value; of an object that several rows share it is made once."""
    ids = list(map(id, values))
    made = {key: make(value) for key, value in dict(zip(ids, values, strict=True)).items()}
    return [made[key] for key in ids]


@dataclass(frozen=True, slots=True, eq=False)
class RegimeStates(Sequence[RegimeState]):
    """States of one region and model, ascending in time, shape (n,); see `RegimeState` for what each column says.

    `labels` are positions in `names`. The metadata of a state are its entry of `sources`, which many may share, and its
    row of `details`. InputRefusedError for a confidence outside [0, 1].
    """

    region: str
    model_id: str
    encoder_model_id: str
    names: tuple[RegimeLabel, ...]
    dates: DateVector
    labels: NDArray[np.intp]
    confidences: Float64Vector
    vectors: Float32Matrix
    sources: list[Mapping[str, Any]]
    details: JsonColumns

    def __post_init__(self) -> None:
        is_share = (self.confidences >= 0.0) & (self.confidences <= 1.0)
        if not is_share.all():
            self[int(is_share.argmin())]

    def __len__(self) -> int:
        return len(self.dates)

    @overload
    def __getitem__(self, row: int) -> RegimeState: ...
    @overload
    def __getitem__(self, row: slice) -> RegimeStates: ...
    def __getitem__(self, row: int | slice) -> RegimeState | RegimeStates:
        if isinstance(row, slice):
            own = {each.name: getattr(self, each.name) for each in fields(self)[4:]}
            return replace(self, **{name: _taken(column, row) for name, column in own.items()})
        return RegimeState(
            as_of_date=self.dates[row].item(),
            region=self.region,
            regime_label=self.names[self.labels[row]],
            confidence=float(self.confidences[row]),
            regime_embedding=self.vectors[row],
            metadata={**self.sources[row], **json_values(self.details, row)},
            model_id=self.model_id,
            encoder_model_id=self.encoder_model_id,
        )

    def metadata_texts(self, write_numbers: WriteNumbers = as_they_are) -> list[str]:
        """Return what `metadata_text` does of each state; InputRefusedError if JSON cannot hold it.

        See `json_texts` for `write_numbers`.
        """
        try:
            written: list[Sequence[Any]] = [made_once(self.sources, _opened)]
            template = f"%s{_template(self.details, written, write_numbers)[1:]}"
        except (TypeError, ValueError):
            for state in self:
                metadata_text(state)  # names the state
            raise
        return [template % row for row in zip(*written, strict=True)]


def _taken(column: Any, rows: slice) -> Any:
    if isinstance(column, Mapping):
        return {name: _taken(each, rows) for name, each in column.items()}
    return column[rows] if isinstance(column, np.ndarray | list) else column
