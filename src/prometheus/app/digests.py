"""Digests compared with the rows that they stand for, and made anew."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus.app.wiring import UseCase
from prometheus.data.coverage import NumericCoverage
from prometheus.data.digests import Disagreement, SourceDigests, StateDigests


@dataclass(frozen=True, slots=True)
class DigestReport:
    """What disagreed with its rows, and what of it still does; nothing is repaired unless asked for."""

    found: tuple[Disagreement, ...]
    left: tuple[Disagreement, ...]

    @property
    def exit_code(self) -> int:
        """0, or 3 if something disagrees."""
        return 3 if self.left else 0


class CheckDigests(UseCase):
    """Compares every digest with its rows: those of sources, and of the spans known to be stored."""

    def check(self, *, repair: bool = False) -> DigestReport:
        """Return what disagrees; with `repair` digests are made anew and spans forgotten, so that a run looks again."""
        found = self._disagreeing()
        if not repair or not found:
            return DigestReport(found, found)
        for digests in self._digests:
            digests.rebuild()
        NumericCoverage(self._wired.db_manager).repair()
        return DigestReport(found, self._disagreeing())

    @property
    def _digests(self) -> tuple[SourceDigests, StateDigests]:
        return SourceDigests(self._wired.db_manager), StateDigests(self._wired.db_manager)

    def _disagreeing(self) -> tuple[Disagreement, ...]:
        of_rows = [each for digests in self._digests for each in digests.check()]
        return (*of_rows, *NumericCoverage(self._wired.db_manager).check())
