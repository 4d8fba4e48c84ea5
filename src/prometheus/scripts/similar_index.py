"""Make, check and remove the index of a model's windows."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from prometheus.scripts.terminal import Debug, Json, command_app, new_group, print_line, run

ModelId = Annotated[str, typer.Option(help="Whose windows.")]
DEFAULT = "num-regime-core-v2"

app = new_group("The index that finds similar windows among millions (pgvector, HNSW).")


@app.command()
def build(model_id: ModelId = DEFAULT, as_json: Json = False, debug: Debug = False) -> int:
    """Make the index, or bring it in step with the stored windows."""
    with command_app("windows") as application:
        n_copied, status = application.window_search.build_index(model_id)
    if as_json:
        print_line(json.dumps({"copied": n_copied, **asdict(status)}))
    else:
        print_line(
            f"{model_id}: {n_copied:,} windows copied; {status.n_indexed:,} in the index, {_size(status.n_bytes)}"
        )
    return 0


@app.command()
def status(model_id: ModelId = DEFAULT, as_json: Json = False, debug: Debug = False) -> int:
    """Say what the index holds, and how many windows it is behind."""
    with command_app() as application:
        found = application.window_search.index_status(model_id)
    if as_json:
        print_line(json.dumps(asdict(found)))
    else:
        print_line(
            f"{model_id}: {found.n_indexed:,} windows in the index, {found.n_missing:,} missing or out of step, "
            f"{_size(found.n_bytes)}"
        )
    return 0


@app.command()
def check(
    model_id: ModelId = DEFAULT,
    queries: Annotated[int, typer.Option(min=1, max=10_000, help="Windows to ask for.")] = 100,
    k: Annotated[int, typer.Option(min=1, max=1_000, help="Nearest windows of each.")] = 10,
    at_least: Annotated[float, typer.Option(min=0, max=1, help="Exit with 1 below this recall.")] = 0.9,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Compare what the index finds with the true nearest windows, found by comparing all."""
    with command_app() as application:
        found = application.window_search.check_index(model_id, queries, k)
    if as_json:
        print_line(json.dumps(asdict(found)))
    else:
        print_line(
            f"{model_id}: recall@{found.k} {found.recall:.3f} over {found.n_queries} queries among "
            f"{found.n_windows:,} windows, the worst {found.worst:.2f}"
        )
    return 0 if found.recall >= at_least else 1


@app.command()
def drop(model_id: ModelId = DEFAULT, debug: Debug = False) -> int:
    """Remove the index; no embedding is touched."""
    with command_app() as application:
        was_there = application.window_search.drop_index(model_id)
    print_line(f"{model_id}: {'removed' if was_there else 'there was no index'}")
    return 0


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:,.0f} MiB"


if __name__ == "__main__":
    sys.exit(run(app, prog_name="python -m prometheus similar_index"))
