"""What becomes of a chunk whose workers die: tried again, halved, and in the end given up."""

from __future__ import annotations

from collections import deque
from datetime import date

import pytest

from prometheus.backfill.plan import DateSpan, NumericChunk
from prometheus.backfill.work import Ticket

NAMES = tuple("ABCDEFGH")


def ticket_of(*names: str) -> Ticket:
    return Ticket(NumericChunk(names, "US_EQ", DateSpan.of_date(date(2025, 1, 31)), 63, "m"))


def test_the_first_death_is_an_accident() -> None:
    ticket = ticket_of(*NAMES)
    (again,) = ticket.after_death()
    assert again.chunk == ticket.chunk
    assert (ticket.is_suspect, again.is_suspect) == (False, True)


@pytest.mark.parametrize("culprit", NAMES)
def test_the_culprit_alone_is_given_up_after_few_deaths(culprit: str) -> None:
    queue, done, given_up, n_deaths = deque([ticket_of(*NAMES)]), list[str](), list[str](), 0
    while queue:
        ticket = queue.popleft()
        assert isinstance(ticket.chunk, NumericChunk)
        if culprit not in ticket.chunk.instrument_ids:
            done += ticket.chunk.instrument_ids
            continue
        n_deaths += 1
        again = ticket.after_death()
        queue.extend(again)
        given_up += () if again else ticket.chunk.instrument_ids
    assert given_up == [culprit]
    assert sorted(done) == sorted(set(NAMES) - {culprit})
    assert n_deaths <= 6
