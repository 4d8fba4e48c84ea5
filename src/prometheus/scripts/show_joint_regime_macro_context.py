"""List joint embeddings of regimes and macro."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from prometheus.scripts import joint
from prometheus.scripts.terminal import Debug, Json, new_command, run


def show_joint_regime_macro_context(
    region: Annotated[str, typer.Option(help="Region to show.")],
    start: Annotated[str, typer.Option(metavar="DATE", help="First date.")] = "0001-01-01",
    end: Annotated[str, typer.Option(metavar="DATE", help="Last date.")] = "9999-12-31",
    model_id: joint.JointModelId = "joint-regime-core-v1",
    limit: joint.Limit = None,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Print date, model, dimension and length of a region's joint embeddings, oldest first."""
    from prometheus.encoders.joint.examples import REGIME_MACRO

    return joint.show_joint(REGIME_MACRO, region, start, end, model_id, limit, as_json=as_json)


app = new_command(show_joint_regime_macro_context)

if __name__ == "__main__":
    sys.exit(run(app, prog_name="python -m prometheus.scripts.show_joint_regime_macro_context"))
