"""The stance of policy texts: fit a head on labels, read stored texts with it, print what they say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import date
from typing import TYPE_CHECKING, Annotated

from prometheus.cli.ingest import ColumnByHand, Encoding, Files, find_files, parse_pairs
from prometheus.cli.options import END, FOUND_TEXTS, START, DryRun, FoundTexts, TextSource, answer_of_run
from prometheus.cli.parameters import date_option, option
from prometheus.cli.runner import Answer, command, command_app, table

if TYPE_CHECKING:
    from prometheus.app.stance import FitReport, StanceSeries

WhichHead = Annotated[str | None, option("Which head; the newest without it.")]


@command("labels.csv --model-id stance-v1", "labels.parquet --model-id fed-v1 --column label=label_name")
def fit_stance(
    files: Files,
    model_id: Annotated[str, option("Name to store the head under; it means one thing for ever.")],
    column: ColumnByHand = None,
    label: Annotated[
        list[str] | None,
        option("What a label means: hawkish, dovish, neutral or skip; may be repeated.", metavar="LABEL=STANCE"),
    ] = None,
    sureness: Annotated[
        float | None, option("Below this probability a sentence is not sure; without it half of the labelled are.")
    ] = None,
    encoding: Encoding = None,
) -> Answer:
    """Fit a head on labelled sentences, judge it block of years by block of years, and store it."""
    from prometheus.app.stance import FitRequest

    sources = find_files(files)
    request = FitRequest(
        sources.paths, model_id, parse_pairs(column, "--column", "FIELD=COLUMN", "text=sentence"),
        parse_pairs(label, "--label", "LABEL=STANCE", "0=dovish"), sureness, encoding,
    )  # fmt: skip
    with command_app("sentences") as app:
        report = app.stance.fit(request)
    notes = [f"note: {note}" for note in (*sources.remarks, *filter(None, [report.warning]))]
    return Answer(report.to_dict, lambda: "\n".join(_fit_lines(report)), notes=notes)


def _fit_lines(report: FitReport) -> Iterator[str]:
    figures = report.figures
    yield report.read
    until = "labels without dates" if report.labels_until is None else f"labels up to {report.labels_until}"
    state = "fitted and stored" if report.is_new else "stored already, unchanged"
    yield f"{report.model_id}: {state}; {until}; a sentence below {report.sureness:.3f} is not sure"
    yield f"judged on what it was not fitted on: {', '.join(figures['folds'])}"
    yield (
        f"F1 {figures['f1']:.3f}, of the surer half {figures['f1_sure']:.3f}; calibration error "
        f"{figures['calibration_error']:.3f}; {figures['coverage']:.0%} sure{_f1_of_sure(figures['f1_covered'])}"
    )
    yield "labels: " + ", ".join(f"{name} {share:.0%}" for name, share in figures["shares"].items())
    if figures["by_bank"]:
        yield "F1 by bank: " + ", ".join(f"{name} {value:.3f}" for name, value in figures["by_bank"].items())


def _f1_of_sure(value: float | None) -> str:
    return "" if value is None else f", their F1 {value:.3f}"


@command("--model-id stance-v1", "--source news --start 2020-01-01 --dry-run")
def backfill_stance(
    model_id: WhichHead = None,
    source: Annotated[TextSource, option("Which texts.")] = "macro",
    start: Annotated[date, date_option("First date of the texts; all without it.")] = START,
    end: Annotated[date, date_option("Last date of the texts; all without it.")] = END,
    dry_run: DryRun = False,
) -> Answer:
    """Read the texts that a head has not read yet, and store how many of their sentences have which stance."""
    with command_app("texts") as app:
        done = app.stance.backfill("MACRO" if source == "macro" else "NEWS", model_id, start, end, dry_run=dry_run)
    report = done.report
    facts = {
        "texts": report.planned, "sentences": report.sentences, "other_language": report.other_language,
        "without_policy": report.silent,
    }  # fmt: skip
    remark = f"; {report.sentences:,} sentences about policy"
    if report.other_language:
        remark += f"; {report.other_language:,} texts not read, they are not English"
    if report.silent:
        remark += f"; {report.silent:,} texts say nothing about policy"
    return answer_of_run(done, facts, f"stance: {report.planned} {source} texts", remark)


@command("--as-of latest --country US", "--as-of 2020-03-15 --from 2020-01-01 --json", latest="texts")
def show_stance(
    as_of: Annotated[date, date_option("Only texts dated up to it and known on it.")],
    source: Annotated[TextSource, option("Which texts.")] = "macro",
    model_id: WhichHead = None,
    found: FoundTexts = FOUND_TEXTS,
) -> Answer:
    """Print the stance of each text known by a date: shares of its sentences about policy, and their net."""
    from prometheus.encoders.texts.documents import TextFilters

    filters = TextFilters(**asdict(found))
    with command_app() as app:
        series = app.stance.series(as_of, "MACRO" if source == "macro" else "NEWS", filters, model_id)
    return Answer(series.to_dict, lambda: "\n".join(_series_lines(series)))


def _series_lines(series: StanceSeries) -> Iterator[str]:
    from prometheus.encoders.stance.shares import DESCRIBES

    until = "labels without dates" if series.labels_until is None else f"labels up to {series.labels_until}"
    yield f"{len(series.rows):,} texts known on {series.as_of_date}, read by {series.model_id} ({until})"
    header = ["date", "text", "bank", "sentences", "hawkish", "dovish", "neutral", "not sure", "net", "main", ""]
    rows = []
    for row in series.rows:
        counts, shares = row.counts, row.counts.shares
        cells = [f"{shares[name]:.0%}" if shares else "-" for name in ("hawkish", "dovish", "neutral", "not_sure")]
        net = "-" if counts.net is None else f"{counts.net:+.2f}"
        mark = "in-sample" if series.is_in_sample(row) else ""
        name, bank = f"{row.source_type}:{row.source_id}", row.origin or row.place or "-"
        rows.append([str(row.day), name, bank, str(counts.n_sentences), *cells, net, counts.main or "-", mark])
    yield from table([header, *rows])
    yield DESCRIBES
