"""Look at the settings."""

from __future__ import annotations

import json
import os
import sys

from prometheus.core.config import load_config
from prometheus.scripts.terminal import Debug, Json, logger, new_group, print_line, run

app = new_group("Print every setting and where it came from.")


@app.callback()
def config() -> None:
    """Print every setting and where it came from."""


@app.command()
def show(as_json: Json = False, debug: Debug = False) -> int:
    """Print every setting, its value, and what set it; no database is asked, and no secret is shown."""
    from prometheus.core.provenance import describe_server, explain_settings, to_text, unknown_variables

    loaded = load_config()
    settings, server = explain_settings(loaded, os.environ), describe_server(loaded, os.environ)
    for name in unknown_variables(os.environ):
        logger.warning("%s is no setting of this version", name)
    if as_json:
        facts = {setting.name: {"value": setting.value, "source": setting.source} for setting in settings}
        print_line(json.dumps({"server": server, "settings": facts}, allow_nan=False))
        return 0
    width = max(len(setting.name) for setting in settings)
    print_line(f"{'server'.ljust(width)}  {server}")
    for setting in settings:
        print_line(f"{setting.name.ljust(width)}  {to_text(setting.value)}  ({setting.source})")
    return 0


if __name__ == "__main__":
    sys.exit(run(app, prog_name="python -m prometheus config"))
