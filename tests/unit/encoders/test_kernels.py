"""Trailing sums: what they are, and that a value depends on the rows it covers and on nothing else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from tests.reference.descriptors import weighted_mean

from prometheus.arrays import Float64Matrix
from prometheus.encoders.numeric.descriptors import trailing_averages, trailing_maxima, trailing_means
from prometheus.errors import UsageError, WindowShapeError

HALF_LIVES = (1.0, 5.0, 64.0)
WALK = np.random.default_rng(5).normal(size=(3, 90))


def averages(values: Float64Matrix, n_rows: int, n_last: int) -> Float64Matrix:
    return np.stack([trailing_averages(row, [n_rows], n_last)[n_rows] for row in values])


KERNELS: dict[str, Callable[[Float64Matrix, int, int], Float64Matrix]] = {
    "means": lambda values, n_rows, n_last: trailing_means(values, HALF_LIVES, n_rows, n_last),
    "averages": averages,
    "maxima": lambda values, n_rows, n_last: trailing_maxima(values, [n_rows], n_last)[n_rows],
}
each_kernel = pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)


@pytest.mark.parametrize("n_rows", [1, 2, 8, 64])
@pytest.mark.parametrize("n_last", [1, 3, 8, 27])
def test_each_kernel_is_what_its_name_says(n_rows: int, n_last: int) -> None:
    found = {name: kernel(WALK, n_rows, n_last) for name, kernel in KERNELS.items()}
    for series, values in enumerate(WALK.tolist()):
        for back in range(n_last):
            covered = values[: len(values) - back][-n_rows:]
            at = series, n_last - 1 - back
            assert found["means"][at] == pytest.approx(weighted_mean(covered, HALF_LIVES[series], n_rows), abs=1e-14)
            assert found["averages"][at] == pytest.approx(sum(covered) / n_rows, abs=1e-14)
            assert found["maxima"][at] == max(covered)


@each_kernel
@pytest.mark.parametrize("n_rows", [1, 4, 32])
def test_a_value_has_the_same_bytes_alone_and_among_any_others(
    kernel: Callable[[Float64Matrix, int, int], Float64Matrix], n_rows: int
) -> None:
    n_all = WALK.shape[1] - n_rows + 1
    whole = kernel(WALK, n_rows, n_all)
    for n_last in (1, 2, 3, 7, n_rows, n_all):
        assert kernel(WALK, n_rows, n_last).tobytes() == whole[:, -n_last:].tobytes()
    for at in range(n_all):
        assert kernel(WALK[:, at : at + n_rows], n_rows, 1).tobytes() == whole[:, at].tobytes()


@each_kernel
def test_values_outside_the_stretch_do_not_matter(
    kernel: Callable[[Float64Matrix, int, int], Float64Matrix],
) -> None:
    poisoned = WALK.copy()
    poisoned[:, : 90 - 20] = np.nan
    assert kernel(poisoned, 16, 5).tobytes() == kernel(WALK, 16, 5).tobytes()


@each_kernel
def test_the_values_are_left_as_they_were(kernel: Callable[[Float64Matrix, int, int], Float64Matrix]) -> None:
    values = WALK.copy()
    for n_rows in (1, 16):
        kernel(values, n_rows, 5)[:] = 0
        np.testing.assert_array_equal(values, WALK)


def test_several_lengths_at_once_are_those_one_by_one() -> None:
    lengths = [16, 64, 4]  # in any order
    together = trailing_averages(WALK[0], lengths, 9), trailing_maxima(WALK, lengths, 9)
    for length in lengths:
        assert together[0][length].tobytes() == trailing_averages(WALK[0], [length], 9)[length].tobytes()
        assert together[1][length].tobytes() == trailing_maxima(WALK, [length], 9)[length].tobytes()


@each_kernel
@pytest.mark.parametrize("n_rows", [0, -2, 3, 12])
def test_only_powers_of_two_can_be_halved(
    kernel: Callable[[Float64Matrix, int, int], Float64Matrix], n_rows: int
) -> None:
    with pytest.raises(UsageError, match=f"power of two long, got {n_rows}"):
        kernel(WALK, n_rows, 1)


def test_too_few_values_are_refused_before_memory_beyond_them_is_read() -> None:
    assert trailing_means(WALK, HALF_LIVES, 64, 27).shape == (3, 27)
    with pytest.raises(WindowShapeError, match=r"\(3, 90\), expected \(3, 91\)"):
        trailing_means(WALK, HALF_LIVES, 64, 28)
