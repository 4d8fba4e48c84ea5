"""Embed news."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from prometheus.scripts import joint, text_embeddings
from prometheus.scripts.options import span_of
from prometheus.scripts.terminal import Debug, Json, command_app, new_command, run


def backfill_text_embeddings(
    as_of: joint.AsOf = None,
    date_range: joint.DateRange = None,
    language: Annotated[str | None, typer.Option(help="Only articles in this language.")] = None,
    limit: text_embeddings.Limit = None,
    model_id: Annotated[str, typer.Option(help="Name the vectors are stored under.")] = "text-fin-general-v1",
    hf_model_name: text_embeddings.HfModelName = text_embeddings.MINILM,
    long_text: text_embeddings.LongText = "mean",
    engine: text_embeddings.Engine = "onnx",
    timezone: text_embeddings.Timezone = "UTC",
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Embed the news of a date or a range, headline and body joined, and store what is new or changed."""
    from prometheus.app.texts import TextRequest

    request = TextRequest(
        span_of(as_of, date_range),
        model_id,
        hf_model_name,
        long_text,
        limit,
        timezone,
        language=language,
        engine=engine,
    )
    with command_app("articles") as application:
        done = application.texts.embed_news(request)
    return text_embeddings.show_run(done, model_id, as_json=as_json)


app = new_command(backfill_text_embeddings)

if __name__ == "__main__":
    sys.exit(run(app, prog_name="python -m prometheus.scripts.backfill_text_embeddings"))
