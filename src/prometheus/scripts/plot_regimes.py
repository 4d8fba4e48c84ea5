"""Draw an instrument's prices with the regimes of a region behind them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from prometheus.errors import UsageError
from prometheus.scripts.terminal import Debug, command_app, new_command, parse_date, print_line, run


def plot_regimes(
    region: Annotated[str, typer.Option(help="Region whose regimes are the bands.")],
    instrument_id: Annotated[str, typer.Option(help="Instrument whose closes are the line.")],
    output: Annotated[Path, typer.Option(help="PNG file to write.")],
    start: Annotated[str, typer.Option(metavar="DATE", help="First date.")] = "0001-01-01",
    end: Annotated[str, typer.Option(metavar="DATE", help="Last date.")] = "9999-12-31",
    model_id: Annotated[str | None, typer.Option(help="Regime model; may be left out if there is one only.")] = None,
    debug: Debug = False,
) -> int:
    """Write a PNG of the closes over bands that show the regime of each date."""
    first, last = parse_date(start), parse_date(end)
    if last < first:
        raise UsageError(f"--end {last} lies before --start {first}")
    with command_app() as app:
        n_dates = app.regimes.plot(region, instrument_id, first, last, model_id, output)
    print_line(f"wrote {output}: {n_dates} dates")
    return 0


app = new_command(plot_regimes)

if __name__ == "__main__":
    sys.exit(run(app, prog_name="python -m prometheus.scripts.plot_regimes"))
