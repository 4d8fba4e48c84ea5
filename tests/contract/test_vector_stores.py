"""Every store of vectors gives the same answers: bytes, errors, order and the number of rows written."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.stores import Stores, docs_of, hashes_of, vectors_of
from tests.property.strategies import bounded, finite_float32

from prometheus.arrays import Float32Matrix, Int64Vector
from prometheus.encoders import EmbeddingBatch, JointExample, NumericWindowSpec, TextDoc
from prometheus.encoders.joint.examples import REGIME_MACRO, REGIME_NEWS
from prometheus.encoders.texts.documents import Passages, TextSelection
from prometheus.errors import UsageError, VectorError, WindowShapeError

FRIDAY = date(2025, 1, 31)
THURSDAY = date(2025, 1, 30)
SPEC = NumericWindowSpec("INSTRUMENT", "X", 63)
MODEL = "m-v1"
UNSORTED = ("ZÜRICH", "a b", "É", "B'; --", "A")
EXTREMES = np.array(
    [0.0, -0.0, 1.4e-45, -1.4e-45, 3.4028235e38, -3.4028235e38, 1.17549435e-38, np.pi], dtype=np.float32
)
SCOPE = {"region": "US", "source": "regime+macro", "macro_filters": {"country": "US"}}


def batch_of(
    vectors: Float32Matrix, hashes: Int64Vector | None = None, names: tuple[str, ...] = ("X",)
) -> EmbeddingBatch:
    n_rows = len(vectors)
    return EmbeddingBatch(
        entity_type="INSTRUMENT",
        model_id=MODEL,
        window_days=63,
        entity_ids=names,
        entity_index=np.arange(n_rows) % len(names),
        as_of_dates=np.datetime64(FRIDAY, "D") - np.arange(n_rows) // len(names),
        input_hashes=hashes,
        vectors=vectors,
    )


def known_hashes(stores: Stores, ids: tuple[str, ...] = ("X",), first: date = THURSDAY, **other: Any) -> set[Any]:
    dates = np.array([first, FRIDAY], dtype="M8[D]")
    key: dict[str, Any] = {"entity_type": "INSTRUMENT", "model_id": MODEL, "window_days": 63}
    return set(stores.numeric.load_input_hashes(entity_ids=ids, dates=dates, **(key | other)).tolist())


@pytest.mark.parametrize("dim", [1, 189, 384, 5_000])
def test_a_numeric_vector_is_reloaded_bit_for_bit(stores: Stores, dim: int) -> None:
    vector = vectors_of(1, dim)[0]
    stores.numeric.save_embedding(SPEC, FRIDAY, MODEL, vector)
    loaded = stores.numeric.load_embedding(SPEC, FRIDAY, MODEL)
    assert loaded is not None
    assert loaded.dtype == np.float32
    assert loaded.tobytes() == vector.tobytes()
    assert not loaded.flags.writeable


@bounded(40)
@given(values=st.lists(finite_float32, min_size=1, max_size=12))
def test_any_finite_float_comes_back(stores: Stores, values: list[float]) -> None:
    vector = np.array(values, dtype=np.float32)
    stores.numeric.save_embedding(SPEC, FRIDAY, MODEL, vector)
    loaded = stores.numeric.load_embedding(SPEC, FRIDAY, MODEL)
    assert loaded is not None
    assert loaded.tobytes() == vector.tobytes()


def test_the_largest_and_smallest_floats_come_back_from_every_store(stores: Stores) -> None:
    stores.numeric.save_embedding(SPEC, FRIDAY, MODEL, EXTREMES)
    stores.texts.save_embeddings(docs_of("a"), MODEL, EXTREMES[np.newaxis])
    stores.joint.save_embeddings([example()], MODEL, EXTREMES[np.newaxis])
    numeric = stores.numeric.load_embedding(SPEC, FRIDAY, MODEL)
    text = stores.texts.load_embedding("MACRO", "0", MODEL)
    (joint,) = stores.joint.load(REGIME_MACRO, "US", MODEL, FRIDAY, FRIDAY)
    assert numeric is not None
    assert text is not None
    assert {each.tobytes() for each in (numeric, text, joint.vector)} == {EXTREMES.tobytes()}


def test_what_the_caller_does_with_his_array_later_changes_nothing_stored(stores: Stores) -> None:
    vectors = vectors_of(1, 3)
    before = vectors.tobytes()
    stores.numeric.save_batch(batch_of(vectors))
    stores.texts.save_embeddings(docs_of("a"), MODEL, vectors)
    stores.joint.save_embeddings([example()], MODEL, vectors)
    vectors[:] = 9
    numeric = stores.numeric.load_embedding(SPEC, FRIDAY, MODEL)
    text = stores.texts.load_embedding("MACRO", "0", MODEL)
    (joint,) = stores.joint.load(REGIME_MACRO, "US", MODEL, FRIDAY, FRIDAY)
    assert numeric is not None
    assert text is not None
    assert {each.tobytes() for each in (numeric, text, joint.vector)} == {before}


def test_what_is_not_stored_is_none(stores: Stores) -> None:
    stores.numeric.save_embedding(SPEC, FRIDAY, MODEL, vectors_of(1, 3)[0])
    load = stores.numeric.load_embedding
    assert load(SPEC, THURSDAY, MODEL) is None
    assert load(SPEC, FRIDAY, "m-v2") is None
    assert load(NumericWindowSpec("INSTRUMENT", "X", 64), FRIDAY, MODEL) is None
    assert load(NumericWindowSpec("INSTRUMENT", "Y", 63), FRIDAY, MODEL) is None
    assert load(NumericWindowSpec("MARKET", "X", 63), FRIDAY, MODEL) is None


def test_every_part_of_the_key_makes_a_row_of_its_own(stores: Stores) -> None:
    keys = [
        (SPEC, FRIDAY, MODEL),
        (NumericWindowSpec("MARKET", "X", 63), FRIDAY, MODEL),
        (NumericWindowSpec("INSTRUMENT", "Y", 63), FRIDAY, MODEL),
        (NumericWindowSpec("INSTRUMENT", "X", 21), FRIDAY, MODEL),
        (SPEC, THURSDAY, MODEL),
        (SPEC, FRIDAY, "m-v2"),
    ]
    vectors = vectors_of(len(keys), 4)
    for key, vector in zip(keys, vectors, strict=True):
        stores.numeric.save_embedding(*key, vector)
    for key, vector in zip(keys, vectors, strict=True):
        loaded = stores.numeric.load_embedding(*key)
        assert loaded is not None
        assert loaded.tobytes() == vector.tobytes()


@pytest.mark.parametrize("is_new", [False, True])
def test_the_same_batch_again_writes_nothing(stores: Stores, is_new: bool) -> None:
    batch = batch_of(vectors_of(12, 3), hashes_of(*range(-6, 6)), UNSORTED)
    assert stores.numeric.save_batch(batch, is_new=is_new) == 12
    before = stores.snapshot()
    assert stores.numeric.save_batch(batch) == 0
    assert stores.numeric.save_batch(batch, is_new=True) == 0
    stores.numeric.save_embedding(NumericWindowSpec("INSTRUMENT", UNSORTED[0], 63), FRIDAY, MODEL, batch.vectors[0])
    assert stores.snapshot() == before


@pytest.mark.parametrize("is_new", [False, True])
def test_only_new_and_changed_rows_are_written(stores: Stores, is_new: bool) -> None:
    vectors = vectors_of(4, 3)
    assert stores.numeric.save_batch(batch_of(vectors[:2], hashes_of(1, 2))) == 2
    changed = vectors.copy()
    changed[1] += 1
    assert stores.numeric.save_batch(batch_of(changed, hashes_of(1, 9, 3, 4)), is_new=is_new) == 3
    assert known_hashes(stores) == {(0, FRIDAY, 1), (0, THURSDAY, 9)}
    loaded = stores.numeric.load_embedding(SPEC, THURSDAY, MODEL)
    assert loaded is not None
    assert loaded.tobytes() == changed[1].tobytes()


def test_new_inputs_that_give_the_same_vector_are_remembered(stores: Stores) -> None:
    vectors = vectors_of(1, 3)
    stores.numeric.save_batch(batch_of(vectors, hashes_of(7)))
    assert stores.numeric.save_batch(batch_of(vectors, hashes_of(8))) == 1
    assert known_hashes(stores) == {(0, FRIDAY, 8)}


def test_a_vector_without_inputs_leaves_those_of_an_equal_one_and_forgets_those_of_another(stores: Stores) -> None:
    vectors = vectors_of(2, 3)
    stores.numeric.save_batch(batch_of(vectors[:1], hashes_of(7)))
    assert stores.numeric.save_batch(batch_of(vectors[:1])) == 0
    assert known_hashes(stores) == {(0, FRIDAY, 7)}
    assert stores.numeric.save_batch(batch_of(vectors[1:])) == 1
    assert known_hashes(stores) == set()


def test_a_vector_of_another_length_replaces_the_old_one(stores: Stores) -> None:
    stores.numeric.save_embedding(SPEC, FRIDAY, MODEL, vectors_of(1, 3)[0])
    stores.numeric.save_embedding(SPEC, FRIDAY, MODEL, vectors_of(1, 5)[0])
    loaded = stores.numeric.load_embedding(SPEC, FRIDAY, MODEL)
    assert loaded is not None
    assert loaded.tobytes() == vectors_of(1, 5)[0].tobytes()


def test_input_hashes_are_those_of_the_instruments_model_length_and_dates_asked_for(stores: Stores) -> None:
    extremes = [-(2**63), 2**63 - 1, 0, -1]
    stores.numeric.save_batch(batch_of(vectors_of(4, 3), hashes_of(*extremes), ("X", "Y")))
    assert known_hashes(stores, ("Y", "NONE", "X")) == {
        (2, FRIDAY, extremes[0]), (0, FRIDAY, extremes[1]), (2, THURSDAY, extremes[2]), (0, THURSDAY, extremes[3]),
    }  # fmt: skip
    assert known_hashes(stores, first=FRIDAY) == {(0, FRIDAY, extremes[0])}
    assert known_hashes(stores, model_id="m-v2") == known_hashes(stores, window_days=21) == set()
    none = stores.numeric.load_input_hashes("MARKET", ["X"], MODEL, 63, np.array([FRIDAY], dtype="M8[D]"))
    assert none.dtype.names == ("entity_index", "as_of_date", "input_hash")
    assert len(none) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_vector_that_is_not_finite_is_refused_and_nothing_is_stored(stores: Stores, bad: float) -> None:
    before, vector = stores.snapshot(), np.array([1, bad, 2], dtype=np.float32)
    refusals: dict[str, Callable[[], object]] = {
        "m-v1 vector of X on 2025-01-31: 1 of 3": lambda: stores.numeric.save_embedding(SPEC, FRIDAY, MODEL, vector),
        "m-v1 vector of MACRO 0: 1 of 3": lambda: stores.texts.save_embeddings(docs_of("a"), MODEL, vector[None]),
        "m-v1 vectors: 1 of 3": lambda: stores.joint.save_embeddings([example()], MODEL, vector[None]),
    }
    for message, save in refusals.items():
        with pytest.raises(VectorError, match=f"^{message} values are NaN or infinite as float32$"):
            save()
    assert stores.snapshot() == before


def test_a_float64_vector_beyond_float32_is_refused_without_a_warning(stores: Stores) -> None:
    with pytest.raises(VectorError, match="1 of 2 values"):
        stores.numeric.save_embedding(SPEC, FRIDAY, MODEL, np.array([1e300, 1.0]))
    with pytest.raises(VectorError, match="1 of 2 values"):
        stores.joint.save_embeddings([example()], MODEL, np.array([[1e300, 1.0]]))


@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_what_is_no_vector_is_refused(stores: Stores, shape: tuple[int, ...]) -> None:
    with pytest.raises(VectorError):
        stores.numeric.save_embedding(SPEC, FRIDAY, MODEL, np.ones(shape, dtype=np.float32))


def test_no_vectors_are_no_work(stores: Stores) -> None:
    nothing = np.empty((0, 0), dtype=np.float32)
    assert stores.numeric.save_batch(batch_of(nothing)) == 0
    assert stores.texts.save_embeddings([], MODEL, nothing) == 0
    assert stores.joint.save_embeddings([], MODEL, nothing) == 0


def test_a_key_that_stands_twice_in_a_batch_is_refused(stores: Stores) -> None:
    before, vectors = stores.snapshot(), vectors_of(2, 3)
    twice = batch_of(vectors, hashes_of(1, 2), ("X", "X"))
    message = "m-v1: two vectors of one batch have the same key; keep one of them"
    saves: list[Callable[[], object]] = [
        lambda: stores.numeric.save_batch(twice),
        lambda: stores.numeric.save_batch(twice, is_new=True),
        lambda: stores.joint.save_embeddings([example(), example()], MODEL, vectors),
    ]
    for save in saves:
        with pytest.raises(VectorError, match=message):
            save()
    assert stores.snapshot() == before


def test_writers_of_the_same_rows_leave_one_of_each(stores: Stores) -> None:
    batch = batch_of(vectors_of(300, 32), np.arange(300), UNSORTED)
    examples = [example(FRIDAY - timedelta(days=n)) for n in range(300)]
    docs = docs_of(*map(str, range(300)))
    with ThreadPoolExecutor(4) as pool:
        numeric = pool.map(lambda new: stores.numeric.save_batch(batch, is_new=new), [True, False, True, True])
        joint = pool.map(lambda _: stores.joint.save_embeddings(examples, MODEL, batch.vectors), range(4))
        texts = pool.map(lambda _: stores.texts.save_embeddings(docs, MODEL, batch.vectors), range(4))
        assert [sum(numeric), sum(joint), sum(texts)] == [300] * 3
    assert len(known_hashes(stores, UNSORTED, date(2024, 1, 1))) == 300
    assert len(stores.joint.load(REGIME_MACRO, "US", MODEL, date.min, date.max)) == 300
    assert len(stores.texts.load_many("MACRO", [doc.source_id for doc in docs], MODEL)) == 300


def test_a_text_vector_is_found_by_its_name_and_by_its_text(stores: Stores) -> None:
    docs, vectors = [*docs_of("a", "b"), *docs_of("a", source_type="NEWS")], vectors_of(3, 384)
    assert stores.texts.save_embeddings(docs, MODEL, vectors) == 3
    loaded = stores.texts.load_embedding("MACRO", "1", MODEL)
    assert loaded is not None
    assert loaded.tobytes() == vectors[1].tobytes()
    for key in (("NEWS", "1", MODEL), ("MACRO", "2", MODEL), ("MACRO", "0", "other")):
        assert stores.texts.load_embedding(*key) is None
    many = stores.texts.load_many("MACRO", ["1", "7", "0"], MODEL)
    assert {name: text.text_hash for name, text in many.items()} == {"0": docs[0].text_hash, "1": docs[1].text_hash}
    assert stores.texts.load_many("MACRO", [], MODEL) == {}
    same = stores.texts.load_same_texts([docs[2].text_hash, "0" * 32], MODEL)
    assert list(same) == [docs[0].text_hash]
    assert same[docs[0].text_hash].vector.tobytes() == vectors[0].tobytes()  # the first by source type and id
    assert stores.texts.load_same_texts([docs[0].text_hash], "other") == {}


def test_equal_texts_are_left_alone_and_changed_ones_written(stores: Stores) -> None:
    docs, vectors = docs_of("a", "b", "c"), np.eye(3, dtype=np.float32)
    assert stores.texts.save_embeddings(docs, MODEL, vectors) == 3
    before = stores.snapshot()
    assert stores.texts.save_embeddings(docs, MODEL, vectors) == 0
    assert stores.snapshot() == before
    vectors[1] = 7
    assert stores.texts.save_embeddings(docs, MODEL, vectors) == 1
    assert stores.texts.save_embeddings(docs_of("a", "b", "C"), MODEL, vectors) == 1
    assert stores.texts.load_many("MACRO", ["2"], MODEL)["2"].text_hash == TextDoc("X", "1", "C").text_hash


def test_what_a_model_says_about_a_text_vector_is_kept_and_corrected(stores: Stores) -> None:
    docs, vectors = docs_of("a", "b"), np.eye(2, dtype=np.float32)

    def said() -> list[tuple[int | None, tuple[str, ...]]]:
        return [(row.n_chunks, row.flags) for _, row in sorted(stores.texts.load_many("MACRO", "01", MODEL).items())]

    flags = [[], ["truncated", "non-english"]]
    assert stores.texts.save_embeddings(docs, MODEL, vectors, n_chunks=[1, 4], flags=flags) == 2
    assert said() == [(1, ()), (4, ("non-english", "truncated"))]
    assert stores.texts.save_embeddings(docs, MODEL, vectors) == 0
    assert stores.texts.save_embeddings(docs, MODEL, vectors, n_chunks=[1, 5], flags=[[], []]) == 1
    assert said() == [(1, ()), (5, ())]
    assert stores.texts.save_embeddings(docs, MODEL, -vectors) == 2
    assert said() == [(None, ()), (None, ())]


def test_passages_are_kept_with_their_text_and_replaced_with_it(stores: Stores) -> None:
    docs, vectors = docs_of("a long text", "b"), vectors_of(2, 3)
    long = Passages(np.array([[0, 6], [7, 11]]), vectors_of(2, 3))
    short = Passages(np.array([[0, 11]] * 3), vectors_of(3, 3))
    save, other = stores.texts.save_embeddings, docs_of("x", "y", "a long text")[2:]
    assert save(docs, MODEL, vectors, n_chunks=[2, 1]) == 2
    assert save(docs, MODEL, vectors, n_chunks=[2, 1], passages=[long, None]) == 1
    before = stores.snapshot()
    assert save(docs, MODEL, vectors, n_chunks=[2, 1], passages=[long, None]) == 0
    assert save(docs, MODEL, vectors, n_chunks=[2, 1]) == 0
    assert save(docs, MODEL, vectors) == 0
    assert stores.snapshot() == before
    assert save(other, MODEL, vectors[:1], n_chunks=[2]) == 1
    found = [
        stores.texts.load_many("MACRO", ["0", "1"], MODEL)["0"].passages,
        stores.texts.load_same_texts([docs[0].text_hash], MODEL)[docs[0].text_hash].passages,
    ]
    assert [each is not None and each.is_same(long) for each in found] == [True, True]
    assert save(docs[:1], MODEL, vectors[:1], n_chunks=[3], passages=[short]) == 1
    loaded = stores.texts.load_many("MACRO", ["0"], MODEL)["0"].passages
    assert loaded is not None
    assert loaded.is_same(short)
    assert save(docs[:1], MODEL, -vectors[:1], n_chunks=[2]) == 1
    assert stores.texts.load_many("MACRO", ["0"], MODEL)["0"].passages is None
    with pytest.raises(WindowShapeError):
        save(docs[:1], MODEL, vectors[:1], n_chunks=[4], passages=[short])


@pytest.mark.parametrize(
    ("vectors", "error"),
    [
        (np.ones((1, 3)), WindowShapeError),
        (np.ones((2, 0)), WindowShapeError),
        (np.ones(2), WindowShapeError),
        (np.array([[1.0], [np.nan]]), VectorError),
        (np.array([[1.0], [1e39]]), VectorError),
    ],
)
def test_vectors_that_cannot_be_stored_are_refused(
    stores: Stores, vectors: Float32Matrix, error: type[Exception]
) -> None:
    before = stores.snapshot()
    with pytest.raises(error):
        stores.texts.save_embeddings(docs_of("a", "b"), MODEL, vectors)
    with pytest.raises(error):
        stores.joint.save_embeddings([example(), example(THURSDAY)], MODEL, vectors)
    assert stores.snapshot() == before


def test_one_name_for_two_texts_is_refused_and_named_twice_is_one(stores: Stores) -> None:
    ones = np.ones((2, 3), dtype=np.float32)
    assert stores.texts.save_embeddings([*docs_of("a"), *docs_of("a")], MODEL, ones) == 1
    for others in ((docs_of("b"), ones), (docs_of("a"), np.array([[1, 1, 1], [1, 1, 2]]))):
        with pytest.raises(UsageError, match="MACRO 0 stands for two different texts"):
            stores.texts.save_embeddings([*docs_of("a"), *others[0]], MODEL, others[1])


def example(day: date = FRIDAY, scope: Any = None, joint_type: str = "REGIME_MACRO_V0") -> JointExample:
    branch = np.ones(3, dtype=np.float32)
    return JointExample(joint_type, day, SCOPE if scope is None else scope, branch, branch)


def test_joint_rows_come_back_by_date_and_scope(stores: Stores) -> None:
    scopes: list[dict[str, Any]] = [
        {**SCOPE, "macro_filters": filters}
        for filters in ({}, {"country": "US"}, {"country": "DE"}, {"event_type": "CPI"}, {"country": "ÖS", "a": "b"})
    ]
    elsewhere = [{**SCOPE, "region": "EU"}, {**SCOPE, "source": "regime+news"}]
    examples = [example(day, scope) for day in (FRIDAY, THURSDAY) for scope in [*scopes, *elsewhere]]
    news = example(FRIDAY, SCOPE, "REGIME_CONTEXT_V0")
    vectors = vectors_of(len(examples) + 1, 3)
    assert stores.joint.save_embeddings([*examples, news], MODEL, vectors) == len(vectors)
    by_key = {
        (each.as_of_date, str(each.entity_scope)): vector.tobytes()
        for each, vector in zip(examples, vectors, strict=False)
    }
    loaded = stores.joint.load(REGIME_MACRO, "US", MODEL, THURSDAY, FRIDAY)
    # as PostgreSQL writes jsonb: shorter keys first, then by bytes
    in_order = [scopes[4], scopes[2], scopes[1], scopes[3], scopes[0]]
    wanted = [(day, scope) for day in (THURSDAY, FRIDAY) for scope in in_order]
    assert [(each.as_of_date, each.entity_scope) for each in loaded] == wanted
    assert [each.vector.tobytes() for each in loaded] == [by_key[day, str(scope)] for day, scope in wanted]
    assert {(each.joint_type, each.model_id) for each in loaded} == {("REGIME_MACRO_V0", MODEL)}
    assert len(stores.joint.load(REGIME_MACRO, "US", MODEL, FRIDAY, FRIDAY, limit=2)) == 2
    assert stores.joint.load(REGIME_NEWS, "US", MODEL, FRIDAY, FRIDAY) == []
    assert stores.joint.load(REGIME_MACRO, "US", "other", FRIDAY, FRIDAY) == []


def test_joint_rows_are_written_again_only_where_they_changed(stores: Stores) -> None:
    examples, vectors = [example(), example(THURSDAY)], vectors_of(2, 3)
    branches = ("num-v1", "text-v1")
    assert stores.joint.save_embeddings(examples, MODEL, vectors) == 2
    assert stores.joint.save_embeddings(examples, MODEL, vectors, branches) == 2
    before = stores.snapshot()
    reordered = [example(scope=dict(reversed(SCOPE.items()))), example(THURSDAY)]
    for again in (examples, reordered):
        assert stores.joint.save_embeddings(again, MODEL, vectors, branches) == 0
        assert stores.joint.save_embeddings(again, MODEL, vectors) == 0
    assert stores.snapshot() == before
    vectors[1] += 1
    assert stores.joint.save_embeddings(examples, MODEL, vectors, branches) == 1
    assert stores.joint.save_embeddings(examples, MODEL, vectors, ("num-v1", "text-v2")) == 2


def test_joint_rows_are_grouped_by_what_they_were_joined_from(stores: Stores) -> None:
    examples, vectors = [example(), example(THURSDAY)], vectors_of(2, 3)
    stores.joint.save_embeddings(examples, MODEL, vectors, ("num-v1", "text-v1"))
    stores.joint.save_embeddings(examples[:1], "m-v2", vectors[:1], ("num-v1", None))
    stores.joint.save_embeddings([example(scope={**SCOPE, "region": "EU"})], MODEL, vectors[:1], ("num-v1", "t"))
    stores.joint.save_embeddings(examples, "m-v3", vectors, ("num-v2", "text-v1"))
    stores.joint.save_embeddings(examples, "m-v4", vectors)
    groups = stores.joint.groups("US", "num-v1", THURSDAY, FRIDAY)
    said = [(each.joint_type, each.model_id, each.entity_scope, each.text_model_id) for each in groups]
    assert said == [("REGIME_MACRO_V0", MODEL, SCOPE, "text-v1"), ("REGIME_MACRO_V0", "m-v2", SCOPE, None)]
    assert [set(each.written) for each in groups] == [{FRIDAY, THURSDAY}, {FRIDAY}]
    assert groups[0].written[FRIDAY] == groups[0].written[THURSDAY] < groups[1].written[FRIDAY]
    assert stores.joint.groups("US", "num-v1", date(2025, 2, 1), date.max) == []


def test_daily_means_are_of_the_texts_that_were_known_on_their_date(stores: Stores) -> None:
    noon = datetime(2025, 1, 31, 12, tzinfo=UTC)
    texts = [
        stores.add_macro(noon, None, {"country": "US", "event_type": "CPI"}),
        stores.add_macro(noon + timedelta(hours=1), noon + timedelta(hours=2), {"country": "US", "event_type": "GDP"}),
        stores.add_macro(noon, noon + timedelta(days=1), {"country": "US", "event_type": "late"}),
        stores.add_macro(noon - timedelta(days=1), None, {"country": "DE", "event_type": "CPI"}),
        stores.add_macro(noon + timedelta(hours=13), None, {"country": "US", "event_type": "next day in UTC"}),
        stores.add_macro(noon, None, {"country": "US", "event_type": "without a vector"}),
    ]
    vectors = vectors_of(5, 4)
    docs = [TextDoc("MACRO", name, name) for name in texts[:5]]
    stores.texts.save_embeddings(docs, MODEL, vectors)

    def means(country: str | None, timezone: str = "UTC") -> dict[date, bytes]:
        found = stores.daily.load(TextSelection("MACRO", MODEL, {"country": country}, timezone), THURSDAY, FRIDAY)
        return dict(zip(found.dates.tolist(), (each.tobytes() for each in found.vectors), strict=True))

    def mean(*rows: int) -> bytes:
        wide = vectors[list(rows)].astype(np.float64)
        return bytes((wide.sum(axis=0) / len(rows)).astype(np.float32).tobytes())

    assert means(None) == {THURSDAY: mean(3), FRIDAY: mean(0, 1)}
    assert means("US") == {FRIDAY: mean(0, 1)}
    assert means("DE") == {THURSDAY: mean(3)}
    assert means("US", "America/New_York") == {FRIDAY: mean(0, 1, 4)}
    nothing = stores.daily.load(TextSelection("MACRO", "other", {}), THURSDAY, FRIDAY)
    assert (len(nothing.dates), nothing.vectors.shape, len(nothing.n_texts)) == (0, (0, 0), 0)
    with pytest.raises(UsageError, match="MACRO texts have no filter 'language'"):
        stores.daily.load(TextSelection("MACRO", MODEL, {"language": "en"}), THURSDAY, FRIDAY)
    with pytest.raises(UsageError, match="unknown time zone 'Mars'"):
        stores.daily.load(TextSelection("MACRO", MODEL, {}, "Mars"), THURSDAY, FRIDAY)
