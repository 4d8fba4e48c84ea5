"""Every error Prometheus raises on purpose, in one tree.

Each class answers three questions: whose fault it is (its branch), whether trying again may help (`RetryableError`) and
which exit code a command ends with (`exit_code`). `code` is the name that machines know an error by; it never changes.
A message is one line: the fault, then the way out.

What is caught by name, or carries values that a caller reads, is a class. Every other case is a function below that
returns an error of its branch under a code of its own.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence, Set
from dataclasses import dataclass
from datetime import date
from typing import Any, ClassVar, Self

from prometheus.spelling import did_you_mean


class PrometheusError(Exception):
    """Root of the tree; a command that ends with a bare one exits with 1."""

    exit_code: ClassVar[int] = 1
    template: ClassVar[str] = ""
    __dataclass_fields__: ClassVar[dict[str, Any]]
    code: str = "prometheus"

    def __post_init__(self) -> None:
        """Keep the values of a dataclass of the tree as `args`, collections as tuples, so that it survives pickling."""
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if isinstance(value, list | Set):
                setattr(self, name, tuple(value))
        self.args = tuple(getattr(self, name) for name in self.__dataclass_fields__)

    def __str__(self) -> str:
        return self.template.format_map(vars(self)) if self.template else super().__str__()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.args, vars(self)

    def under(self, code: str) -> Self:
        """Return this error with a code of its own."""
        self.code = code
        return self


class RetryableError(PrometheusError):
    """Trying the same thing again later may succeed."""

    code = "retryable"


class UsageError(PrometheusError, ValueError):
    """The request contradicts itself; no look at the data is needed to see it."""

    exit_code = 2
    code = "usage"


class InputRefusedError(PrometheusError, ValueError):
    """Data, a file or a stored row cannot be used as it is; nothing was changed."""

    exit_code = 5
    code = "input_refused"


class UnknownNameError(UsageError, LookupError):
    """A name that no setting, model or plug-in has."""

    code = "unknown_name"


class NotFoundError(InputRefusedError, LookupError):
    """Something that is not stored."""

    code = "not_found"


@dataclass(eq=False, repr=False)
class MissingExtraError(PrometheusError, ImportError):
    """An optional dependency is not installed."""

    feature: str
    extra: str
    code = "missing_extra"
    template = "{feature} needs an optional package; install it with: pip install 'prometheus-regime[{extra}]'"


@dataclass(eq=False, repr=False)
class ForeignPackageError(PrometheusError, ImportError):
    """Another distribution owns the import name ``prometheus``."""

    distribution: str
    code = "foreign_package"
    template = (
        "the distribution '{distribution}' is installed and shares the import name 'prometheus'; "
        "run: pip uninstall {distribution} && pip install --force-reinstall prometheus-regime"
    )


class DatabaseError(PrometheusError):
    """The database cannot be used; nothing was changed."""

    exit_code = 4
    code = "database"


@dataclass(eq=False, repr=False)
class DatabaseUnreachableError(RetryableError, DatabaseError, ConnectionError):
    """No connection could be made, or an open one (`was_connected`) is lost."""

    database: str
    reason: str
    was_connected: bool = False
    code = "database_unreachable"
    template = "{database} database: {reason}; check that the server runs and that its DSN is right"


@dataclass(eq=False, repr=False)
class DatabaseAuthenticationError(DatabaseError, PermissionError):
    """The server refused the login or lacks a privilege."""

    database: str
    reason: str
    code = "database_authentication"
    template = "{database} database: {reason}; check user, password and grants"


@dataclass(eq=False, repr=False)
class DatabaseRefusedError(DatabaseError):
    """The server answers and cannot do what was asked: a full disk, a deadline, a read-only replica."""

    database: str
    reason: str
    code = "database_refused"
    template = "{database} database: {reason}; nothing of this step was stored"


@dataclass(eq=False, repr=False)
class NotMigratedError(DatabaseError):
    """The schema is missing, older or newer than this version of Prometheus."""

    database: str
    found: str | None
    wanted: str
    code = "not_migrated"

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

    code = "embedded_server"


@dataclass(eq=False, repr=False)
class FileAccessError(InputRefusedError, OSError):
    """A file the user named cannot be read or written."""

    path: str
    reason: str
    code = "file_access"
    template = "{path}: {reason}"


class DataCheckError(InputRefusedError):
    """Rows of a file failed their checks under ``--on-error abort``; nothing was written."""

    code = "data_check"


@dataclass(eq=False, repr=False)
class CalendarRangeError(InputRefusedError, LookupError):
    """A date lies outside the span the trading calendar covers."""

    market: str
    asked: date
    first: date
    last: date
    code = "calendar_range"
    template = "{market}: the trading calendar covers {first} to {last}, not {asked}"


@dataclass(eq=False, repr=False)
class InsufficientHistoryError(InputRefusedError):
    """Fewer sessions are stored than the window needs."""

    instrument_id: str
    as_of: date
    needed: int
    found: int
    code = "insufficient_history"
    template = (
        "{instrument_id}: window ending {as_of} needs {needed} sessions, found {found}; "
        "load older bars or shorten --window-days"
    )


@dataclass(eq=False, repr=False)
class StaleHistoryError(InputRefusedError):
    """The newest bar is too old for the date asked for."""

    instrument_id: str
    as_of: date
    last_session: date
    age: int
    allowed: int
    code = "stale_history"
    template = (
        "{instrument_id}: last bar before {as_of} is of {last_session}, {age} sessions old (at most {allowed}); "
        "load newer bars or ask for an earlier date"
    )


@dataclass(eq=False, repr=False)
class RegionMembersError(InputRefusedError):
    """Too few members of a region can be seen on a date for the region to have an embedding."""

    region: str
    as_of: date
    rule: str
    absent: Collection[str]
    code = "region_members"

    def __str__(self) -> str:
        return (
            f"region {self.region!r} has no embedding on {self.as_of}: {self.rule} ({'; '.join(self.absent)}); "
            "load the missing bars or change the region"
        )


@dataclass(eq=False, repr=False)
class WindowShapeError(InputRefusedError):
    """A window or an array of them has another shape than promised."""

    name: str
    found: Sequence[int]
    wanted: Sequence[int | str]
    code = "window_shape"
    template = "{name}: shape {found}, expected {wanted}"


@dataclass(eq=False, repr=False)
class VectorError(InputRefusedError):
    """Vector bytes or values that must not be stored or used."""

    name: str
    reason: str
    code = "vector"
    template = "{name}: {reason}"


@dataclass(eq=False, repr=False)
class ModelFingerprintError(InputRefusedError):
    """A model id already means something else."""

    model_id: str
    differences: Collection[str]
    code = "model_fingerprint"

    def __str__(self) -> str:
        return (
            f"model id {self.model_id!r} is taken by another model ({'; '.join(self.differences)}); "
            "choose a new id, the stored rows keep their meaning"
        )


@dataclass(eq=False, repr=False)
class PrototypeError(InputRefusedError):
    """A prototype set that cannot classify anything."""

    source: str
    reason: str
    code = "prototype"
    template = "{source}: {reason}"


@dataclass(eq=False, repr=False)
class NoRegimesError(NotFoundError):
    """No regime rows where some are needed."""

    region: str
    detail: str
    code = "no_regimes"
    template = (
        "region {region!r} has no regimes {detail}; run: python -m prometheus run_numeric_regime --region {region} "
        "--instrument-id ID --date-range START END"
    )


def unknown_model(model_id: str, known: Collection[str]) -> UnknownNameError:
    """Say that no model has that id."""
    return UnknownNameError(f"unknown model id {model_id!r}; {did_you_mean(model_id, known, 'known')}").under(
        "unknown_model"
    )


def unknown_region(region: str, known: Collection[str]) -> UnknownNameError:
    """Say that a regime model has no instrument for a region."""
    return UnknownNameError(f"unknown region {region!r}; {did_you_mean(region, known, 'known')}").under(
        "unknown_region"
    )


def unconfigured_region(region: str, known: Collection[str]) -> UnknownNameError:
    """Say that no setting says what a region is made of."""
    example = f'{{"{region}": {{"members": {{"ID": 0.6, "ID2": 0.4}}}}}}'
    return UnknownNameError(
        f"region {region!r} is not configured ({did_you_mean(region, known, 'configured')}); "
        f"give --instrument-id ID, or set PROMETHEUS_REGIONS to a JSON object such as {example}"
    ).under("unconfigured_region")


def no_regions() -> UsageError:
    """Say that a command works on configured regions and there is not one."""
    return UsageError(
        "no region is configured; set PROMETHEUS_REGIONS to a JSON object such as "
        '{"US": {"instrument_id": "GSPC.INDX", "prototypes": "regimes_US.json"}}, or PROMETHEUS_REGIONS_FILE to a file '
        "of such regions"
    ).under("no_regions")


def unknown_label(label: str, known: Collection[str]) -> NotFoundError:
    """Say that no regime has that label."""
    return NotFoundError(f"unknown regime label {label!r}; known: {', '.join(known)}").under("unknown_label")


def unknown_market(market: str, known: Collection[str]) -> NotFoundError:
    """Say that no trading calendar stands behind a market id."""
    listed = f"known: {', '.join(known)}, or an ISO 10383 code such as XLON"
    return NotFoundError(f"unknown market {market!r}; {listed}").under("unknown_market")


def unknown_instrument(instrument_id: str, known: Collection[str] = ()) -> NotFoundError:
    """Say that an instrument has neither prices nor a reference row."""
    meant = f" ({did_you_mean(instrument_id, known, 'known')})" if known else ""
    way_out = "load it with: python -m prometheus ingest prices FILE"
    return NotFoundError(f"unknown instrument {instrument_id!r}{meant}; {way_out}").under("unknown_instrument")


def unknown_run(run_id: str) -> NotFoundError:
    """Say that no backfill of that id is in the log."""
    return NotFoundError(f"unknown run {run_id!r}; take the cursor from the field 'next' of a page").under(
        "unknown_run"
    )


def no_regime_on_date(region: str, model_id: str, asked: date, first: date, last: date) -> NotFoundError:
    """Say that a region has regimes of a model, but not on the date asked for."""
    return NotFoundError(
        f"region {region!r} has no regime of {model_id} on {asked}; its dates are sessions from {first} to {last}"
    ).under("no_regime_on_date")


def no_joint_rows(region: str, joint_type: str, model_id: str) -> NotFoundError:
    """Say that the joint embeddings asked for are not stored."""
    return NotFoundError(
        f"region {region!r} has no {joint_type} rows of {model_id} on these dates; build them with "
        "backfill_joint_regime_macro_context or backfill_joint_regime_context"
    ).under("no_joint_rows")


def no_embedding(name: str, as_of: date | None, known: tuple[date, date] | None) -> NotFoundError:
    """Say that a search needs a vector that is not stored; `known` is the first and the last date that have one."""
    if known is not None:
        found = f"on {as_of}; there are some from {known[0]} to {known[1]}"
    else:
        found = f"{'yet' if as_of is None else f'up to {as_of}'}; backfill it first"
    return NotFoundError(f"{name} has no embedding {found}").under("no_embedding")


def model_not_known_yet(model_id: str, known_from: date, as_of: date) -> NotFoundError:
    """Say that a model's numbers were taken from data later than the date it is asked about."""
    return NotFoundError(
        f"{model_id} was made from data up to {known_from}, so it did not exist on {as_of}; "
        "ask for a later date or another --model-id"
    ).under("model_not_known_yet")


