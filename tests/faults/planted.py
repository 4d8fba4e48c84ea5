"""The numeric backfill with a bug planted in it: progress is marked before the rows are written.

``python -m tests.faults.planted OPTIONS`` takes the options of the real command. It exists to show that the kill test
would see such a bug.
"""

from __future__ import annotations

import sys

from tests.faults.harness import progress_file

from prometheus.app import wiring
from prometheus.backfill.embeddings import MissingWindows, NumericBackfill
from prometheus.backfill.plan import NumericChunk
from prometheus.cli.runner import application_of, run
from prometheus.core.config import load_config


class MarksTooEarly(NumericBackfill):
    """Believes a file of its own instead of the rows."""

    def read(self, chunk: NumericChunk) -> MissingWindows:
        """Take a marked chunk for done; mark any other before a row of it is written."""
        path = progress_file(load_config().home)
        is_done = path.exists() and chunk.key in path.read_text().splitlines()
        wanted = super().read(chunk)
        if is_done:
            return MissingWindows(wanted.windows.take(slice(0, 0)), wanted.n_wanted, is_new=False, failures=())
        with path.open("a") as file:
            file.write(f"{chunk.key}\n")
        return wanted


def main() -> int:
    """Run the command with the bug in it, in this process alone."""
    vars(wiring)["NumericBackfill"] = MarksTooEarly
    arguments = list(sys.argv[1:])
    arguments[arguments.index("--workers") + 1] = "1"
    return run(application_of("backfill_numeric_embeddings"), arguments, prog_name="planted")


if __name__ == "__main__":
    sys.exit(main())
