"""Every stored row that can be made again, compared with what its inputs give: `db verify` (ADR-0038)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus.app.verified import Sample, TableReport, WrongRow, shorten
from prometheus.app.verified_rules import verify_rules
from prometheus.app.verified_states import VerifyStates
from prometheus.app.verified_texts import VerifyTexts
from prometheus.app.verified_windows import VerifyWindows
from prometheus.app.wiring import UseCase
from prometheus.data.verification import EditedBar, WrittenBars, WrittenReader
from prometheus.errors import NotFoundError

BARS = "prices_daily"
EXIT_WRONG = 3
EVERY_ROW = Sample()
TEXT_SAMPLE = 1_000


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """Which rows to compare: a sample of those of some regions and instruments, or of all.

    `prototypes` are files of models that were not calibrated; see `VerifyStates`. Without a sample a thousand texts are
    compared, or `all_texts`.
    """

    sample: Sample = EVERY_ROW
    regions: tuple[str, ...] = ()
    instruments: tuple[str, ...] = ()
    prototypes: tuple[Path, ...] = ()
    all_texts: bool = False
    repair: bool = False

    @property
    def of_texts(self) -> Sample:
        """Which texts are compared: embedding one takes a thousand times as long as a window."""
        is_named = self.all_texts or self.sample != Sample(seed=self.sample.seed)
        return self.sample if is_named else Sample(TEXT_SAMPLE, seed=self.sample.seed)


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The sums by table."""

    tables: tuple[TableReport, ...]

    @property
    def wrong(self) -> list[WrongRow]:
        """The rows that were found wrong, healed or not."""
        return [row for table in self.tables for row in table.wrong]

    @property
    def left(self) -> list[WrongRow]:
        """Those of them that still are."""
        return [row for table in self.tables for row in table.left]

    @property
    def exit_code(self) -> int:
        """0, or 3 while a row is wrong."""
        return EXIT_WRONG if self.left else 0

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "tables": [each.to_dict() for each in self.tables], "wrong": [each.to_dict() for each in self.wrong],
            "left": len(self.left),
        }  # fmt: skip


class VerifyRows(UseCase):
    """Compares stored rows with their inputs; prices first, as all others stand on them."""

    def verify(self, request: VerifyRequest) -> VerifyReport:
        """Return what was found; with `repair` wrong rows are replaced by what they should be, whole rows at a time.

        Regions named choose states, their transitions, joint rows and vectors of regions; instruments named choose bars
        and vectors; texts belong to neither. NotFoundError for a name of which nothing is stored.
        """
        sample, repair = request.sample, request.repair
        regions, instruments = request.regions or None, request.instruments or None
        is_whole = regions is None and instruments is None
        edited, bars = self._verify_bars(instruments, is_asked=is_whole or instruments is not None, repair=repair)
        wired = self._wired if not edited else self._wired.reading_bars(WrittenReader(self._wired.db_manager, edited))
        tables = [] if bars is None else [bars]
        entities = None if is_whole else [*request.instruments, *request.regions]
        tables.append(VerifyWindows(wired, sample, repair=repair).verify(entities, self._telling("numeric vectors")))
        if is_whole or regions:
            states = VerifyStates(wired, sample, request.prototypes, repair=repair)
            tables += states.verify(regions, self._telling("regimes"))
        if is_whole:
            texts = VerifyTexts(wired, request.of_texts, repair=repair)
            tables += texts.verify(self._telling("texts"))
            tables += verify_rules(self._wired, tables, repair=repair)
        if not is_whole and not any(each.n_rows for each in tables):
            raise NotFoundError(f"nothing is stored of {', '.join(entities or ())}; data list names what is")
        return VerifyReport(tuple(tables))

    def _telling(self, name: str) -> Callable[[int], None]:
        done = 0

        def tell(n_rows: int) -> None:
            nonlocal done
            done += n_rows
            self._wired.progress(done, None, name)

        return tell

    def _verify_bars(
        self, instruments: Sequence[str] | None, *, is_asked: bool, repair: bool
    ) -> tuple[list[EditedBar], TableReport | None]:
        """Compare bars with the digest that ingest left beside each.

        Return the edited ones of all instruments, for rows are to be compared with what ingest wrote, and the sums over
        those asked for, if any.
        """
        bars = WrittenBars(self._wired.db_manager)
        edited = bars.edited(None)
        if not is_asked:
            return edited, None
        n_rows, n_unknown = bars.counts(instruments)
        report = TableReport(BARS, n_rows, n_rows - n_unknown, n_unknown=n_unknown)
        asked = [each for each in edited if instruments is None or each.instrument_id in instruments]
        kept = [each for each in asked if each.written is not None]
        if kept and repair:
            bars.restore(instruments)
            edited = bars.edited(None)
        if n_unknown and repair:
            report.n_adopted = bars.adopt(instruments)
        report.found([_edited(each) for each in kept], are_healed=repair)
        report.found([_edited(each) for each in asked if each.written is None], are_healed=False)
        return edited, report


def _edited(bar: EditedBar) -> WrongRow:
    """Return what another program made of a bar."""
    key = f"{bar.instrument_id} {bar.trade_date}"
    if bar.written is None:
        way_out = "what it was is not kept; load its file again with ingest prices --replace"
        return WrongRow(BARS, key, "the bar", "edited", "as ingest wrote it", "bar_edited", way_out)
    stored, wanted = (", ".join(str(each[name]) for name in bar.edits) for each in (bar.stored, bar.written))
    return WrongRow(BARS, key, ", ".join(bar.edits), shorten(stored), shorten(wanted), "bar_edited")
