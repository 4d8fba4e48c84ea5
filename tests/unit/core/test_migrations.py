"""Migration histories, read as files."""

from __future__ import annotations

import pytest
from alembic.script import ScriptDirectory

from prometheus.data.migrations import DATABASE_NAMES, DatabaseName, head_revision, version_table
from prometheus.data.migrations.environment import alembic_config


@pytest.mark.parametrize("database", DATABASE_NAMES)
def test_the_head_read_from_file_names_is_alembics_own(database: DatabaseName) -> None:
    scripts = ScriptDirectory.from_config(alembic_config(database))
    assert scripts.get_heads() == [head_revision(database)]


@pytest.mark.parametrize("database", DATABASE_NAMES)
def test_revisions_are_numbered_from_0001_without_a_gap_and_named_as_their_files(database: DatabaseName) -> None:
    scripts = ScriptDirectory.from_config(alembic_config(database))
    history = list(reversed(list(scripts.walk_revisions())))  # oldest first
    assert [script.revision for script in history] == [f"{number:04}" for number in range(1, len(history) + 1)]
    assert [script.path.rpartition("/")[2].partition("_")[0] for script in history] == [
        script.revision for script in history
    ]
    assert [script.down_revision for script in history] == [None, *(script.revision for script in history[:-1])]


def test_two_histories_can_share_one_database() -> None:
    assert len({version_table(database) for database in DATABASE_NAMES}) == len(DATABASE_NAMES) == 2
