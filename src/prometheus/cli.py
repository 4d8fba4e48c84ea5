"""The umbrella command: ``python -m prometheus COMMAND``, importing only the command that is asked for."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from prometheus import __version__

COMMANDS = {
    "demo": "run the whole pipeline on the packaged sample",
    "ingest": "load prices, instruments, macro events or news from files",
    "data": "report on what is loaded",
    "backfill_numeric_embeddings": "embed the windows of many instruments",
    "run_numeric_regime": "compute the regime of a region",
    "compute_regime_prototypes": "average embeddings over calibration windows",
    "calibrate": "find prototypes in a market's own past",
    "show_regimes": "print stored regimes",
    "show_regime_transitions": "print the transition matrix",
    "plot_regimes": "draw prices with regime bands",
    "backfill_macro_text_embeddings": "embed macro events",
    "backfill_text_embeddings": "embed news",
    "backfill_joint_regime_macro_context": "join regimes with macro texts",
    "backfill_joint_regime_context": "join regimes with news",
    "check_joint_harm": "compare forecasts of the joint and the numeric space",
    "show_joint_regime_macro_context": "print joint embeddings of regimes and macro texts",
    "show_joint_regime_context": "print joint embeddings of regimes and news",
    "similar": "find past dates that looked like one, and what followed",
    "similar_texts": "find texts by meaning",
    "similar_index": "make and check the index of similar windows",
    "nightly": "bring every configured region up to date",
    "evaluate": "judge labellers under one causal protocol",
    "check_repaint": "see whether a labeller of your own changes what it said",
    "fit_scale_free_constants": "recompute the frozen constants of num-regime-core-v2",
    "config": "print every setting and where it came from",
    "serve": "show the page and answer the API",
    "db": "migrate, inspect and stop the databases",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command named first and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(_help())
        return 0
    name = arguments[0].replace("-", "_")
    if arguments[0] == "--version":
        sys.stdout.write(f"prometheus-regime {__version__}\n")
        return 0
    if name not in COMMANDS:
        sys.stderr.write(f"error: unknown command {arguments[0]!r}; known: {', '.join(COMMANDS)}\n")
        return 2
    from prometheus.scripts.terminal import run_named  # noqa: PLC0415 -- the list of commands needs no Typer

    return run_named(name, arguments[1:])


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name.ljust(width)}  {text}" for name, text in COMMANDS.items()]
    return "\n".join([
        "Usage: python -m prometheus COMMAND [OPTIONS]",
        "",
        "Which regime is each market in: point-in-time embeddings and regimes in PostgreSQL.",
        "",
        *lines,
        "",
        "Each command explains itself: python -m prometheus COMMAND --help",
        "",
    ])  # fmt: skip
