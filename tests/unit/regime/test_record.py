"""The chain of the forward record: one changed byte, one row too many, too few or elsewhere, and it no longer holds."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st
from tests.property.strategies import bounded

from prometheus.regime.record import EMPTY, Head, Link, link, verify


def chain(said: list[bytes]) -> list[Link]:
    links: list[Link] = []
    before = EMPTY.hash
    for number, each in enumerate(said, 1):
        before = link(before, each)
        links.append(Link(number, each, before))
    return links


@st.composite
def changed(draw: st.DrawFn, links: list[Link]) -> list[Link]:
    """Rows after one change, in the order of their numbers, as the table gives them."""
    rows, at = list(links), draw(st.integers(0, len(links) - 1))
    other = draw(st.integers(0, len(links) - 1))
    kind = draw(st.sampled_from(["said", "hash", "number", "drop", "close up", "swap", "copy", "forge"]))
    if kind == "said":
        rows[at] = replace(rows[at], said=draw(st.binary(max_size=4)))
    elif kind == "hash":
        rows[at] = replace(rows[at], hash=draw(st.binary(min_size=32, max_size=32) | st.just(b"")))
    elif kind == "number":
        rows[at] = replace(rows[at], number=draw(st.integers(-2, len(links) + 3)))
    elif kind == "drop":
        del rows[at : at + draw(st.integers(1, 3))]
    elif kind == "close up":
        del rows[at]
        rows = [replace(each, number=number) for number, each in enumerate(rows, 1)]
    elif kind == "swap":
        rows[at], rows[other] = (replace(rows[b], number=rows[a].number) for a, b in ((at, other), (other, at)))
    elif kind == "copy":
        rows.insert(at, rows[other])
    else:
        rows.insert(at, Link(0, draw(st.binary(max_size=4)), draw(st.binary(min_size=32, max_size=32))))
        rows = [replace(each, number=number) for number, each in enumerate(rows, 1)]
    return sorted(rows, key=lambda each: each.number)


@bounded(400)
@given(data=st.data(), said=st.lists(st.binary(max_size=4), min_size=1, max_size=8))
def test_any_change_is_found_at_the_first_row_that_differs(data: st.DataObject, said: list[bytes]) -> None:
    links = chain(said)
    head = Head(len(links), links[-1].hash)
    assert verify(lambda: links, head).fault is None
    rows = data.draw(changed(links))
    assume(rows != links)
    verdict = verify(lambda: rows, head)
    n_equal = next(
        (at for at, (a, b) in enumerate(zip(rows, links, strict=False)) if a != b), min(len(rows), len(links))
    )
    assert verdict.fault is not None
    assert verdict.head.n_statements == n_equal


@bounded(100)
@given(said=st.lists(st.binary(max_size=4), min_size=1, max_size=8), data=st.data())
def test_a_kept_head_is_met_wherever_it_was_the_head(said: list[bytes], data: st.DataObject) -> None:
    links = chain(said)
    head = Head(len(links), links[-1].hash)
    kept = data.draw(st.sampled_from([EMPTY.hash, *(each.hash for each in links)]))
    assert verify(lambda: links, head, kept).fault is None
    assert "written anew" in str(verify(lambda: links, head, link(kept, b"another")).fault)
