"""Array aliases with rank and dtype, columns of few values, and the byte form of stored vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prometheus.errors import VectorError

Float32Vector: TypeAlias = NDArray[np.float32]
"""Shape (dim,)."""
Float32Matrix: TypeAlias = NDArray[np.float32]
"""Shape (n, dim)."""
Float32Cube: TypeAlias = NDArray[np.float32]
"""Shape (n_windows, window_days, n_features)."""
FeatureTable: TypeAlias = NDArray[np.floating]
"""Shape (n_rows, n_features), float32 or float64."""
FeatureCube: TypeAlias = NDArray[np.floating]
"""Shape (n_windows, window_days, n_features), float32 or float64."""
Float64Vector: TypeAlias = NDArray[np.float64]
Float64Matrix: TypeAlias = NDArray[np.float64]
Int32Vector: TypeAlias = NDArray[np.int32]
Int64Vector: TypeAlias = NDArray[np.int64]
Int64Matrix: TypeAlias = NDArray[np.int64]
UInt64Vector: TypeAlias = NDArray[np.uint64]
DateVector: TypeAlias = NDArray[np.datetime64]
"""Shape (n,), dtype datetime64[D]."""

VECTOR_DTYPE = np.dtype("<f4")


@dataclass(frozen=True, slots=True, eq=False)
class Coded(Sequence[Any]):
    """A column of few different values: those, and the position of each row's among them, shape (n,)."""

    values: Sequence[Any]
    codes: NDArray[np.intp]

    @classmethod
    def of_one(cls, value: Any, n_rows: int) -> Coded:
        """Return a column whose rows have one value."""
        return cls([value], np.broadcast_to(np.intp(0), n_rows))

    @classmethod
    def of_shared(cls, rows: Sequence[Any], make: Callable[[Any], Any]) -> Coded:
        """Return what `make` gives of each row, where many rows are one object."""
        ids = np.fromiter(map(id, rows), np.int64, len(rows))
        _, firsts, codes = np.unique(ids, return_index=True, return_inverse=True)
        return cls([make(rows[first]) for first in firsts.tolist()], codes)

    def __len__(self) -> int:
        return len(self.codes)

    @overload
    def __getitem__(self, row: int) -> Any: ...
    @overload
    def __getitem__(self, row: slice) -> Coded: ...
    def __getitem__(self, row: int | slice) -> Any:
        return Coded(self.values, self.codes[row]) if isinstance(row, slice) else self.values[self.codes[row]]


def as_float32(values: ArrayLike) -> NDArray[np.float32]:
    """Return the values as float32; one it cannot hold becomes infinite, without a warning.

    Examples
    --------
    >>> as_float32([0.5, 1e300])
    array([0.5, inf], dtype=float32)
    """
    found = np.asarray(values)
    if found.dtype == np.float32:
        return found
    with np.errstate(over="ignore"):
        return found.astype(np.float32)


def encode_vector(vector: NDArray[np.floating], name: str = "vector") -> bytes:
    """Return the stored form of one vector: little-endian float32 bytes; `VectorError` if not 1-d, empty or not finite.

    Examples
    --------
    >>> encode_vector(np.array([1.0, -2.0])).hex()
    '0000803f000000c0'
    """
    values = np.asarray(vector)
    if values.ndim != 1 or values.size == 0:
        raise VectorError(name, f"shape {values.shape} is not that of a vector")
    narrow = as_float32(values)
    require_finite(narrow, name)
    return narrow.astype(VECTOR_DTYPE, copy=False).tobytes()


def decode_vector(stored: bytes | memoryview, dim: int | None = None, name: str = "vector") -> Float32Vector:
    """Return a stored vector, read-only, shape (dim,); `VectorError` if it has another length."""
    n_bytes = len(stored)
    if n_bytes == 0 or n_bytes % VECTOR_DTYPE.itemsize:
        raise VectorError(name, f"{n_bytes} stored bytes are no float32 vector")
    if dim is not None and n_bytes != dim * VECTOR_DTYPE.itemsize:
        raise VectorError(name, f"{n_bytes // VECTOR_DTYPE.itemsize} stored values, expected {dim}")
    return np.frombuffer(stored, dtype=VECTOR_DTYPE)


def require_finite(values: NDArray[np.floating], name: str) -> None:
    """Raise `VectorError` if any value is NaN or infinite."""
    is_good = np.isfinite(values)
    if not is_good.all():
        n_bad = int(np.size(values) - np.count_nonzero(is_good))
        raise VectorError(name, f"{n_bad} of {np.size(values)} values are NaN or infinite as float32")
