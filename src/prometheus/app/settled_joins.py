"""Joint rows of which nothing is left to do: a run counts them, and joins none of them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date
from typing import TYPE_CHECKING, Any

from prometheus.app.saying import Said, say_again
from prometheus.backfill.joint import JointReport, JointRequest, JointRun
from prometheus.backfill.plan import BackfillReport
from prometheus.data.settled import EVERY_PERIOD, Marks, Settled, SettledWork, digest_of, load_marks
from prometheus.encoders.texts.documents import TEXT_TABLES

if TYPE_CHECKING:
    from prometheus.app.joint import JointModelChoice
    from prometheus.app.wiring import Wiring

KIND = "joint"


class SettledJoins:
    """The requests of one run that the digests of what their rows stand on settle.

    Those are the states of the region, the texts and their vectors, the series, what the models mean, and the stored
    rows themselves.
    """

    def __init__(self, wired: Wiring, choice: JointModelChoice, requests: Sequence[JointRequest]) -> None:
        self._databases, self._choice = wired.db_manager, choice
        self._work = SettledWork(wired.db_manager)
        self._keys = {each.key: f"{choice.joint_model_id} {each.space.joint_type} {each.region}" for each in requests}
        self._marks = load_marks(wired.db_manager, ())
        known = self._work.load(KIND, list(self._keys.values()))
        self._known = {key: each for (key, _), each in known.items()}

    def find(self, request: JointRequest) -> JointReport | None:
        """Return the report of a request that nothing is left of, and say what it said; None of another one."""
        known = self._known.get(self._keys[request.key])
        if known is None or known.sources != self._digest(request, self._marks):
            return None
        say_again(known.account["said"])
        return _report_of(request.region, known.account)

    def settle(self, requests: Sequence[JointRequest], runs: Sequence[JointRun], said: Sequence[Said]) -> None:
        """Note the requests that a run has come to the end of, unless what they stand on has changed meanwhile.

        `said` are the warnings of the run: with several requests it is not known whose they are, and none is settled.
        """
        if said and len(requests) > 1:
            return
        if [run.region for run in runs] != [request.region for request in requests]:  # another run held some of them
            return
        marks = load_marks(self._databases, ())
        if marks.of("outside_writes", "joint_embeddings") != self._marks.of("outside_writes", "joint_embeddings"):
            return
        self._work.save(KIND, {
            (self._keys[request.key], EVERY_PERIOD): Settled(self._digest(request, marks), _account_of(run, said))
            for request, run in zip(requests, runs, strict=True)
            if _read(request, marks) == _read(request, self._marks)
        })  # fmt: skip

    def _digest(self, request: JointRequest, marks: Marks) -> bytes:
        stored = (marks.of("models", self._choice.joint_model_id), marks.of("joint_embeddings", request.region))
        return digest_of(asdict(self._choice), request.key, _read(request, marks), stored)


def _read(request: JointRequest, marks: Marks) -> list[int | None]:
    """Return the marks of all that the rows of a request are joined from."""
    found = [marks.of("regimes", request.region), *(marks.of("series_values", name) for name in request.series)]
    if request.text_model_id is not None:
        source = request.space.text_source
        key = f"{source} {request.text_model_id}"
        found += [marks.of(TEXT_TABLES[source].name), marks.of("text_embeddings", key)]
    return found


def _account_of(run: JointRun, said: Sequence[Said]) -> dict[str, Any]:
    return {
        "planned": run.report.planned, "text_share": run.text_share, "numbers_share": run.numbers_share,
        "without_text": list(map(str, run.without_text)), "without_regime": list(map(str, run.without_regime)),
        "without_numbers": {name: list(map(str, days)) for name, days in run.without_numbers.items()},
        "said": list(said),
    }  # fmt: skip


def _report_of(region: str, account: Mapping[str, Any]) -> JointReport:
    report = BackfillReport(account["planned"])
    run = JointRun(
        region, report, _days(account["without_text"]), _days(account["without_regime"]), account["text_share"],
        account["numbers_share"], {name: _days(days) for name, days in account["without_numbers"].items()},
    )  # fmt: skip
    return JointReport(report.planned, runs=(run,))


def _days(written: Sequence[str]) -> tuple[date, ...]:
    return tuple(map(date.fromisoformat, written))
