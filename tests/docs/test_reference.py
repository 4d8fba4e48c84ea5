"""The reference agrees with the code: tables with the schema, settings with their fields, generated parts with it."""

from __future__ import annotations

import importlib.util
import re
from types import ModuleType

import pytest
from tests.docs.pages import ROOT

from prometheus.cli import COMMANDS
from prometheus.core.config import PrometheusConfig
from prometheus.core.database import DatabaseManager
from prometheus.data.migrations import DATABASE_NAMES

REFERENCE = ROOT / "docs" / "reference"


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generated_pages", ROOT / "docs" / "hooks" / "generated_pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def documented_tables() -> dict[tuple[str, str], tuple[list[tuple[str, str]], list[str]]]:
    """Return columns, with their types, and key of each table, as the page has them."""
    text = (REFERENCE / "tables.md").read_text(encoding="utf-8")
    tables = {}
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        database = part.split()[0]
        for table in part.split("\n### ")[1:]:
            columns = re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", table, re.MULTILINE)
            key = re.search(r"Key: (.*?)[.;]", table)
            assert key is not None, table
            tables[database, table.split()[0]] = (columns, re.findall(r"`(\w+)`", key[1]))
    return tables


def test_the_tables_are_those_of_the_schema(db_manager: DatabaseManager) -> None:
    found = {}
    for database in DATABASE_NAMES:
        with db_manager._connect(database) as connection:
            rows = connection.execute(
                """
                SELECT table_name, column_name,
                       data_type || CASE is_nullable WHEN 'YES' THEN ', may be null' ELSE '' END
                FROM information_schema.columns WHERE table_schema = 'public' AND table_name NOT LIKE 'alembic%'
                ORDER BY table_name, ordinal_position
                """
            ).fetchall()
            keys: dict[str, list[str]] = dict(
                connection.execute(
                    """
                    SELECT c.conrelid::regclass::text, array_agg(a.attname::text ORDER BY k.at) FROM pg_constraint AS c
                    CROSS JOIN LATERAL unnest(c.conkey) WITH ORDINALITY AS k (number, at)
                    JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = k.number
                    WHERE c.contype = 'p' AND c.connamespace = 'public'::regnamespace GROUP BY 1
                    """
                ).fetchall()
            )
        for table in {row[0] for row in rows}:
            found[database, table] = ([(row[1], row[2]) for row in rows if row[0] == table], keys[table])

    assert documented_tables() == found


def test_the_settings_page_has_every_setting_with_its_meaning_and_default(hook: ModuleType) -> None:
    rows = re.findall(r"^\| `PROMETHEUS_(\w+)` \| ([^|]+) \| (.*?) \|$", hook.settings_table(), re.MULTILINE)
    fields = PrometheusConfig.model_fields
    assert [name.lower() for name, _, _ in rows] == list(fields)
    for name, meaning, default in rows:
        assert meaning == fields[name.lower()].description
        assert default.strip("`") == (str(fields[name.lower()].default) if default else "")
    assert ("EMBEDDED_IDLE_MINUTES", "idle minutes before the embedded server stops", "`30.0`") in rows
    assert ("HF_MODEL_NAME", "`sentence-transformers/all-MiniLM-L6-v2`") in [(name, given) for name, _, given in rows]


def test_each_generated_part_is_asked_for_by_one_page_and_told_by_no_other(hook: ModuleType) -> None:
    pages = {path.name: path.read_text(encoding="utf-8") for path in REFERENCE.glob("*.md")}
    asked = [part for text in pages.values() for part in re.findall(r"<!-- generated: (\w+) -->", text)]
    assert sorted(asked) == sorted(hook.PARTS)
    written = (ROOT / "docs").rglob("*.md")
    assert [
        path.name for path in written if re.search(r"^\| `PROMETHEUS_", path.read_text("utf-8"), re.MULTILINE)
    ] == []


def test_the_commands_page_has_the_help_of_every_command_in_one_width(hook: ModuleType) -> None:
    text = hook.command_pages()
    assert re.findall(r"^## (\w+)$", text, re.MULTILINE) == list(COMMANDS)
    assert "### db upgrade" in text
    assert text.count("Usage: python -m prometheus") == text.count("```text")
    assert max(map(len, text[text.index("\n## ") :].splitlines())) <= 82
    assert re.findall(r"^\| \[`(\w+)`\]\(#\w+\) \| (.+) \|$", text, re.MULTILINE) == [
        (name, said) for name, (_, said) in COMMANDS.items()
    ]


def test_the_exit_codes_page_has_every_error(hook: ModuleType) -> None:
    table = hook.error_table()
    assert "| `UsageError` | 2 |  | The request contradicts itself" in table
    assert "| `DatabaseUnreachableError` | 4 | yes |" in table
    pages = (REFERENCE / "exit-codes.md").read_text(encoding="utf-8")
    for code in set(re.findall(r"\| (\d) \|", table)):
        assert f"| {code} |" in pages


def test_what_a_browser_would_load_from_elsewhere_is_found(hook: ModuleType) -> None:
    assert hook.foreign_addresses('<a href="https://a.example">x</a><link rel="canonical" href="https://b">') == []
    assert hook.foreign_addresses('<script src="//cdn.example/x.js"></script>') == ["//cdn.example/x.js"]
    assert hook.foreign_addresses('<link rel="stylesheet" href="https://f.example/a.css">') == [
        "https://f.example/a.css"
    ]


def test_the_site_is_strict_and_loads_no_fonts() -> None:
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert re.search(r"^strict: true$", settings, re.MULTILINE)
    assert re.search(r"^  font: false$", settings, re.MULTILINE)
    assert "anchors: warn" in settings
