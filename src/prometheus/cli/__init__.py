"""The umbrella command ``python -m prometheus COMMAND``, and the one table of commands (ADR-0018)."""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Sequence

from prometheus import __version__
from prometheus.cli import streams
from prometheus.spelling import nearest, shortened

# A command is born importing modules, all of which stay: looking through them for garbage is a tenth of its start,
# and looking once more as it ends is another.
gc.set_threshold(200_000)
atexit.register(gc.freeze)

COMMANDS = {
    "quick": ("quick", "bring files of prices to regimes, pictures and a page in one go"),
    "demo": ("demo", "run the whole pipeline on the packaged sample"),
    "ingest": ("ingest", "load prices, instruments, series, macro events or news from files"),
    "data": ("data", "report on what is loaded, decide of faults, take it out again"),
    "instruments": ("instruments", "list instruments; tell which were renamed or ended"),
    "calendar": ("instruments", "tell on which days a market was closed"),
    "backfill_numeric_embeddings": ("embeddings", "embed the windows of many instruments"),
    "run_numeric_regime": ("embeddings", "compute the regime of a region"),
    "compute_regime_prototypes": ("regimes", "average embeddings over calibration windows"),
    "calibrate": ("calibration", "find prototypes in a market's own past"),
    "show_regimes": ("regimes", "print stored regimes"),
    "show_regime_transitions": ("regimes", "print the transition matrix"),
    "record": ("record", "verify, show and score what was said of each session when it was new"),
    "plot_regimes": ("regimes", "draw prices with regime bands"),
    "report": ("regimes", "write the page of a region and date as one file, fit to be sent"),
    "backfill_macro_text_embeddings": ("embeddings", "embed macro events"),
    "backfill_text_embeddings": ("embeddings", "embed news"),
    "backfill_joint_regime_macro_context": ("joint", "join regimes with macro texts"),
    "backfill_joint_regime_context": ("joint", "join regimes with news"),
    "check_joint_harm": ("joint", "compare forecasts of the joint and the numeric space"),
    "show_joint_regime_macro_context": ("joint", "print joint embeddings of regimes and macro texts"),
    "show_joint_regime_context": ("joint", "print joint embeddings of regimes and news"),
    "similar": ("search", "find past dates that looked like one, and what followed"),
    "similar_texts": ("search", "find texts like a question"),
    "similar_index": ("search", "make and check the index of similar windows"),
    "fit_stance": ("stance", "fit a head that tells hawkish from dovish on labelled sentences"),
    "backfill_stance": ("stance", "read the stance of stored texts with a fitted head"),
    "show_stance": ("stance", "print the stance of texts known by a date"),
    "nightly": ("operations", "bring every configured region up to date"),
    "runs": ("runs", "list the last nights: how each ended, what it wrote and what it left out"),
    "runs_show": ("runs", "tell all of one night: rows by table, and what was left out and why"),
    "alerts": ("alerts", "send, test and list alerts of the nightly run"),
    "evaluate": ("evaluation", "judge labellers under one causal protocol"),
    "evaluate_events": ("evaluation", "see what was stated around given dates"),
    "evaluate_texts": ("evaluation", "see whether texts improve forecasts of volatility over HAR"),
    "check_repaint": ("evaluation", "see whether a labeller of your own changes what it said"),
    "fit_scale_free_constants": ("calibration", "recompute the frozen constants of num-regime-core-v2"),
    "config": ("operations", "print every setting and where it came from"),
    "serve": ("operations", "show the page and answer the API"),
    "mcp": ("operations", "answer language models over standard input and output"),
    "models": ("models", "install, list and verify the files of text models"),
    "completion": ("completion", "print a script that completes commands in bash, zsh or fish"),
    "db": ("databases", "migrate, inspect, check and stop the databases"),
}
"""Name of each command: the module of this package that holds it, and what it does."""
EXAMPLES = ("quick prices.csv", "show_regimes --region AAPL.US --explain", "serve --open")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command named first and return its exit code."""
    return streams.until_shown(lambda: _run(argv))


def _run(argv: Sequence[str] | None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(_help())
        return 0
    if arguments[0] == "--version":
        sys.stdout.write(f"prometheus-regime {__version__}\n")
        return 0
    name, rest = arguments[0].replace("-", "_"), arguments[1:]
    if rest and f"{name}_{rest[0]}" in COMMANDS:  # such as: evaluate events
        name, rest = f"{name}_{rest[0]}", rest[1:]
    if name not in COMMANDS:
        near = ", ".join(nearest(name, COMMANDS))
        way_out = f"the nearest: {near}" if near else "python -m prometheus --help lists all"
        streams.complain(shortened(f"error: unknown command {arguments[0]!r}; {way_out}"))
        return 2
    from prometheus.cli.runner import run_named

    return run_named(name, rest)


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name.ljust(width)}  {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join([
        "Usage: python -m prometheus COMMAND [OPTIONS]",
        "",
        "Which regime is each market in: point-in-time embeddings and regimes in PostgreSQL.",
        "",
        *lines,
        "",
        "Examples:",
        *(f"  python -m prometheus {each}" for each in EXAMPLES),
        "",
        "Dates are written YYYY-MM-DD, today or latest: the newest one stored of what is asked.",
        "Each command explains itself: python -m prometheus COMMAND --help",
        "",
    ])  # fmt: skip
