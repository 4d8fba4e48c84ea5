"""Judge labellers: ours, the rules and peers, and a user's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from prometheus.cli.options import END, Force, TextSource, require_order
from prometheus.cli.parameters import date_option, option
from prometheus.cli.runner import Answer, command, command_app, progress, table
from prometheus.errors import InputRefusedError, UsageError

if TYPE_CHECKING:
    from prometheus.app import App
    from prometheus.app.market_evaluations import MarketsRequest
    from prometheus.evaluation.history import MarketHistory
    from prometheus.evaluation.repaint import RepaintReport
    from prometheus.evaluation.text_gains import Gain
    from prometheus.evaluation.v2 import PanelResult

EXIT_REPAINTED = 3
N_WARM_UP = 252


@command(
    "--region SPX --instrument-id GSPC.INDX",
    "--region US --market-id US_EQ --start 2010-01-01 --end latest",
    "--markets prices --event test",
    latest="prices",
)
def evaluate(
    region: Annotated[
        str, option("Name of the market in tables and pictures; or configured regions, separated by commas.")
    ] = "",
    instrument_id: Annotated[str | None, option("Instrument whose sessions are labelled.")] = None,
    market_id: Annotated[str | None, option("Instead: every instrument of a market, in one table.")] = None,
    markets: Annotated[
        list[Path] | None, option("Instead: every instrument of a file or folder of prices; may be repeated.")
    ] = None,
    warm_up_instrument_id: Annotated[
        str | None, option("Instrument with older bars of the same market, put in front.")
    ] = None,
    start: Annotated[date | None, date_option("First date judged; without it the first that works.")] = None,
    end: Annotated[date | None, date_option("Last date judged; nothing after it is read.")] = None,
    event: Annotated[
        Literal["own", "test"], option("High volatility: the top fifth known on the day, or of the test span.")
    ] = "own",
    vix: Annotated[str | None, option("Instrument whose level is one more peer, such as the VIX.")] = None,
    market_index: Annotated[
        str | None, option("Index of the market, for one more labeller of its members; itself not judged.")
    ] = None,
    labeller: Annotated[list[str] | None, option("Only this labeller; may be repeated.")] = None,
    repaint_every: Annotated[
        int | None, option("Run every N-th session again on data cut there; 1 for all.", min=1)
    ] = None,
    grid: Annotated[bool, option("Walk the declared variants of num-regime-core-v2 too.", "--grid")] = False,
    output_dir: Annotated[Path | None, option("Folder for PNGs of labels, reliability and spread.")] = None,
) -> Answer:
    """Refit every labeller yearly on the past, apply it day by day, and print what it was worth.

    The test span, the event to forecast, the costs and the variants are fixed before anything is run. Of many markets:
    the figures of each, medians, the share won against each peer, and calibration pooled over all.
    """
    from prometheus.app.evaluations import EvaluationRequest
    from prometheus.app.market_evaluations import MarketsRequest

    names = tuple(labeller or ())
    if sum(each is not None for each in (instrument_id, market_id, markets)) > 1 or not (region or markets):
        raise UsageError("give either --instrument-id or --market-id, with --region, or --markets, or --region alone")
    if instrument_id is None:
        if repaint_every is not None or grid or warm_up_instrument_id is not None:
            raise UsageError("--repaint-every, --grid and --warm-up-instrument-id need --instrument-id")
        return _many(
            region, market_id, markets, MarketsRequest(start, end, names, event, vix, market_index), output_dir
        )
    request = EvaluationRequest(
        region, instrument_id, warm_up_instrument_id, start, end, names, repaint_every=repaint_every, has_grid=grid,
        event=event, vix=vix, market_index=market_index,
    )  # fmt: skip
    with command_app("evaluation") as app:
        report = app.evaluations.evaluate(request, output_dir)
    return Answer(report.to_dict, report.to_text)


def _many(
    region: str, market_id: str | None, markets: list[Path] | None, request: MarketsRequest, output_dir: Path | None
) -> Answer:
    from prometheus.app.market_evaluations import draw_pooled, evaluate_files
    from prometheus.evaluation.market_tables import markets_text
    from prometheus.files.pictures import require_picture_folder

    panel: PanelResult | None = None
    if output_dir is not None:
        require_picture_folder(output_dir)
    if markets is not None:
        with progress("markets") as report_progress:
            report = evaluate_files(markets, request, report_progress)
    else:
        with command_app("markets") as app:
            if market_id is None:
                report = app.markets.evaluate_regions([name.strip() for name in region.split(",")], request)
            else:
                panel = _panel(app, market_id, request)
                report = app.markets.evaluate_members(market_id, request)
    if output_dir is not None:
        draw_pooled(report, output_dir)
    return Answer(
        lambda: {**({} if panel is None else panel.to_dict()), "event": request.event, **report.to_dict()},
        lambda: "\n\n".join([*([] if panel is None else [_panel_text(region, panel)]), markets_text(report)]),
    )


def _panel(app: App, market_id: str, request: MarketsRequest) -> PanelResult:
    if request.start is None or request.end is None:
        raise UsageError("--market-id needs --start and --end")
    return app.evaluations.evaluate_panel(market_id, request.start, request.end)


def _panel_text(region: str, panel: PanelResult) -> str:
    values = panel.to_dict()
    worst = sorted(panel.rows, key=lambda row: row.auc - row.auc_of_ewma)[:5]
    behind = ", ".join(f"{row.instrument_id} {row.auc:.3f} {row.auc_of_ewma:.3f}" for row in worst)
    verdict = (
        f"num-regime-core-v2 not worse than EWMA volatility on {panel.share_not_worse:.1%}; "
        f"median AUC {values['median_auc']:.3f} against {values['median_auc_of_ewma']:.3f}"
    )
    judged = f"{region}: {len(panel.rows)} instruments, {len(panel.skipped)} with too little history"
    return "\n".join([judged, verdict, f"furthest behind: {behind}"])


@command(
    "--region US_INDEX --dates crises.csv",
    "--market-id US_EQ --dates fomc.txt --before 5 --after 21 --output fomc.png",
)
def evaluate_events(
    dates: Annotated[Path, option("File of ISO dates, one a line; a second column names them.", metavar="FILE")],
    region: Annotated[str | None, option("Region, or several separated by commas.")] = None,
    market_id: Annotated[str | None, option("Instead: every member of a market that has regimes.")] = None,
    before: Annotated[int, option("Sessions before the event.", min=0)] = 21,
    after: Annotated[int, option("Sessions after the event.", min=0)] = 63,
    model_id: Annotated[str | None, option("Regime model; the one that answers for each region without it.")] = None,
    output: Annotated[Path | None, option("PNG file to write.")] = None,
    force: Force = False,
) -> Answer:
    """See what was stated around given dates, session by session, against dates drawn at random from the same span.

    Probabilities, labels, log return and volatility are those known on each session; sessions that a model learned from
    are left out. Session 0 is the first on or after the date.
    """
    from prometheus.app.event_studies import EventsRequest
    from prometheus.evaluation.event_report import events_text
    from prometheus.evaluation.events import EventWindow
    from prometheus.files.event_dates import read_event_dates

    if (region is None) == (market_id is None):
        raise UsageError("give either --region or --market-id")
    regions = tuple(name.strip() for name in (region or "").split(","))
    request = EventsRequest(regions, read_event_dates(dates), EventWindow(before, after), market_id, model_id)
    with command_app("measures") as app:
        study = app.events.study(request, output, force=force)
    return Answer(study.to_dict, lambda: events_text(study))


@command("--instrument-id AAPL.US", "--instrument-id GSPC.INDX --source macro --json")
def evaluate_texts(
    instrument_id: Annotated[list[str], option("Instrument with prices and linked texts; may be repeated.")],
    source: Annotated[TextSource, option("Macro texts, or news.")] = "news",
    model_id: Annotated[str | None, option("Whose vectors; those of the newest model without it.")] = None,
    timezone: Annotated[
        str, option("In which the instant at which a text became known is a date.", metavar="ZONE")
    ] = "UTC",
) -> Answer:
    """Forecast volatility by HAR and by HAR with texts, walked through the years; print what texts add.

    The grid of text features, horizons, tests and placebos is fixed before anything is run. A text counts for sessions
    after the date on which it became known.
    """
    from prometheus.app.text_evaluations import TextEvaluationRequest

    request = TextEvaluationRequest(tuple(instrument_id), "NEWS" if source == "news" else "MACRO", model_id, timezone)
    with command_app("instruments") as app:
        report = app.text_evaluations.evaluate(request)
    return Answer(report.to_dict, lambda: "\n".join([*report.lines(), *_gain_table(report.gains), report.verdict()]))


def _gain_table(gains: Sequence[Gain]) -> Iterator[str]:
    header = [
        "instrument", "ahead", "texts by", "sessions", "with texts", "HAR R2", "R2 added", "QLIKE added", "MSE ratio",
        "p", "Holm", "least seen", "placebo: mean", "best",
    ]  # fmt: skip
    yield from table([header, *map(_gain_row, gains)])


def _gain_row(gain: Gain) -> list[str]:
    return [
        gain.instrument_id, str(gain.horizon), gain.features, str(gain.n_sessions), str(gain.n_with_texts),
        f"{gain.r2_har:.3f}", f"{gain.gain:+.4f} ({gain.low:+.4f}..{gain.high:+.4f})",
        f"{gain.qlike:+.4f} ({gain.qlike_low:+.4f}..{gain.qlike_high:+.4f})", f"{gain.mse_ratio:.4f}",
        f"{gain.p_value:.3f}", f"{gain.holm:.3f}", f"{gain.least_seen:.4f}", f"{gain.placebo:+.4f}",
        f"{gain.placebo_best:+.4f}",
    ]  # fmt: skip


@command("--labeller my_labeller:label --instrument-id GSPC.INDX --start 2020-01-01", latest="prices")
def check_repaint(
    labeller: Annotated[
        str, option("Called as FUNCTION(dates, closes); one label per session.", metavar="MODULE:FUNCTION")
    ],
    instrument_id: Annotated[str, option("Instrument whose stored adjusted closes are labelled.")],
    start: Annotated[date | None, date_option("First date run again; a year into the history by default.")] = None,
    end: Annotated[date, date_option("Last date run again.")] = END,
    every: Annotated[int, option("Run every N-th session again; 1 for all.", min=1)] = 21,
) -> Answer:
    """Label all stored sessions at once, and past dates again on data cut there; name the labels that differ.

    A label that could have been acted on never changes. Exit code 3 if any did.
    """
    require_order(start, end)
    from prometheus.evaluation.own_labeller import load_labeller
    from prometheus.evaluation.repaint import check_repaint as check

    function = load_labeller(labeller)
    with command_app() as application:
        history = application.evaluations.history(instrument_id)
    positions = _positions(history, start, end)[::every]
    if not positions:
        raise InputRefusedError(
            f"{instrument_id}: none of its {len(history)} sessions, {history.dates[0]} to {history.dates[-1]}, is to "
            f"be run again; give another --start or --end"
        )
    with progress("dates") as report_progress:
        report = check(function, history, positions, report_progress)
    return Answer(
        lambda: {"labeller": labeller, "instrument_id": instrument_id, **report.to_dict()},
        lambda: "\n".join(_repaint_lines(labeller, instrument_id, report)),
        EXIT_REPAINTED if report.n_changed else 0,
    )


def _positions(history: MarketHistory, first: date | None, last: date) -> list[int]:
    import numpy as np

    begin = N_WARM_UP if first is None else history.position_of(np.datetime64(first, "D"))
    end = int(np.searchsorted(history.dates, np.datetime64(last, "D"), side="right"))
    return list(range(begin, end))


def _repaint_lines(labeller: str, instrument_id: str, report: RepaintReport) -> Iterator[str]:
    verdict = "no repaint" if not report.n_changed else "repaints"
    yield (
        f"{labeller}, {instrument_id}: {report.n_checked} dates run again on data cut there, {report.n_changed} labels "
        f"changed ({report.share:.2%}): {verdict}"
    )
    if report.n_changed:
        yield f"{'date':<12}{'then':<20}now"
    for each in report.first_changed:
        yield f"{each.day!s:<12}{each.then:<20}{each.now}"
    if report.n_changed > len(report.first_changed):
        yield f"... and {report.n_changed - len(report.first_changed)} more"
