"""Print the macro events and news that mean something like a question."""

from __future__ import annotations

import json
import sys
import textwrap
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from prometheus.core.config import MINILM
from prometheus.scripts import text_embeddings
from prometheus.scripts.terminal import Debug, Json, command_app, new_command, parse_date, print_line, run

if TYPE_CHECKING:
    from prometheus.app.text_search import TextHit

SHOWN_CHARACTERS = 400


class Source(StrEnum):
    """Which texts are searched."""

    macro = "macro"
    news = "news"


def similar_texts(
    query: Annotated[str, typer.Argument(help="What the texts should mean, in words.")],
    as_of: Annotated[str, typer.Option(metavar="DATE", help="Only texts dated up to it and known on it.")],
    k: Annotated[int, typer.Option(help="How many texts.")] = 10,
    source: Annotated[Source | None, typer.Option(help="Only these; both without it.")] = None,
    model_id: Annotated[str | None, typer.Option(help="Whose vectors; needed where there are several.")] = None,
    hf_model_name: text_embeddings.HfModelName = MINILM,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Print the texts known by a date that are nearest in meaning to a question; of equal texts the earliest."""
    from prometheus.app.text_search import TextQuery

    wanted = TextQuery(query, parse_date(as_of), k, None if source is None else source.value, model_id, hf_model_name)
    with command_app() as app:
        report = app.text_search.find(wanted)
    if as_json:
        print_line(json.dumps(report.to_dict()))
    else:
        print_line(f"{report.n_texts:,} texts known on {report.as_of_date}, compared by {report.model_id}")
        print_line("\n".join(_hit_text(hit) for hit in report.hits))
    return 0


def _hit_text(hit: TextHit) -> str:
    text = hit.text
    known = "" if text.known_at is None else f", known {text.known_at:%Y-%m-%d %H:%M}"
    labels = " ".join(part for part in (text.kind, text.place, text.origin) if part)
    body = textwrap.shorten(text.text, SHOWN_CHARACTERS, placeholder=" …")
    return f"{hit.similarity:5.2f}  {text.timestamp:%Y-%m-%d %H:%M}{known}  {labels}\n       {body}"


app = new_command(similar_texts)

if __name__ == "__main__":
    sys.exit(run(app, prog_name="python -m prometheus.scripts.similar_texts"))
