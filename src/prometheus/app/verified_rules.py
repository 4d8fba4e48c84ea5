"""Stored rows that their table would not take today, each named with its way out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import groupby
from typing import TYPE_CHECKING

from prometheus.app.joint import JoinTexts
from prometheus.app.verified import TableReport, WrongRow
from prometheus.data.table_rules import BrokenRow, TableRules

if TYPE_CHECKING:
    from prometheus.app.wiring import Wiring

JOINT = "joint_embeddings"
_TEXT_TABLES = ("text_embeddings", "text_passages")
_WAYS_OUT = {
    JOINT: "run backfill_joint_regime_macro_context or backfill_joint_regime_context over its date",
    "series_values": "load the right value with ingest series",
    "price_decisions": "take the decision back with data reopen",
    "stance_heads": "run fit_stance again",
    "text_embeddings": "register its model, and --repair embeds the text again",
    "text_passages": "register its model, and --repair embeds the text again",
}


def verify_rules(wired: Wiring, reports: Sequence[TableReport], *, repair: bool) -> list[TableReport]:
    """Return the sums of tables with such rows; rows that `reports` name already are not named twice.

    With `repair` joint rows are joined anew from their branches.
    """
    rules = TableRules(wired.db_manager)
    known = {(row.table, row.key) for report in reports for row in report.wrong}
    unsound, found = rules.unsound_joint_rows(), []
    left_joint = set(unsound)
    if unsound and repair:
        _join_anew(wired, unsound)
        left_joint = set(rules.unsound_joint_rows())
    broken = sorted([*rules.broken(), *unsound], key=lambda row: (row.table, row.rule))
    for table, rows in groupby(broken, key=lambda row: row.table):
        named = {(table, _spell(row)): row for row in rows}
        new = [row for key, row in named.items() if key not in known]
        if new:
            report = TableReport(table, len(new), len(new))
            is_healed = [table == JOINT and row not in left_joint for row in new]
            for wanted in (True, False):
                chosen = [_wrong(row) for row, healed in zip(new, is_healed, strict=True) if healed is wanted]
                report.found(chosen, are_healed=wanted)
            found.append(report)
    return found


def _join_anew(wired: Wiring, rows: Sequence[BrokenRow]) -> None:
    dates: dict[tuple[str, str], dict[str, set[date]]] = {}
    for region, model_id, day, numeric_model_id in (row.key for row in rows):
        if numeric_model_id is not None:
            dates.setdefault((region, numeric_model_id), {}).setdefault(model_id, set()).add(day)
    for (region, numeric_model_id), by_model in dates.items():
        every = set().union(*by_model.values())
        groups = wired.joint_vectors.groups(region, numeric_model_id, min(every), max(every))
        chosen = [(each, by_model.get(each.model_id, set()) & each.written.keys()) for each in groups]
        JoinTexts(wired).join_anew(region, numeric_model_id, [(each, days) for each, days in chosen if days])


def _spell(row: BrokenRow) -> str:
    if row.table in _TEXT_TABLES:
        source_type, source_id, model_id = row.key[:3]
        return f"{source_type} {source_id} ({model_id})"
    if row.table == JOINT:
        region, model_id, day, _numeric = row.key
        return f"{region} ({model_id}) {day}"
    return " ".join(map(str, row.key))


def _wrong(row: BrokenRow) -> WrongRow:
    way_out = _WAYS_OUT.get(row.table, "put it right by hand")
    return WrongRow(row.table, _spell(row), row.rule, "broken", "kept", "rule_broken", way_out)
