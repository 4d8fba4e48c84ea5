"""Kills of driver, worker, backend, postmaster and supervisor at random moments of every command that writes.

Run ``python -m benchmarks.kills --n 300 --seed 1``. Each kill falls into a real command on an embedded server of its
own; then the command is run again, and what is stored is compared with an undisturbed run, row by row. Figures are
counts and seconds; the bar is that nothing is lost, and that every run whose driver lived ends well by itself. With
``--resume`` it goes on from the kills in ``benchmarks/results/kills.json``, so pieces add up.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import cycle, islice
from pathlib import Path

from tests.faults.killing import Kill, kill_once, undisturbed, victims_of
from tests.faults.workloads import Ground, workloads
from tests.fixtures.embedded_homes import SCRATCH, Driver
from tests.fixtures.receivers import receiving

from benchmarks.recording import RESULTS, write_result

NAME = "kills"
EARLIEST, LATEST = 0.15, 0.95
"""Shares of a run's duration: before the first, Python starts, and after the last there is hardly anything to kill."""
ATTEMPTS = 10
"""A victim that is not there yet, or not any longer, is tried for at another moment."""


def main() -> None:
    """Kill, print the table, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=300, help="kills; default: %(default)s")
    parser.add_argument("--seed", type=int, default=1)
    small = sorted(name for name in workloads() if name != "first fill")  # which writes a hundred thousand rows
    parser.add_argument("--commands", nargs="+", default=small, choices=sorted(workloads()))
    parser.add_argument("--resume", action="store_true", help="go on from the kills that are kept")
    parser.add_argument("--try", dest="is_trial", action="store_true", help="keep no result")
    arguments = parser.parse_args()
    done = kept_kills(arguments.seed) if arguments.resume else []
    settings = {"seed": arguments.seed, "commands": arguments.commands}
    for kill in kills(arguments.commands, arguments.n, arguments.seed, done):
        done.append(kill)
        print(line(kill), flush=True)
        if not arguments.is_trial:
            keep(settings, done)
    print("\n".join(to_table(done)))
    sys.exit(0 if all(each.is_sound for each in done) else 1)


def kept_kills(seed: int) -> list[Kill]:
    """Return the kills of earlier pieces with the same seed."""
    path = RESULTS / f"{NAME}.json"
    document = json.loads(path.read_text()) if path.is_file() else {}
    if document.get("settings", {}).get("seed") != seed:
        return []
    return [Kill(**each) for each in document["settings"]["kills"]]


def kills(commands: Sequence[str], n: int, seed: int, done: Sequence[Kill]) -> Iterator[Kill]:
    """Yield the kills that are left of the first `n`: the pairs of command and victim in turn, at seeded moments."""
    all_of = workloads()
    pairs = [(command, victim) for command in commands for victim in victims_of(all_of[command])]
    wanted = list(islice(cycle(pairs), n))
    left = [(number, *pair) for number, pair in enumerate(wanted) if number >= len(done)]

    with tempfile.TemporaryDirectory(prefix="kills-", dir=SCRATCH) as folder, receiving() as receiver:
        top = Path(folder)
        top.chmod(0o755)
        receiver.pause_s = 0.05
        server = Driver(top / "home")
        (top / "work").mkdir()
        try:
            ground = Ground(server, top / "work", receiver, commands)
            expected = {name: undisturbed(ground, all_of[name]) for name in {each[1] for each in left}}
            for number, command, victim in left:
                moments = random.Random(f"{seed} {number}")
                for _ in range(ATTEMPTS):
                    moment = moments.uniform(EARLIEST, LATEST)
                    kill = kill_once(ground, all_of[command], expected[command], victim, moment)
                    if kill.hit:
                        break
                yield kill
        finally:
            server.stop()
            shutil.rmtree(server.settings.home, ignore_errors=True)


def keep(settings: dict[str, object], done: Sequence[Kill]) -> None:
    """Replace the kept result by all kills so far, each of them and in sum."""
    write_result(NAME, {**settings, "kills": [asdict(each) for each in done]}, figures_of(done))


def figures_of(done: Sequence[Kill]) -> dict[str, float]:
    """Return the sums over all kills that hit."""
    hit = [each for each in done if each.hit]
    lived = [each for each in hit if each.victim != "driver"]
    return {
        "kills": len(hit),
        "rows lost": sum(each.n_lost for each in hit),
        "rows partial or strange": sum(each.n_partial for each in hit),
        "unequal in the end": sum(not each.equal for each in hit),
        "runs whose driver lived": len(lived),
        "of these ended well by themselves": sum(each.ended_well for each in lived),
        "slowest recovery, seconds": max((each.recovery_s for each in lived), default=0.0),
    }


def line(kill: Kill) -> str:
    """Return a kill as one line."""
    outcome = "sound" if kill.is_sound else f"NOT SOUND: {kill.n_lost} lost, {kill.n_partial} strange"
    missed = "" if kill.hit else " (nothing to kill)"
    return (
        f"{kill.command:<12}{kill.victim:<12}{kill.moment:>6.2f}  exit {kill.exit_code:>3}  "
        f"{kill.recovery_s:>6.2f} s  {outcome}{missed}"
    )


def to_table(done: Sequence[Kill]) -> list[str]:
    """Return a line for each command and victim, and one for all."""
    names = ("kills", "rows lost", "rows partial or strange", "unequal in the end")
    lines = [
        f"{'command':<12}{'victim':<12}{'kills':>6}{'lost':>6}{'strange':>9}{'unequal':>9}{'well':>6}{'slowest':>9}"
    ]
    for command, victim in dict.fromkeys((each.command, each.victim) for each in done):
        few = figures_of([each for each in done if (each.command, each.victim) == (command, victim)])
        counts = "".join(f"{few[name]:>{width}.0f}" for name, width in zip(names, (6, 6, 9, 9), strict=True))
        well = "-" if victim == "driver" else f"{few['of these ended well by themselves']:.0f}"
        lines.append(f"{command:<12}{victim:<12}{counts}{well:>6}{few['slowest recovery, seconds']:>9.2f}")
    total = figures_of(done)
    return [*lines, *(f"{name:<44}{value:>10,.2f}".replace(".00", "") for name, value in total.items())]


if __name__ == "__main__":
    main()