def no_text_embeddings(kinds: Collection[str], model_id: str | None = None, as_of: date | None = None) -> NotFoundError:
    """Say that no text vectors are stored at all, of a model, or known by a date."""
    wanted = " or ".join(kinds)
    of_model = "" if model_id is None else f" of {model_id}"
    until = "" if as_of is None else f" for {as_of}"
    return NotFoundError(
        f"there are no {wanted + ' ' if wanted else ''}text embeddings{of_model}{until}; make them with "
        "backfill_macro_text_embeddings or backfill_text_embeddings"
    ).under("no_text_embeddings")


def missing_index(model_id: str) -> NotFoundError:
    """Say that a model's windows have no index."""
    return NotFoundError(
        f"there is no index of the windows of {model_id}; make it with: "
        f"python -m prometheus similar_index build --model-id {model_id}"
    ).under("missing_index")


def ambiguous_model(region: str, model_ids: Collection[str]) -> NotFoundError:
    """Say that a region holds rows of several models and that one must be named."""
    listed = ", ".join(model_ids)
    message = f"region {region!r} has regimes of several models; name one (--model-id): {listed}"
    return NotFoundError(message).under("ambiguous_model")


def unnamed_text_model(kinds: Collection[str], model_ids: Collection[str]) -> NotFoundError:
    """Say that several text models have vectors and one must be named: vectors of two models are never compared."""
    texts, listed = " and ".join(kinds), ", ".join(model_ids)
    message = f"several models have embedded {texts} texts; name one (--model-id): {listed}"
    return NotFoundError(message).under("unnamed_text_model")


