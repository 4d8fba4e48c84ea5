"""What the text embedding commands share: their options, and how they report."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from prometheus.scripts.terminal import print_line

if TYPE_CHECKING:
    from prometheus.encoders.text import TextCounts

MINILM = "sentence-transformers/all-MiniLM-L6-v2"

HfModelName = Annotated[str, typer.Option(help="A model of the Hugging Face hub, or a local folder.")]
LongText = Annotated[str, typer.Option(help="mean: of all 256-token chunks of a long text; truncate: its first one.")]
Engine = Annotated[str, typer.Option(help="onnx, or torch for any sentence-transformers model (extra: torch).")]
Timezone = Annotated[str, typer.Option(help="In which a timestamp becomes a calendar date.")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most so many texts.")]


def show_run(counts: TextCounts, model_id: str, *, as_json: bool) -> int:
    """Print what a text backfill did."""
    facts = {"model_id": model_id, **asdict(counts), "flags": dict(counts.flags)}
    if as_json:
        print_line(json.dumps(facts))
    else:
        flags = "".join(f", {n} {flag}" for flag, n in sorted(counts.flags.items()))
        print_line(f"{model_id}: {counts.texts} texts, {counts.encoded} encoded, {counts.written} written{flags}")
    return 0
