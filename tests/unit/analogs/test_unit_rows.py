"""Vectors in memory: the same cosine in any company, and a quarter of the bytes that hardly moves one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tests.property.strategies import bounded
from tests.reference.passages import slow_cosine

from prometheus.analogs import unit_rows
from prometheus.analogs.ranking import ROWS_IN_CACHE, directions
from prometheus.analogs.unit_rows import CompactRows, ExactRows, UnitRows

VALUES = st.floats(-1, 1, width=32)
MATRICES = arrays.arrays(np.float32, st.tuples(st.integers(1, 6), st.just(5)), elements=VALUES)
FORMS: list[tuple[type[UnitRows], float]] = [(ExactRows, 1e-6), (CompactRows, 0.5 / 127 * 5**0.5 + 1e-6)]


def filled(rows_of: type[UnitRows], vectors: np.ndarray) -> UnitRows:
    rows = rows_of.empty(*vectors.shape)
    rows.put(0, vectors[:2])
    rows.put(2, vectors[2:])
    return rows


@pytest.mark.parametrize(("rows_of", "most_off"), FORMS)
@bounded(60)
@given(vectors=MATRICES, question=arrays.arrays(np.float32, 5, elements=VALUES))
def test_a_cosine_is_near_its_twin_and_alone_the_same(
    rows_of: type[UnitRows], most_off: float, vectors: np.ndarray, question: np.ndarray
) -> None:
    rows = filled(rows_of, directions(vectors))
    found = rows.cosines(question)
    for at, vector in enumerate(vectors):
        assert found[at] == pytest.approx(slow_cosine(vector.tolist(), question.tolist()), abs=most_off)
        assert rows[np.array([at])].cosines(question).tolist() == rows[at : at + 1].cosines(question).tolist()
        assert rows[np.array([at])].cosines(question)[0] == found[at]


@pytest.mark.parametrize("rows_of", [ExactRows, CompactRows])
def test_neither_the_place_in_a_block_nor_a_thread_changes_a_bit(
    rows_of: type[UnitRows], monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(3)
    vectors = directions(generator.normal(size=(2 * ROWS_IN_CACHE + 7, 384)).astype(np.float32))
    question = generator.normal(size=384).astype(np.float32)
    whole = filled(rows_of, vectors).cosines(question)
    with monkeypatch.context() as patch:
        patch.setattr(unit_rows, "ROWS_OF_TWO_THREADS", 0)
        assert filled(rows_of, vectors).cosines(question).tolist() == whole.tolist()
    chosen = np.sort(generator.permutation(len(vectors))[:100])
    assert filled(rows_of, vectors)[chosen].cosines(question).tolist() == whole[chosen].tolist()


def test_the_best_are_among_the_few_that_are_compared_again() -> None:
    """Vectors as close to each other as those of texts are: of the ten nearest none is lost behind the 300th."""
    generator = np.random.default_rng(7)
    centres = generator.normal(size=(40, 384))
    vectors = directions(
        (centres[generator.integers(40, size=20_000)] + generator.normal(size=(20_000, 384))).astype("f4")
    )
    exact, compact = filled(ExactRows, vectors), filled(CompactRows, vectors)
    for question in vectors[:30]:
        nearest = np.argsort(-exact.cosines(question))[:10]
        again = np.argsort(-compact.cosines(question))[:300]
        assert set(nearest.tolist()) <= set(again.tolist())
    assert compact.codes.nbytes * 4 == exact.vectors.nbytes  # type: ignore[attr-defined]
