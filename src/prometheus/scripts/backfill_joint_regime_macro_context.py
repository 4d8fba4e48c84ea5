"""Join regime embeddings with macro texts."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from prometheus.scripts import joint
from prometheus.scripts.backfills import DryRun
from prometheus.scripts.terminal import Debug, Json, new_command, parse_date, run


def backfill_joint_regime_macro_context(
    region: joint.Regions,
    as_of: joint.AsOf = None,
    date_range: joint.DateRange = None,
    text_model_id: Annotated[str, typer.Option(help="Text encoder.")] = "text-macro-v1",
    joint_model_id: joint.JointModelId = "joint-regime-core-v1",
    numeric_model_id: joint.NumericModelId = "num-regime-core-v1",
    country: Annotated[str | None, typer.Option(help="Only events of this country.")] = None,
    event_type: Annotated[str | None, typer.Option(help="Only events of this type.")] = None,
    numeric_weight: joint.NumericWeight = None,
    text_weight: joint.TextWeight = None,
    text_share: joint.TextShare = None,
    centre_until: joint.CentreUntil = None,
    timezone: joint.Timezone = "UTC",
    verbose: joint.Verbose = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Store one joint embedding per region and date that has a regime and macro texts."""
    from prometheus.app.joint import JointModelChoice
    from prometheus.encoders.joint.examples import REGIME_MACRO

    models = JointModelChoice(
        numeric_model_id, text_model_id, joint_model_id, numeric_weight, text_weight, text_share,
        None if centre_until is None else parse_date(centre_until),
    )  # fmt: skip
    filters = {"country": country, "event_type": event_type}
    return joint.backfill_joint(
        REGIME_MACRO,
        region,
        as_of,
        date_range,
        filters,
        models,
        timezone=timezone,
        verbose=verbose,
        dry_run=dry_run,
        as_json=as_json,
    )


app = new_command(backfill_joint_regime_macro_context)

if __name__ == "__main__":
    sys.exit(run(app, prog_name="python -m prometheus.scripts.backfill_joint_regime_macro_context"))
