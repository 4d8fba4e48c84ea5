"""Digests compared with the rows that they stand for, and made anew."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus.app.wiring import UseCase
from prometheus.data.coverage import NumericCoverage
from prometheus.data.digests import Disagreement, SourceDigests


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
        sources, coverage = SourceDigests(self._wired.db_manager), NumericCoverage(self._wired.db_manager)
        found = (*sources.check(), *coverage.check())
        if not repair or not found:
            return DigestReport(found, found)
        sources.rebuild()
        coverage.repair()
        return DigestReport(found, (*sources.check(), *coverage.check()))
