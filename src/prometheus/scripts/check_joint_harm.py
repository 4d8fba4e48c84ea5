"""Whether the joint space forecasts volatility worse than the numbers alone."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer

from prometheus.scripts import joint
from prometheus.scripts.terminal import Debug, Json, command_app, new_command, parse_date, print_line, run


class Space(StrEnum):
    """Which texts were joined."""

    macro = "macro"
    news = "news"


def check_joint_harm(
    region: Annotated[str, typer.Option(help="Region whose joint rows are judged.")],
    instrument_id: Annotated[str, typer.Option(help="Instrument whose volatility is forecast.")],
    space: Annotated[Space, typer.Option(help="Joined with macro texts or with news.")] = Space.macro,
    start: Annotated[str, typer.Option(metavar="DATE", help="First date.")] = "0001-01-01",
    end: Annotated[str, typer.Option(metavar="DATE", help="Last date.")] = "9999-12-31",
    model_id: joint.JointModelId = "joint-regime-core-v2",
    numeric_model_id: joint.NumericModelId = "num-regime-core-v1",
    country: Annotated[str | None, typer.Option(help="As the rows were built with.")] = None,
    event_type: Annotated[str | None, typer.Option(help="As the rows were built with.")] = None,
    language: Annotated[str | None, typer.Option(help="As the rows were built with.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Forecast the next month's log volatility from nearest past dates, in the joint space and by numbers alone.

    The joint space passes when the 95 % interval of the difference in R squared lies above -0.02.
    """
    from prometheus.backfill.joint import JointRequest
    from prometheus.backfill.plan import DateSpan
    from prometheus.encoders.joint.examples import REGIME_MACRO, REGIME_NEWS

    chosen = REGIME_MACRO if space is Space.macro else REGIME_NEWS
    filters = {"country": country, "event_type": event_type} if space is Space.macro else {"language": language}
    span = DateSpan.of_range(parse_date(start), parse_date(end))
    request = JointRequest(chosen, region, span, numeric_model_id, "", filters)
    with command_app() as application:
        check = application.joint.check_harm(request, model_id, instrument_id)
    if as_json:
        print_line(json.dumps({**asdict(check), "difference": check.difference, "is_harmless": check.is_harmless}))
    else:
        verdict = "no harm" if check.is_harmless else "harm cannot be ruled out"
        print_line(
            f"{model_id}, {region}: R2 of next-month log volatility over {check.n_forecasts} dates: numeric "
            f"{check.r2_numeric:.3f}, joint {check.r2_joint:.3f}, difference {check.difference:+.3f} "
            f"(95 % interval {check.low:+.3f} to {check.high:+.3f}): {verdict}"
        )
    return 0


app = new_command(check_joint_harm)

if __name__ == "__main__":
    sys.exit(run(app, prog_name="python -m prometheus.scripts.check_joint_harm"))
