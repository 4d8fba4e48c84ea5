"""What each part of a joint space brings: prices, macro numbers and texts, alone and at the shares of `SPACES`.

    python -m benchmarks.joint_spaces
    python -m benchmarks.joint_spaces --constants

Everything is of the packaged sample: closes of GSPC.INDX, the six series, and the facts that tell them once a week, on
whose dates, 2006 to 2023, all is compared (embedding them takes two minutes of a core). Of the ten nearest dates more
than a year away it asks: was the policy rate in the same phase (its change from half a year before to half a year
after: more than a quarter point up, down, or neither), and how far apart were its changes of the next twelve months, in
points? "Past" asks of earlier dates alone. Volatility of the next month is forecast as `check_joint_harm` does it.
Differences are to prices alone, of texts in the place of numbers to v3 with as much of numbers; intervals are of 95 %,
by a circular bootstrap of blocks of half a year, drawn for both spaces together.

The phase shares half a year with the twelve-month change of the policy rate, which is one of the numbers; the change of
the next twelve months is in no vector. ``--constants`` prints means and deviations of the numbers, of the shared files.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq

from benchmarks.described import describe_market, read_bars
from benchmarks.recording import write_result
from prometheus.arrays import DateVector, Float32Matrix, Float64Matrix, Float64Vector, Int64Vector
from prometheus.core import MINILM
from prometheus.encoders.joint.examples import REGIME_MACRO, JointExample
from prometheus.encoders.joint.macro_model import FROZEN_UNTIL, MacroJointModel, Shares
from prometheus.encoders.joint.models import BranchCentres, CentredJointModel, stack_branch, unit_rows
from prometheus.encoders.joint.numbers import CONSTANTS_SOURCE, NUMBERS, SERIES, KnownLevel, MacroNumber, score_numbers
from prometheus.encoders.texts.documents import TextDoc
from prometheus.encoders.texts.onnx_model import OnnxTextEmbeddingModel
from prometheus.encoders.texts.sources import find_text_folder
from prometheus.evaluation.figures import check_harm
from prometheus.ingest.revisions import dated_by_lag
from prometheus.ingest.sample import PRICES
from prometheus.ingest.sample.macro_events import load_macro_levels, sample_column, sample_macro_events

SHARED = Path(__file__).parents[2] / "shared" / "data"
CURVE_COLUMNS = {"2 Yr": "DGS2", "10 Yr": "DGS10"}
SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
"""Of the numbers in v3 without texts; 1 is numbers alone."""
TEXT_SHARES = (0.1, 0.25, 0.4)
"""Of the texts in v3, in the place of numbers: both hold a half."""
CENTRED_WEIGHTS = (0.75, 0.5, 0.0)
"""Of prices in v2: its default, equal weights, and texts alone."""
K = 10
YEAR = np.timedelta64(365, "D")
HALF_YEAR = np.timedelta64(182, "D")
TURN = 0.25
BLOCK, N_RESAMPLES, SEED = 26, 1_000, 20_060_106


PRICES_ALONE = "prices"


class Space(NamedTuple):
    """A space to be judged, its vectors, shape (n_dates, dim), and the space it is compared with."""

    name: str
    vectors: Float64Matrix | Float32Matrix
    against: str = PRICES_ALONE


class Judged(NamedTuple):
    """Means over the ten nearest dates, shape (n_dates,) each; NaN where there are fewer."""

    same: Float64Vector
    gap: Float64Vector


@dataclass(frozen=True, eq=False)
class Sample:
    """Dates with a price, texts and numbers, their sessions in the market's closes, and the daily policy rate."""

    examples: Sequence[JointExample]
    sessions: Int64Vector
    followed: Float64Vector
    rate_days: DateVector
    rates: Float64Vector

    @cached_property
    def dates(self) -> DateVector:
        return np.array([each.as_of_date for each in self.examples], dtype="M8[D]")

    @cached_property
    def prices(self) -> Float64Matrix:
        return stack_branch(self.examples, "numeric")

    def rate_on(self, days: DateVector) -> Float64Vector:
        """Return the policy rate, mean of the fortnight up to a day; NaN past the last."""
        sums = np.concatenate([[0.0], np.cumsum(self.rates)])
        ends = np.searchsorted(self.rate_days, days, side="right")
        return np.where(days > self.rate_days[-1], np.nan, (sums[ends] - sums[ends - 14]) / 14)

    @cached_property
    def phases(self) -> Int64Vector:
        change = self.rate_on(self.dates + HALF_YEAR) - self.rate_on(self.dates - HALF_YEAR)
        return np.where(change > TURN, 1, np.where(change < -TURN, -1, 0))

    @cached_property
    def next_changes(self) -> Float64Vector:
        return self.rate_on(self.dates + YEAR) - self.rate_on(self.dates)

    def judge(self, space: Space, *, is_past: bool) -> Judged:
        """Return what the nearest dates more than a year away, or a year back, have in common with each."""
        wide = space.vectors.astype(np.float64)
        lengths = (wide**2).sum(axis=1)
        distances = lengths[:, np.newaxis] + lengths - 2.0 * wide @ wide.T
        apart = self.dates[:, np.newaxis] - self.dates
        distances[(apart if is_past else np.abs(apart)) <= YEAR] = np.inf
        nearest = np.argsort(distances, axis=1, kind="stable")[:, :K]
        is_judged = np.isfinite(np.take_along_axis(distances, nearest, axis=1)).all(axis=1)
        same = (self.phases[nearest] == self.phases[:, np.newaxis]).mean(axis=1)
        gap = np.abs(self.next_changes[nearest] - self.next_changes[:, np.newaxis]).mean(axis=1)
        return Judged(np.where(is_judged, same, np.nan), np.where(is_judged, gap, np.nan))