def stale_prices(stale: Collection[str]) -> InputRefusedError:
    """Say that configured regions lack the newest bars; nothing was written."""
    return InputRefusedError(
        f"prices are missing: {'; '.join(stale)}; load newer bars, allow older ones with --max-age-sessions N, or "
        "leave these regions out with --skip-stale"
    ).under("stale_prices")


def missing_vector_extension(reason: str) -> DatabaseError:
    """Say that the server lacks pgvector, or has one too old."""
    return DatabaseError(
        f"historical database: {reason}; install pgvector 0.8 or newer there, and run CREATE EXTENSION vector as a "
        "superuser once"
    ).under("vector_extension")


def run_under_way(kind: str, since: str) -> RetryableError:
    """Say that another run of that kind is under way on the database."""
    return RetryableError(f"another {kind} run is under way since {since}; wait until it has ended").under(
        "run_under_way"
    )


def cluster_error(name: str, reason: str) -> PrometheusError:
    """Say that a Ray cluster, or a node of it, cannot be used."""
    return PrometheusError(f"Ray cluster, {name}: {reason}").under("cluster")


def worker_not_started(worker_exit_code: int | None) -> PrometheusError:
    """Say that a worker process ended before it could begin."""
    return PrometheusError(
        f"a worker process ended with exit code {worker_exit_code} before it began; use --workers 1, or in a script of "
        "your own start the work below: if __name__ == '__main__':"
    ).under("worker_start")


