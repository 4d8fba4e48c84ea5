"""Every error Prometheus raises on purpose, in one tree.

Each class answers three questions: whose fault it is (its branch), whether trying again may help
(`RetryableError`) and which exit code a command ends with (`exit_code`). The message is one line that names the
thing and the way out. Constructor arguments go to ``Exception.__init__``, so an error survives pickling to a worker.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import date
from typing import ClassVar


class PrometheusError(Exception):
    """Root of the tree; a command that ends with a bare one exits with 1."""

    exit_code: ClassVar[int] = 1


class RetryableError(PrometheusError):
    """Trying the same thing again later may succeed."""


class UsageError(PrometheusError, ValueError):
    """The request contradicts itself; no look at the data is needed to see it."""

    exit_code: ClassVar[int] = 2


class InputRefusedError(PrometheusError, ValueError):
    """Data, a file or a stored row cannot be used as it is; nothing was changed."""

    exit_code: ClassVar[int] = 5


class MissingExtraError(PrometheusError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(feature, extra)
        self.feature, self.extra = feature, extra

    def __str__(self) -> str:
        return (
            f"{self.feature} needs an optional package; install it with: pip install 'prometheus-regime[{self.extra}]'"
        )


class ForeignPackageError(PrometheusError, ImportError):
    """Another distribution owns the import name ``prometheus``."""

    def __init__(self, distribution: str) -> None:
        super().__init__(distribution)
        self.distribution = distribution

    def __str__(self) -> str:
        return (
            f"the distribution '{self.distribution}' is installed and shares the import name 'prometheus'; "
            f"run: pip uninstall {self.distribution} && pip install --force-reinstall prometheus-regime"
        )


class DatabaseError(PrometheusError):
    """The database cannot be used; nothing was changed."""

    exit_code: ClassVar[int] = 4


class DatabaseUnreachableError(RetryableError, DatabaseError, ConnectionError):
    """No connection could be made, or one that was there (`was_connected`) is lost."""

    def __init__(self, database: str, reason: str, was_connected: bool = False) -> None:
        super().__init__(database, reason, was_connected)
        self.database, self.reason, self.was_connected = database, reason, was_connected

    def __str__(self) -> str:
        return f"{self.database} database: {self.reason}; check that the server runs and that its DSN is right"


class DatabaseAuthenticationError(DatabaseError, PermissionError):
    """The server is there and refused the login or lacks a privilege."""

    def __init__(self, database: str, reason: str) -> None:
        super().__init__(database, reason)
        self.database, self.reason = database, reason

    def __str__(self) -> str:
        return f"{self.database} database: {self.reason}; check user, password and grants"


class DatabaseRefusedError(DatabaseError):
    """The server is there and cannot do what was asked: a full disk, a deadline, a read-only replica."""

    def __init__(self, database: str, reason: str) -> None:
        super().__init__(database, reason)
        self.database, self.reason = database, reason

    def __str__(self) -> str:
        return f"{self.database} database: {self.reason}; nothing of this step was stored"


class NotMigratedError(DatabaseError):
    """The schema is missing, older or newer than this version of Prometheus."""

    def __init__(self, database: str, found: str | None, wanted: str) -> None:
        super().__init__(database, found, wanted)
        self.database, self.found, self.wanted = database, found, wanted

    def __str__(self) -> str:
        if self.found is not None and self.found > self.wanted:
            return (
                f"{self.database} database has schema {self.found}, newer than the {self.wanted} this version knows; "
                "upgrade prometheus-regime"
            )
        state = (
            "has no schema yet" if self.found is None else f"has schema {self.found}, this version needs {self.wanted}"
        )
        return f"{self.database} database {state}; run: python -m prometheus db upgrade"


class EmbeddedServerError(DatabaseError):
    """The embedded PostgreSQL cannot be started, reached or trusted."""


class FileAccessError(InputRefusedError, OSError):
    """A file the user named cannot be read or written."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class UnknownModelError(UsageError, LookupError):
    """No model of that id is registered."""

    def __init__(self, model_id: str, known: Collection[str]) -> None:
        super().__init__(model_id, tuple(known))
        self.model_id, self.known = model_id, tuple(known)

    def __str__(self) -> str:
        return f"unknown model id {self.model_id!r}; known: {', '.join(self.known)}"


class UnknownLabelError(InputRefusedError, LookupError):
    """A regime label that does not exist."""

    def __init__(self, label: str, known: Collection[str]) -> None:
        super().__init__(label, tuple(known))
        self.label, self.known = label, tuple(known)

    def __str__(self) -> str:
        return f"unknown regime label {self.label!r}; known: {', '.join(self.known)}"


