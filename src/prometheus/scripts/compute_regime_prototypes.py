"""Average stored regime embeddings over calibration windows into a prototype file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prometheus.errors import UsageError
from prometheus.scripts.terminal import Debug, command_app, new_command, parse_date, print_line, run

if TYPE_CHECKING:
    from prometheus.regime.prototypes import CalibrationWindow


def compute_regime_prototypes(
    region: Annotated[str, typer.Option(help="Region whose embeddings are averaged.")],
    output: Annotated[Path, typer.Option(help="JSON file to write.")],
    neutral_start: Annotated[str | None, typer.Option(metavar="DATE", help="First date of the NEUTRAL window.")] = None,
    neutral_end: Annotated[str | None, typer.Option(metavar="DATE", help="Last date of the NEUTRAL window.")] = None,
    crisis_start: Annotated[str | None, typer.Option(metavar="DATE", help="First date of the CRISIS window.")] = None,
    crisis_end: Annotated[str | None, typer.Option(metavar="DATE", help="Last date of the CRISIS window.")] = None,
    window: Annotated[
        list[str] | None, typer.Option(metavar="LABEL=START:END", help="A window for any label; may be repeated.")
    ] = None,
    model_id: Annotated[str, typer.Option(help="Encoder whose embeddings are averaged.")] = "num-regime-core-v1",
    debug: Debug = False,
) -> int:
    """Write the mean regime embedding of each calibration window to a JSON file."""
    pairs = [("NEUTRAL", neutral_start, neutral_end), ("CRISIS", crisis_start, crisis_end)]
    windows = [*_windows_of_flags(pairs), *(_parse_window(text) for text in window or [])]
    if not windows:
        raise UsageError("name a window: --neutral-start/--neutral-end, --crisis-start/--crisis-end or --window")
    with command_app() as app:
        prototypes, n_dates, is_changed = app.regimes.compute_prototypes(region, windows, model_id, output)
    counted = ", ".join(f"{label.name} of {n} dates" for label, n in sorted(n_dates.items()))
    state = "wrote" if is_changed else "unchanged:"
    print_line(f"{state} {output}: {counted}; {prototypes.dim} values each")
    return 0


def _windows_of_flags(pairs: Sequence[tuple[str, str | None, str | None]]) -> list[CalibrationWindow]:
    windows = []
    for label, start, end in pairs:
        if (start is None) != (end is None):
            raise UsageError(f"--{label.lower()}-start and --{label.lower()}-end belong together")
        if start is not None and end is not None:
            windows.append(_window(label, start, end))
    return windows


def _parse_window(text: str) -> CalibrationWindow:
    label, equals, span = text.partition("=")
    start, colon, end = span.partition(":")
    if not (equals and colon):
        raise UsageError(f"--window {text!r} is not LABEL=START:END, such as RISK_OFF=2022-01-01:2022-10-31")
    return _window(label, start, end)


def _window(label: str, start: str, end: str) -> CalibrationWindow:
    from prometheus.regime.prototypes import CalibrationWindow
    from prometheus.regime.types import RegimeLabel

    return CalibrationWindow(RegimeLabel.parse(label), parse_date(start), parse_date(end))


app = new_command(compute_regime_prototypes)

if __name__ == "__main__":
    sys.exit(run(app, prog_name="python -m prometheus.scripts.compute_regime_prototypes"))