def worker_died(chunk: str, n_deaths: int, worker_exit_code: int | None) -> PrometheusError:
    """Say that every worker that had a piece of a backfill ended without a word, as when memory runs out."""
    code = worker_exit_code
    words = "" if code is None else f", the last with exit code {code} (-9: killed, often for memory)"
    return PrometheusError(
        f"{chunk}: {n_deaths} workers in a row ended while they had it{words}; "
        "it was left out, run it alone with --workers 1"
    ).under("worker_died")


def unusable_address(address: str, reason: str) -> PrometheusError:
    """Say that a server cannot listen where it was told to."""
    return PrometheusError(f"cannot listen on {address}: {reason}; choose another --port or --host").under("address")


_RENAMED = {
    "UnknownModelError": UnknownNameError, "UnknownRegionError": UnknownNameError,
    "UnconfiguredRegionError": UnknownNameError, "NoRegionsError": UsageError, "UnknownLabelError": NotFoundError,
    "UnknownMarketError": NotFoundError, "UnknownInstrumentError": NotFoundError, "UnknownRunError": NotFoundError,
    "NoRegimeOnDateError": NotFoundError, "NoJointRowsError": NotFoundError, "NoEmbeddingError": NotFoundError,
    "ModelNotKnownYetError": NotFoundError, "NoTextEmbeddingsError": NotFoundError, "MissingIndexError": NotFoundError,
    "AmbiguousModelError": NotFoundError, "UnnamedTextModelError": NotFoundError, "StalePricesError": InputRefusedError,
    "TokenFileError": InputRefusedError, "VectorExtensionError": DatabaseError, "RunUnderWayError": RetryableError,
    "ClusterError": PrometheusError, "WorkerStartError": PrometheusError, "WorkerDiedError": PrometheusError,
    "AddressError": PrometheusError,
}  # fmt: skip


def __getattr__(name: str) -> type[PrometheusError]:
    """Return the class that a class of the first version became, for code that catches it by its old name."""
    if name not in _RENAMED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    became = _RENAMED[name]
    warnings.warn(f"prometheus.errors.{name} is now {became.__name__}", DeprecationWarning, stacklevel=2)
    return became