class UnknownMarketError(InputRefusedError, LookupError):
    """No trading calendar stands behind a market id."""

    def __init__(self, market: str, known: Collection[str]) -> None:
        super().__init__(market, tuple(known))
        self.market, self.known = market, tuple(known)

    def __str__(self) -> str:
        return f"unknown market {self.market!r}; known: {', '.join(self.known)}, or an ISO 10383 code such as XLON"


class CalendarRangeError(InputRefusedError, LookupError):
    """A date lies outside the span the trading calendar covers."""

    def __init__(self, market: str, asked: date, first: date, last: date) -> None:
        super().__init__(market, asked, first, last)
        self.market, self.asked, self.first, self.last = market, asked, first, last

    def __str__(self) -> str:
        return f"{self.market}: the trading calendar covers {self.first} to {self.last}, not {self.asked}"


class UnknownInstrumentError(InputRefusedError, LookupError):
    """Neither prices nor a reference row exist for an instrument."""

    def __init__(self, instrument_id: str) -> None:
        super().__init__(instrument_id)
        self.instrument_id = instrument_id

    def __str__(self) -> str:
        return f"unknown instrument {self.instrument_id!r}; load it with: python -m prometheus ingest prices FILE"


class InsufficientHistoryError(InputRefusedError):
    """Fewer sessions are stored than the window needs."""

    def __init__(self, instrument_id: str, as_of: date, needed: int, found: int) -> None:
        super().__init__(instrument_id, as_of, needed, found)
        self.instrument_id, self.as_of = instrument_id, as_of
        self.needed, self.found = needed, found

    def __str__(self) -> str:
        return (
            f"{self.instrument_id}: window ending {self.as_of} needs {self.needed} sessions, found {self.found}; "
            "load older bars or shorten --window-days"
        )


class StaleHistoryError(InputRefusedError):
    """The newest bar is too old for the date asked for."""

    def __init__(self, instrument_id: str, as_of: date, last_session: date, age: int, allowed: int) -> None:
        super().__init__(instrument_id, as_of, last_session, age, allowed)
        self.instrument_id, self.as_of, self.last_session = instrument_id, as_of, last_session
        self.age, self.allowed = age, allowed

    def __str__(self) -> str:
        return (
            f"{self.instrument_id}: last bar before {self.as_of} is of {self.last_session}, {self.age} sessions old "
            f"(at most {self.allowed}); load newer bars or ask for an earlier date"
        )


class WindowShapeError(InputRefusedError):
    """A window or an array of them has another shape than promised."""

    def __init__(self, name: str, found: Iterable[int], wanted: Iterable[int | str]) -> None:
        super().__init__(name, tuple(found), tuple(wanted))
        self.name, self.found, self.wanted = name, tuple(found), tuple(wanted)

    def __str__(self) -> str:
        return f"{self.name}: shape {self.found}, expected {self.wanted}"


class VectorError(InputRefusedError):
    """Vector bytes or values that must not be stored or used."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class ModelFingerprintError(InputRefusedError):
    """A model id already means something else."""

    def __init__(self, model_id: str, differences: Collection[str]) -> None:
        super().__init__(model_id, tuple(differences))
        self.model_id, self.differences = model_id, tuple(differences)

    def __str__(self) -> str:
        return (
            f"model id {self.model_id!r} is taken by another model ({'; '.join(self.differences)}); "
            "choose a new id, the stored rows keep their meaning"
        )


class PrototypeError(InputRefusedError):
    """A prototype set that cannot classify anything."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(source, reason)
        self.source, self.reason = source, reason

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}"


class NoRegimesError(InputRefusedError, LookupError):
    """No regime rows where some are needed."""

    def __init__(self, region: str, detail: str) -> None:
        super().__init__(region, detail)
        self.region, self.detail = region, detail

    def __str__(self) -> str:
        return (
            f"region {self.region!r} has no regimes {self.detail}; "
            f"run: python -m prometheus run_numeric_regime --region {self.region} --instrument-id ID "
            "--date-range START END"
        )


class NoJointRowsError(InputRefusedError, LookupError):
    """No joint embeddings where some are asked for."""

    def __init__(self, region: str, joint_type: str, model_id: str) -> None:
        super().__init__(region, joint_type, model_id)
        self.region, self.joint_type, self.model_id = region, joint_type, model_id

    def __str__(self) -> str:
        return (
            f"region {self.region!r} has no {self.joint_type} rows of {self.model_id} on these dates; "
            "build them with backfill_joint_regime_macro_context or backfill_joint_regime_context"
        )


