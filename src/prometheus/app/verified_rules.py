"""Stored rows that their table would not take today, each named with its way out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from prometheus.app.verified import TableReport, WrongRow
from prometheus.data.postgres.connections import Databases
from prometheus.data.table_rules import BrokenRow, TableRules

_TEXT_TABLES = ("text_embeddings", "text_passages")
_WAYS_OUT = {
    "joint_embeddings": "run backfill_joint_regime_macro_context or backfill_joint_regime_context over its date",
    "series_values": "load the right value with ingest series",
    "price_decisions": "take the decision back with data reopen",
    "stance_heads": "run fit_stance again",
    "text_embeddings": "register its model, and --repair embeds the text again",
    "text_passages": "register its model, and --repair embeds the text again",
}


def verify_rules(databases: Databases, reports: Sequence[TableReport]) -> list[TableReport]:
    """Return the sums of tables with such rows; rows that `reports` name already are not named twice."""
    rules = TableRules(databases)
    known = {(row.table, row.key) for report in reports for row in report.wrong}
    broken = sorted([*rules.broken(), *rules.unsound_joint_rows()], key=lambda row: (row.table, row.rule))
    found = []
    for table, rows in groupby(broken, key=lambda row: row.table):
        wrong = {(table, _spell(row)): _wrong(row) for row in rows}
        left = [row for key, row in wrong.items() if key not in known]
        if left:
            report = TableReport(table, len(left), len(left))
            report.found(left, are_healed=False)
            found.append(report)
    return found


def _spell(row: BrokenRow) -> str:
    if row.table in _TEXT_TABLES:
        source_type, source_id, model_id = row.key[:3]
        return f"{source_type} {source_id} ({model_id})"
    if row.table == "joint_embeddings":
        region, model_id, day = row.key
        return f"{region} ({model_id}) {day}"
    return " ".join(map(str, row.key))


def _wrong(row: BrokenRow) -> WrongRow:
    way_out = _WAYS_OUT.get(row.table, "put it right by hand")
    return WrongRow(row.table, _spell(row), row.rule, "broken", "kept", "rule_broken", way_out)
