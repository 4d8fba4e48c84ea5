"""Print stored regimes."""

from __future__ import annotations

import csv
import json
import sys
from datetime import date
from typing import Annotated

import typer

from prometheus.scripts.terminal import Debug, Json, command_app, new_command, parse_date, print_line, run

COLUMNS = ("as_of_date", "region", "regime_label", "confidence", "model_id")


def show_regimes(
    region: Annotated[str, typer.Option(help="Region to show.")],
    start: Annotated[str, typer.Option(metavar="DATE", help="First date.")] = "0001-01-01",
    end: Annotated[str, typer.Option(metavar="DATE", help="Last date.")] = "9999-12-31",
    model_id: Annotated[str | None, typer.Option(help="Only this regime model; all of them without it.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the newest so many rows.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Print the stored regimes of a region as CSV, oldest first."""
    first, last = _span(start, end)
    with command_app() as app:
        states = app.regimes.states(region, first, last, model_id)
    rows = [
        (str(state.as_of_date), state.region, state.regime_label.name, state.confidence, state.model_id)
        for state in (states[-limit:] if limit else states)
    ]
    if as_json:
        print_line(json.dumps([dict(zip(COLUMNS, row, strict=True)) for row in rows]))
        return 0
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((day, name, label, f"{confidence:.6f}", model) for day, name, label, confidence, model in rows)
    return 0


def _span(start: str, end: str) -> tuple[date, date]:
    from prometheus.backfill import DateSpan

    span = DateSpan.of_range(parse_date(start), parse_date(end))
    return span.start, span.end


app = new_command(show_regimes)

if __name__ == "__main__":
    sys.exit(run(app, prog_name="python -m prometheus.scripts.show_regimes"))