def load_sample() -> tuple[Sample, Sequence[JointExample]]:
    """Return the dates that are judged, and those before them, of which v2 takes its means."""
    market = describe_market(*read_bars(PRICES, "GSPC.INDX"))
    session_of = {day: at for at, day in enumerate(market.dates.tolist())}
    texts = {day: vector for day, vector in embed_texts().items() if day in session_of}
    values = sample_values()
    numbers = score_numbers(NUMBERS, values, list(texts)).scores
    scope = REGIME_MACRO.entity_scope("US", {})
    examples = [
        JointExample(REGIME_MACRO.joint_type, day, scope, market.vectors[session_of[day]], text, row)
        for (day, text), row in zip(texts.items(), numbers, strict=True)
    ]
    judged = [each for each, row in zip(examples, numbers, strict=True)
              if each.as_of_date > FROZEN_UNTIL and np.isfinite(row).all()]  # fmt: skip
    past = [each for each in examples if each.as_of_date <= FROZEN_UNTIL]
    sessions = np.array([session_of[each.as_of_date] for each in judged])
    rates = [(day, value) for name, day, _, value in values if name == "DFF"]
    days, levels = np.array([day for day, _ in rates], dtype="M8[D]"), np.array([value for _, value in rates])
    return Sample(judged, sessions, market.followed[sessions], days, levels), past


def sample_values() -> list[KnownLevel]:
    """Return the values of the packaged series, each known when `ingest series` says it was."""
    found = []
    for name in SERIES:
        column = sample_column(name) or ""
        for item in load_macro_levels():
            if column in item.values:
                known = dated_by_lag(name, item.day, timedelta(0)).date()
                found.append((name, item.day, known, item.values[column] / 100))
    return found


def embed_texts() -> dict[date, Float32Matrix]:
    """Return the mean vector of each week's facts, by date."""
    events = list(sample_macro_events())
    docs = [TextDoc("MACRO", str(number), event.description) for number, event in enumerate(events)]
    vectors = OnnxTextEmbeddingModel(find_text_folder(MINILM)).embed_batch(docs)
    days = np.array([event.timestamp.date() for event in events], dtype="M8[D]")
    return {day: vectors[days == np.datetime64(day, "D")].mean(axis=0) for day in sorted({*days.tolist()})}


def spaces_of(sample: Sample, past: Sequence[JointExample]) -> Iterator[Space]:
    """Yield the declared grid, prices alone first."""
    examples = sample.examples
    centres = BranchCentres.fit(past, FROZEN_UNTIL, {"sample": "GSPC.INDX and its facts"})
    yield Space(PRICES_ALONE, sample.prices)
    yield Space("prices, as v2 has them", unit_rows(sample.prices - centres.numeric))
    for weight in CENTRED_WEIGHTS:
        name = f"v2, weight {weight:g}" if weight else "texts"
        yield Space(name, CentredJointModel(centres, weight).embed_batch(examples))
    for share in SHARES:
        name = f"v3, numbers {share:g}" if share < 1.0 else "numbers"
        yield Space(name, MacroJointModel(SERIES, Shares(share)).embed_batch(examples))
    for share in TEXT_SHARES:
        model = MacroJointModel(SERIES, Shares(0.5 - share, share), centres)
        yield Space(f"v3, numbers {0.5 - share:g}, texts {share:g}", model.embed_batch(examples), "v3, numbers 0.5")


