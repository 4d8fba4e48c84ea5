"""What was made of rows that have changed since."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from prometheus.encoders.joint.examples import JointGroup
from prometheus.protocols import JointVectorStore, StateStore


@dataclass(frozen=True, slots=True)
class StaleJoins:
    """Joint rows that are older than the regimes they were joined from."""

    group: JointGroup
    dates: frozenset[date]


def stale_joins(
    store: JointVectorStore, storage: StateStore, region: str, numeric_model_id: str, start: date, end: date
) -> list[StaleJoins]:
    """Return the joint rows of a region to join anew.

    What is stale is told by the times of writing, so a run that was killed between the two is made good by the next
    one; where the two databases are on two servers, their clocks must agree. A row that does not say what it was joined
    from is left alone.
    """
    groups = store.groups(region, numeric_model_id, start, end)
    if not groups:
        return []
    regimes = storage.written(region, numeric_model_id, start, end)
    found = [
        StaleJoins(group, frozenset(day for day, at in group.written.items() if day in regimes and regimes[day] > at))
        for group in groups
    ]
    return [stale for stale in found if stale.dates]