class NoEmbeddingError(InputRefusedError, LookupError):
    """No vector where a search needs one; `known` is the first and the last date that have one, None without any."""

    def __init__(self, name: str, as_of: date | None, known: tuple[date, date] | None) -> None:
        super().__init__(name, as_of, known)
        self.name, self.as_of, self.known = name, as_of, known

    def __str__(self) -> str:
        if self.known is None:
            when = "yet" if self.as_of is None else f"up to {self.as_of}"
            return f"{self.name} has no embedding {when}; backfill it first"
        first, last = self.known
        return f"{self.name} has no embedding on {self.as_of}; there are some from {first} to {last}"


class ModelNotKnownYetError(InputRefusedError, LookupError):
    """A model whose numbers were taken from data later than the date it is asked about."""

    def __init__(self, model_id: str, known_from: date, as_of: date) -> None:
        super().__init__(model_id, known_from, as_of)
        self.model_id, self.known_from, self.as_of = model_id, known_from, as_of

    def __str__(self) -> str:
        return (
            f"{self.model_id} was made from data up to {self.known_from}, so nobody could have had it on {self.as_of}; "
            "ask for a later date or another --model-id"
        )


class NoTextEmbeddingsError(InputRefusedError, LookupError):
    """No text vectors where some are searched: none at all, none of a model, or none known by a date."""

    def __init__(self, kinds: Collection[str], model_id: str | None = None, as_of: date | None = None) -> None:
        super().__init__(tuple(kinds), model_id, as_of)
        self.kinds, self.model_id, self.as_of = tuple(kinds), model_id, as_of

    def __str__(self) -> str:
        kinds = " or ".join(self.kinds)
        of_model = "" if self.model_id is None else f" of {self.model_id}"
        until = "" if self.as_of is None else f" for {self.as_of}"
        return (
            f"there are no {kinds + ' ' if kinds else ''}text embeddings{of_model}{until}; make them with "
            "backfill_macro_text_embeddings or backfill_text_embeddings"
        )


class UnnamedTextModelError(InputRefusedError, LookupError):
    """Several text models have vectors and none was named; vectors of two models are never compared."""

    def __init__(self, kinds: Collection[str], model_ids: Collection[str]) -> None:
        super().__init__(tuple(kinds), tuple(model_ids))
        self.kinds, self.model_ids = tuple(kinds), tuple(model_ids)

    def __str__(self) -> str:
        kinds = " and ".join(self.kinds)
        return f"several models have embedded {kinds} texts; name one (--model-id): {', '.join(self.model_ids)}"


class MissingIndexError(InputRefusedError, LookupError):
    """There is no index of a model's windows."""

    def __init__(self, model_id: str) -> None:
        super().__init__(model_id)
        self.model_id = model_id

    def __str__(self) -> str:
        return (
            f"there is no index of the windows of {self.model_id}; make it with: "
            f"python -m prometheus similar_index build --model-id {self.model_id}"
        )


class VectorExtensionError(DatabaseError):
    """The server lacks pgvector, or has one too old."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"historical database: {self.reason}; install pgvector 0.8 or newer there, and run CREATE EXTENSION vector "
            "as a superuser once"
        )


class AmbiguousModelError(InputRefusedError, LookupError):
    """A region holds rows of several models and none was named."""

    def __init__(self, region: str, model_ids: Collection[str]) -> None:
        super().__init__(region, tuple(model_ids))
        self.region, self.model_ids = region, tuple(model_ids)

    def __str__(self) -> str:
        listed = ", ".join(self.model_ids)
        return f"region {self.region!r} has regimes of several models; name one (--model-id): {listed}"


class UnknownRegionError(UsageError, LookupError):
    """A regime model that has no instrument for a region."""

    def __init__(self, region: str, known: Collection[str]) -> None:
        super().__init__(region, tuple(known))
        self.region, self.known = region, tuple(known)

    def __str__(self) -> str:
        return f"unknown region {self.region!r}; known: {', '.join(self.known)}"


class UnconfiguredRegionError(UsageError, LookupError):
    """A region is asked for by its name alone, and no setting says what it is made of."""

    def __init__(self, region: str, known: Collection[str]) -> None:
        super().__init__(region, tuple(known))
        self.region, self.known = region, tuple(known)

    def __str__(self) -> str:
        return (
            f"region {self.region!r} is not configured (configured: {', '.join(self.known) or 'none'}); give "
            "--instrument-id ID, or set PROMETHEUS_REGIONS to a JSON object such as "
            f'{{"{self.region}": {{"members": {{"ID": 0.6, "ID2": 0.4}}}}}}'
        )


class RegionMembersError(InputRefusedError):
    """Too few members of a region can be seen on a date for the region to have an embedding."""

    def __init__(self, region: str, as_of: date, rule: str, absent: Collection[str]) -> None:
        super().__init__(region, as_of, rule, tuple(absent))
        self.region, self.as_of, self.rule, self.absent = region, as_of, rule, tuple(absent)

    def __str__(self) -> str:
        return (
            f"region {self.region!r} has no embedding on {self.as_of}: {self.rule} ({'; '.join(self.absent)}); "
            "load the missing bars or change the region"
        )


class DataCheckError(InputRefusedError):
    """Rows of a file failed their checks under ``--on-error abort``; nothing was written."""

    def __init__(self, summary: str) -> None:
        super().__init__(summary)
        self.summary = summary

    def __str__(self) -> str:
        return self.summary


class ClusterError(PrometheusError):
    """A Ray cluster, or a node of it, cannot be used."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return f"Ray cluster, {self.name}: {self.reason}"