def interval(differences: Float64Vector) -> tuple[float, float]:
    """Return the bounds of 95 % of the mean of differences, those that are NaN left out."""
    generator, n = np.random.default_rng(SEED), len(differences)
    starts = generator.integers(0, n, (N_RESAMPLES, -(-n // BLOCK)))
    rows = (starts[:, :, np.newaxis] + np.arange(BLOCK)).reshape(N_RESAMPLES, -1)[:, :n] % n
    low, high = np.quantile(np.nanmean(differences[rows], axis=1), [0.025, 0.975])
    return float(low), float(high)


def measure(sample: Sample, past: Sequence[JointExample]) -> dict[str, float]:
    """Print a line for each space, and return the figures by name."""
    figures: dict[str, float] = {"dates": len(sample.dates)}
    judged: dict[tuple[str, bool], Judged] = {}
    vectors: dict[str, Float64Matrix | Float32Matrix] = {}
    print(f"{'':32}  same phase               gap of rates               past: same, gap       next month R2")
    for space in spaces_of(sample, past):
        cells = []
        vectors[space.name] = space.vectors
        for is_past in (False, True):
            found = sample.judge(space, is_past=is_past)
            judged[space.name, is_past] = found
            for what, ours, theirs in zip(Judged._fields, found, judged[space.against, is_past], strict=True):
                low, high = interval(ours - theirs)
                key = f"{space.name}: {'past ' if is_past else ''}{what}"
                figures |= {key: float(np.nanmean(ours)), f"{key}, low": low, f"{key}, high": high}
                cells.append(f"{np.nanmean(ours):.3f} {np.nanmean(ours - theirs):+.3f} ({low:+.3f}..{high:+.3f})")
        harm = check_harm(vectors[space.against], space.vectors, sample.followed, sample.sessions)
        key = f"{space.name}: R2"
        figures |= {key: harm.r2_joint, f"{key}, low": harm.low, f"{key}, high": harm.high}
        cells.append(f"{harm.r2_joint:.3f} {harm.difference:+.3f} ({harm.low:+.3f}..{harm.high:+.3f})")
        print(f"{space.name:32}  {'  '.join(cells)}")
    return figures


def read_constants(folder: Path) -> tuple[MacroNumber, ...]:
    """Return the numbers with means and deviations of the span before their use, rounded to 4 digits."""
    values = [*_curve(folder / "us_treasury_curve_1990_2020.csv"), *_others(folder / "macro_series_to_2020.parquet")]
    start, end = (date.fromisoformat(CONSTANTS_SOURCE[name]) for name in ("start", "end"))
    dates = sorted({day for series, day, _, _ in values if series == "DGS10" and start <= day <= end})
    plain = [replace(number, mean=0.0, deviation=1.0) for number in NUMBERS]
    raw: Float64Matrix = score_numbers(plain, values, dates).scores
    means, deviations = np.nanmean(raw, axis=0), np.nanstd(raw, axis=0)
    return tuple(
        replace(number, mean=round(float(mean), 4), deviation=round(float(deviation), 4))
        for number, mean, deviation in zip(NUMBERS, means, deviations, strict=True)
    )


def _curve(file: Path) -> Iterator[KnownLevel]:
    with file.open(encoding="utf-8", newline="") as rows:
        for row in csv.DictReader(rows):
            text = row["Date"].replace("-", "/")
            day = datetime.strptime(text, "%m/%d/%Y").date()  # noqa: DTZ007 -- a date has no zone
            for column, name in CURVE_COLUMNS.items():
                if row[column]:
                    yield name, day, day, float(row[column])


def _others(file: Path) -> Iterator[KnownLevel]:
    names = {name: name for name in SERIES if name not in CURVE_COLUMNS.values()} | {"deerfield_dff": "DFF"}
    wanted = [("series_id", "in", list(names)), ("obs_date", ">", "1988"), ("obs_date", "<", "2006")]
    rows = pq.read_table(file, columns=["series_id", "obs_date", "value"], filters=wanted).to_pydict()
    for name, text, value in zip(*rows.values(), strict=True):
        if value:
            day = date.fromisoformat(text)
            yield names[name], day, day, float(value)


def main() -> None:
    """Print the figures and keep them, or print the constants."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--constants", action="store_true")
    parser.add_argument("--try", dest="is_trial", action="store_true", help="keep no result")
    arguments = parser.parse_args()
    if arguments.constants:
        for number in read_constants(SHARED / "macro"):
            print(f"{number.name:36} {number.mean:8.4f} {number.deviation:8.4f}")
        return
    sample, past = load_sample()
    settings = {"k": K, "block": BLOCK, "from": str(sample.dates[0]), "to": str(sample.dates[-1])}
    figures = measure(sample, past)
    if not arguments.is_trial:
        write_result("joint_spaces", settings, figures)


if __name__ == "__main__":
    main()
