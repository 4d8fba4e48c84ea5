"""From files of prices to regimes, pictures and the page, in one command."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from prometheus.cli import operations
from prometheus.cli.ingest import CHECKS, PRICE_FORM, Checks, Files, PriceForm, find_files, notes_of, summary
from prometheus.cli.options import REGIMES_FOLDER
from prometheus.cli.parameters import date_option, given_options, option
from prometheus.cli.runner import Answer, command, command_app, table
from prometheus.spelling import spell_chance

if TYPE_CHECKING:
    from prometheus.app.quick import QuickRegion, QuickReport

N_FINDINGS_SHOWN = 3
COLUMNS = ("region", "label", "sure", "volatile", "since", "as of", "learned until", "sessions", "findings")


@command("prices.csv", "closes.xlsx --until 2015-12-31 --folder desk --serve")
def quick(
    files: Files,
    until: Annotated[
        date | None,
        date_option("Last date to learn from; without it about half of each history.", "--until", "--end"),
    ] = None,
    folder: Annotated[Path, option("Where prototypes, pictures and regions.toml go; it is made.")] = REGIMES_FOLDER,
    serve: Annotated[bool, option("Then serve the page, until Ctrl-C.", "--serve")] = False,
    form: PriceForm = PRICE_FORM,
    checks: Checks = CHECKS,
) -> Answer:
    """Load prices, check them, learn each market's regimes from its first part, label the rest, and draw it.

    Every instrument of the files becomes a region of its name. It prints the commands that it stands for.
    """
    from prometheus.app.quick import QuickRequest

    sources = find_files(files)
    request = QuickRequest(sources.paths, form.options(checks), folder, until)
    with command_app("instruments") as app:
        report = app.quick.run(request)
    found = {f"note: {finding}" for each in report.labelled for finding in each.findings}  # they stand in the answer
    notes = [
        *(note for note in notes_of(report.loaded, sources.remarks) if note not in found),
        *(f"failed: {each.failure}" for each in report.failures),
        *(f"{each.instrument_id}: {warning}" for each in report.labelled for warning in each.warnings),
    ]
    load = shlex.join(["ingest", "prices", *map(str, files), *given_options(form), *given_options(checks)])
    answer = Answer(report.to_dict, lambda: "\n".join(_lines(report, load)), report.exit_code, notes)
    if not serve or not report.labelled:
        return answer
    answer.show(as_json=False)
    sys.stdout.flush()
    operations.serve()
    return Answer(report.to_dict, lambda: f"{len(report.labelled)} regions are stored", report.exit_code)


def _lines(report: QuickReport, load: str) -> Iterator[str]:
    labelled = report.labelled
    yield summary(report.loaded)
    if not labelled:
        return
    yield from table([COLUMNS, *map(_row, labelled)])
    for each in labelled:
        yield from (f"finding: {finding}" for finding in each.findings[:N_FINDINGS_SHOWN])
        if len(each.findings) > N_FINDINGS_SHOWN:
            yield f"finding: {each.instrument_id}: {len(each.findings) - N_FINDINGS_SHOWN} more; see data check"
    pictures = [str(each.picture) for each in labelled if each.picture is not None]
    yield f"pictures: {pictures[0]}{_and_more(pictures)}" if pictures else "no pictures: matplotlib is not installed"
    first = labelled[0]
    yield f"page: python -m prometheus serve, then http://127.0.0.1:{operations.DEFAULT_PORT}{first.path}"
    yield f"every evening: PROMETHEUS_REGIONS_FILE={report.regions_file} python -m prometheus nightly"
    yield "the same in longer commands:"
    yield f"  python -m prometheus {load}"
    yield "  python -m prometheus data check"
    yield from (f"  python -m prometheus {line}" for line in first.commands())
    if labelled[1:]:
        yield f"  and the last {len(first.commands())} so for each other region; --json prints them"


def _row(region: QuickRegion) -> tuple[str, ...]:
    high = "-" if region.high_volatility is None else spell_chance(region.high_volatility)
    days = (region.since, region.last, region.until)
    counts = (f"{region.n_sessions:,}", str(len(region.findings)))
    return (region.instrument_id, region.label, spell_chance(region.confidence), high, *map(str, days), *counts)


def _and_more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if names[1:] else ""
