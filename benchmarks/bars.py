"""What the figures of the benchmarks have to reach; ``python -m benchmarks.summary`` prints them beside each other.

A benchmark records its figures by ``recording.record(NAME, settings, figures)``, and each figure that has to reach
something has a line here. The names of nested figures are joined by ``": "``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Bar:
    """A bound of one figure, in the figure's own unit."""

    benchmark: str
    """Of ``benchmarks/results/NAME.json``."""
    figure: str
    side: Literal["at most", "at least"]
    bound: float

    def is_met(self, value: float) -> bool:
        """Whether a figure is on the right side; one equal to the bound is."""
        return value <= self.bound if self.side == "at most" else value >= self.bound

    def __str__(self) -> str:
        return f"{'<=' if self.side == 'at most' else '>='} {self.bound:g}"


BARS = (
    Bar("numeric_backfill", "bare COPY / one worker", "at least", 1.0),
    Bar("numeric_backfill", "bare COPY / one worker, own server", "at least", 0.9),
    Bar("numeric_backfill", "rows, MB per million", "at most", 2_000),
    Bar("numeric_backfill", "WAL kept, MB", "at most", 512),
    Bar("numeric_reruns", "second run / first", "at most", 0.03),
    Bar("numeric_reruns_4m", "again, on the clock", "at most", 1.0),
    Bar("numeric_reruns", "a new day, on the clock", "at most", 2.5),
    Bar("text_reruns", "rerun / first run", "at most", 0.02),
    Bar("joint_backfill", "second run / first, CPU", "at most", 0.03),
    Bar("idle_night", "both, CPU s", "at most", 0.8),
    Bar("regime_labels", "fit of 3,000 sessions, ms", "at most", 6),
    Bar("regime_labels", "evening, ms", "at most", 0.1),
    Bar("market_members", "206 stocks, s of clock", "at most", 20),
    Bar("analog_search", "a new date of 8,564, ms of clock, median", "at most", 10),
    Bar("analog_search", "no index, s of clock, median", "at most", 8),
    Bar("analog_search", "index of 100%, s of clock", "at most", 150),
    Bar("analog_search", "recall@10", "at least", 0.99),
    Bar("text_encoding", "documents, times as fast as sentence-transformers", "at least", 2.3),
    Bar("text_encoding", "news, times as fast as sentence-transformers", "at least", 3),
    Bar("text_encoding", "peak MiB, 100 documents", "at most", 450),
    Bar("startup", "one date / import numpy, psycopg", "at most", 1.9),
    Bar("installed_size", "MB of the base installation", "at most", 560),
    Bar("web_api", "memory with the text model, MiB", "at most", 300),
    Bar("cluster_of_namespaces", "rows that differ", "at most", 0),
)


def bar_of(benchmark: str, figure: str) -> Bar | None:
    """Return what a figure has to reach; None if nothing was set."""
    return next((bar for bar in BARS if (bar.benchmark, bar.figure) == (benchmark, figure)), None)
