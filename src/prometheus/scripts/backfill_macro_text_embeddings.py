"""Embed macro events."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from prometheus.core.config import MINILM
from prometheus.scripts import joint, text_embeddings
from prometheus.scripts.backfills import DryRun, RayAddress
from prometheus.scripts.options import span_of
from prometheus.scripts.terminal import Debug, Json, command_app, new_command, run


def backfill_macro_text_embeddings(
    as_of: joint.AsOf = None,
    date_range: joint.DateRange = None,
    country: Annotated[str | None, typer.Option(help="Only events of this country.")] = None,
    event_type: Annotated[str | None, typer.Option(help="Only events of this type.")] = None,
    limit: text_embeddings.Limit = None,
    model_id: Annotated[str, typer.Option(help="Name the vectors are stored under.")] = "text-macro-v1",
    hf_model_name: text_embeddings.HfModelName = MINILM,
    long_text: text_embeddings.LongText = "mean",
    runtime: text_embeddings.Runtime = None,
    timezone: text_embeddings.Timezone = "UTC",
    workers: text_embeddings.Workers = None,
    engine: text_embeddings.Engine = "local",
    ray_address: RayAddress = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Embed the macro events of a date or a range, and store what is new or changed."""
    from prometheus.app.text_work import TextRequest

    choice, chosen = text_embeddings.read_engine(engine, runtime, workers, ray_address, dry_run=dry_run)
    request = TextRequest(
        span_of(as_of, date_range), model_id, hf_model_name, long_text, limit, timezone,
        country=country, event_type=event_type, runtime=chosen,
    )  # fmt: skip
    with command_app("macro events") as application:
        done = application.texts.embed_macro(request, choice)
    return text_embeddings.show_run(done, model_id, as_json=as_json)


app = new_command(backfill_macro_text_embeddings)

if __name__ == "__main__":
    sys.exit(run(app, prog_name="python -m prometheus.scripts.backfill_macro_text_embeddings"))
