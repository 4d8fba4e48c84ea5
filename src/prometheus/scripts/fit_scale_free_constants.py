"""Recompute the frozen constants of num-regime-core-v2 from an instrument's history."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from prometheus.scripts.terminal import Debug, command_app, new_command, parse_date, print_line, run


def fit_scale_free_constants(
    instrument_id: Annotated[str, typer.Option(help="Instrument whose past the constants describe.")],
    start: Annotated[str, typer.Option(metavar="DATE", help="First session described.")],
    end: Annotated[str, typer.Option(metavar="DATE", help="Last one; before everything the constants will judge.")],
    output: Annotated[Path, typer.Option(help="JSON file to write.")] = Path("scale_free_constants.json"),
    debug: Debug = False,
) -> int:
    """Write mean and deviation of every descriptor, and print the weights of the volatility score.

    The packaged file is made by this command; another file is another encoder and needs another model id.
    """
    with command_app() as app:
        constants, weights, is_changed = app.calibrations.fit_constants(
            instrument_id, parse_date(start), parse_date(end), output
        )
    print_line(f"{'wrote' if is_changed else 'unchanged:'} {output}: {len(constants.means)} descriptors")
    print_line(f"weights of the volatility score: {json.dumps(weights)}")
    return 0


app = new_command(fit_scale_free_constants)

if __name__ == "__main__":
    sys.exit(run(app, prog_name="python -m prometheus.scripts.fit_scale_free_constants"))
