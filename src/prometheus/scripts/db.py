"""Look after the databases."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from prometheus.core.config import load_config
from prometheus.scripts.terminal import Debug, Json, command_app, logger, new_group, print_line, run

if TYPE_CHECKING:
    from prometheus.app.databases import DatabaseManager

app = new_group("Migrate, inspect and stop the databases.")


@app.command()
def upgrade(debug: Debug = False) -> int:
    """Bring both databases to the newest schema."""
    with command_app() as application:
        changes = application.db_manager.upgrade()
    for database, (before, after) in changes.items():
        state = "is up to date" if before == after else f"upgraded from {before or 'nothing'}"
        print_line(f"{database}: schema {after}, {state}")
    return 0


@app.command()
def status(as_json: Json = False, debug: Debug = False) -> int:
    """Say which server is used, whether it runs, and which schema the databases have; starts nothing."""
    with command_app() as application:
        facts = _facts(application.db_manager)
    if as_json:
        print_line(json.dumps(facts))
    else:
        for name, value in facts.items():
            print_line(f"{name}: {value}")
    return 0


@app.command()
def stop(debug: Debug = False) -> int:
    """Stop the embedded server."""
    config = load_config()
    if not config.uses_embedded_server:
        print_line("the databases are on a server of your own; nothing to stop")
        return 0
    from prometheus.app.databases import DatabaseManager

    was_running = DatabaseManager(config, announce=logger.info).embedded_server.stop()
    print_line("stopped" if was_running else "was not running")
    return 0


def _facts(db_manager: DatabaseManager) -> dict[str, Any]:
    facts: dict[str, Any] = {"server": "your own"}
    if db_manager.config.uses_embedded_server:
        embedded = db_manager.embedded_server.status()
        facts = {"server": "embedded", "state": embedded.state, "data_directory": str(embedded.data_directory)}
        if embedded.state != "running":
            return facts
        facts |= {"pid": embedded.pid, "socket_directory": str(embedded.socket_directory)}
    for database, found in db_manager.schema_revisions().items():
        wanted = db_manager.newest_revision(database)
        facts[f"{database}_schema"] = found or "none"
        facts[f"{database}_is_current"] = found == wanted
    return facts


if __name__ == "__main__":
    sys.exit(run(app, prog_name="python -m prometheus db"))
