"""One table of every figure that has to reach something: before, now, its bar, and whether it is met.

Run ``python -m benchmarks.summary``; ``make bench`` ends with it. It reads what the benchmarks recorded in
``benchmarks/results`` and measures nothing. ``before`` is the newest committed result that differs from the present
one, or that of ``--before COMMIT``. A figure that no run recorded is listed as not measured.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bars import BARS, Bar
from benchmarks.recording import RESULTS

NOT_MEASURED, MET, MISSED = "not measured", "met", "MISSED"
Figures = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Line:
    """A bar, and its figure in an earlier and in the present result; None where a result lacks it."""

    bar: Bar
    before: float | None
    now: float | None

    @property
    def verdict(self) -> str:
        """What the present figure is to its bar."""
        if self.now is None:
            return NOT_MEASURED
        return MET if self.bar.is_met(self.now) else MISSED


def main() -> None:
    """Print the table, and where the results are from."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", metavar="COMMIT", help="compare with the results of this commit")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results; default: %(default)s")
    arguments = parser.parse_args()
    names = sorted({bar.benchmark for bar in BARS})
    documents = {name: read_result(arguments.results / f"{name}.json") for name in names}
    earlier = {name: earlier_result(name, documents[name], arguments.before) for name in names}
    lines = [
        Line(
            bar,
            figures_of(earlier[bar.benchmark]).get(bar.figure),
            figures_of(documents[bar.benchmark]).get(bar.figure),
        )
        for bar in BARS
    ]
    print("\n".join(to_table(lines)))
    print("\n".join(origins(documents)))


def read_result(path: Path) -> dict[str, object]:
    """Return a recorded result; empty if there is none."""
    return json.loads(path.read_text()) if path.is_file() else {}


def earlier_result(name: str, present: Mapping[str, object], commit: str | None) -> dict[str, object]:
    """Return a committed result of a benchmark; empty if there is none, or no repository."""
    path = f"results/{name}.json"
    for each in [commit] if commit else _git("log", "--format=%H", "--", path).split():
        shown = _git("show", f"{each}:./{path}")
        found: dict[str, object] = json.loads(shown) if shown else {}
        if commit or found.get("figures") != present.get("figures"):
            return found
    return {}


def figures_of(document: Mapping[str, object]) -> Figures:
    """Return the numbers of a result by name; names of nested ones are joined."""
    found = document.get("figures")
    return dict(_flat("", found)) if isinstance(found, Mapping) else {}


def _flat(prefix: str, figures: Mapping[str, object]) -> Iterator[tuple[str, float]]:
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix}{name}: ", value)
        elif isinstance(value, int | float):
            yield f"{prefix}{name}", value


def to_table(lines: Sequence[Line]) -> list[str]:
    """Return the table as lines of text, and how many bars are met."""
    rows = [("benchmark", "figure", "before", "now", "bar", "")]
    rows += [
        (line.bar.benchmark, line.bar.figure, _shown(line.before), _shown(line.now), str(line.bar), line.verdict)
        for line in lines
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    table = [
        "  ".join(
            cell.rjust(width) if column in {2, 3, 4} else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    verdicts = [line.verdict for line in lines]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict.lower()}" for verdict in (MET, MISSED, NOT_MEASURED))
    return [*table, f"{len(lines)} bars: {counts}"]


def origins(documents: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Return a line for each result: when, of which commit, and how busy the machine was."""
    lines = []
    for name, document in documents.items():
        machine = document.get("machine")
        if isinstance(machine, Mapping):
            lines.append(
                f"{name}: {document['taken_at']}, commit {document['commit']}, {machine['processor']}, "
                f"{machine['cores']} cores, load {machine['load_before']}"
            )
    return lines


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False, cwd=RESULTS.parent)
    return done.stdout.strip() if done.returncode == 0 else ""


if __name__ == "__main__":
    main()
