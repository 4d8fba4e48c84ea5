"""The frozen paths ``prometheus.scripts.NAME``, one per command of `prometheus.cli`, made on import (ADR-0018)."""

import sys
from collections.abc import Sequence
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from prometheus.cli import COMMANDS

SOURCE = """\
from prometheus.cli.{family} import {name}
from prometheus.cli.runner import application_of, run

app = application_of("{name}")

if __name__ == "__main__":
    raise SystemExit(run(app, prog_name="python -m {path}"))
"""


class CommandModules(MetaPathFinder, InspectLoader):
    """Finds and loads the module of each command in the table."""

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        """Return the module's spec; None for the name of no command."""
        package, _, name = fullname.rpartition(".")
        return ModuleSpec(fullname, self) if package == __name__ and name in COMMANDS else None

    def get_source(self, fullname: str) -> str:
        """Return the lines that the module consists of."""
        name = fullname.rpartition(".")[2]
        return SOURCE.format(family=COMMANDS[name][0], name=name, path=fullname)


sys.meta_path.append(CommandModules())