class WorkerStartError(PrometheusError):
    """A worker process ended before it could begin."""

    def __init__(self, worker_exit_code: int | None) -> None:
        super().__init__(worker_exit_code)
        self.worker_exit_code = worker_exit_code

    def __str__(self) -> str:
        return (
            f"a worker process ended with exit code {self.worker_exit_code} before it began; use --workers 1, or in a "
            "script of your own start the work below: if __name__ == '__main__':"
        )


class WorkerDiedError(PrometheusError):
    """Whichever worker had this piece of a backfill ended without a word, as when memory runs out."""

    def __init__(self, chunk: str, n_deaths: int, worker_exit_code: int | None) -> None:
        super().__init__(chunk, n_deaths, worker_exit_code)
        self.chunk, self.n_deaths, self.worker_exit_code = chunk, n_deaths, worker_exit_code

    def __str__(self) -> str:
        code = self.worker_exit_code
        words = "" if code is None else f", the last with exit code {code} (-9: killed, often for memory)"
        return (
            f"{self.chunk}: {self.n_deaths} workers in a row ended while they had it{words}; "
            "it was left out, run it alone with --workers 1"
        )


class NoRegionsError(UsageError):
    """A command works on the configured regions, and there are none."""

    def __str__(self) -> str:
        return (
            "no region is configured; set PROMETHEUS_REGIONS to a JSON object such as "
            '{"US": {"instrument_id": "GSPC.INDX", "prototypes": "regimes_US.json"}}, or PROMETHEUS_REGIONS_FILE '
            "to a file of such regions"
        )


class StalePricesError(InputRefusedError):
    """Configured regions lack the newest bars; nothing was written."""

    def __init__(self, stale: Collection[str]) -> None:
        super().__init__(tuple(stale))
        self.stale = tuple(stale)

    def __str__(self) -> str:
        return (
            f"prices are missing: {'; '.join(self.stale)}; load newer bars, allow older ones with "
            "--max-age-sessions N, or leave these regions out with --skip-stale"
        )


class RunUnderWayError(RetryableError):
    """Only one run of a kind may be under way on a database, and one is."""

    def __init__(self, kind: str, since: str) -> None:
        super().__init__(kind, since)
        self.kind, self.since = kind, since

    def __str__(self) -> str:
        return f"another {self.kind} run is under way since {self.since}; wait until it has ended"


class NoRegimeOnDateError(InputRefusedError, LookupError):
    """A region has regimes of a model, and none on the date asked for."""

    def __init__(self, region: str, model_id: str, asked: date, first: date, last: date) -> None:
        super().__init__(region, model_id, asked, first, last)
        self.region, self.model_id, self.asked = region, model_id, asked
        self.first, self.last = first, last

    def __str__(self) -> str:
        return (
            f"region {self.region!r} has no regime of {self.model_id} on {self.asked}; its dates are sessions from "
            f"{self.first} to {self.last}"
        )


class UnknownRunError(InputRefusedError, LookupError):
    """No backfill of that id is in the log."""

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id)
        self.run_id = run_id

    def __str__(self) -> str:
        return f"unknown run {self.run_id!r}; take the cursor from the field 'next' of a page"


class TokenFileError(InputRefusedError):
    """A file that does not keep a token secret, or holds none worth keeping."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class AddressError(PrometheusError):
    """A server cannot listen where it was told to."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(address, reason)
        self.address, self.reason = address, reason

    def __str__(self) -> str:
        return f"cannot listen on {self.address}: {self.reason}; choose another --port or --host"
