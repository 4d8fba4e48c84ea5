"""Every error Prometheus raises on purpose, in one tree; a message is one line: the fault, then the way out.

A class says whose fault it is (its branch), whether trying again may help (`RetryableError`), the exit code of a
command, and the `code` that machines know it by, which never changes. What is caught by name, or carries values that a
caller reads, is a class; every other case is a function that returns an error of its branch under its own code.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Sequence, Set
from dataclasses import dataclass
from datetime import date
from string import Formatter
from typing import Any, ClassVar, TypeVar

from prometheus.spelling import did_you_mean

E = TypeVar("E", bound="PrometheusError")


class PrometheusError(Exception):
    """Root of the tree; a command that ends with a bare one exits with 1."""

    code: str = "prometheus"
    exit_code: ClassVar[int] = 1
    template: ClassVar[str] = ""

    def __init_subclass__(cls, code: str = "", exit_code: int = 0) -> None:
        cls.code = code or cls.code
        if exit_code:
            cls.exit_code = exit_code

    def __init__(self, *args: object, code: str = "") -> None:
        super().__init__(*args)
        self.code = code or self.code

    def __post_init__(self) -> None:
        """Keep the values of a dataclass of the tree as `args`, collections as tuples, so that it survives pickling."""
        facts = {name: tuple(value) if isinstance(value, list | Set) else value for name, value in vars(self).items()}
        vars(self).update(facts)
        self.args = tuple(facts.values())

    def __str__(self) -> str:
        return self.template.format_map(vars(self)) if self.template else super().__str__()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.args, vars(self)


class RetryableError(PrometheusError, code="retryable"):
    """Trying the same thing again later may succeed."""


class UsageError(PrometheusError, ValueError, code="usage", exit_code=2):
    """The request contradicts itself; no look at the data is needed to see it."""


class InputRefusedError(PrometheusError, ValueError, code="input_refused", exit_code=5):
    """Data, a file or a stored row cannot be used as it is; nothing was changed."""


class UnknownNameError(UsageError, LookupError, code="unknown_name"):
    """A name that no setting, model or plug-in has."""


class NotFoundError(InputRefusedError, LookupError, code="not_found"):
    """Something that is not stored."""


@dataclass(eq=False, repr=False)
class MissingExtraError(PrometheusError, ImportError, code="missing_extra"):
    """An optional dependency is not installed."""

    feature: str
    extra: str
    template = "{feature} needs an optional package; install it with: pip install 'prometheus-regime[{extra}]'"


@dataclass(eq=False, repr=False)
class ForeignPackageError(PrometheusError, ImportError, code="foreign_package"):
    """Another distribution owns the import name ``prometheus``."""

    distribution: str
    template = (
        "the distribution '{distribution}' is installed and shares the import name 'prometheus'; "
        "run: pip uninstall {distribution} && pip install --force-reinstall prometheus-regime"
    )


class DatabaseError(PrometheusError, code="database", exit_code=4):
    """The database cannot be used; nothing was changed."""


@dataclass(eq=False, repr=False)
class DatabaseUnreachableError(RetryableError, DatabaseError, ConnectionError, code="database_unreachable"):
    """No connection could be made, or an open one (`was_connected`) is lost."""

    database: str
    reason: str
    was_connected: bool = False
    template = "{database} database: {reason}; check that the server runs and that its DSN is right"


@dataclass(eq=False, repr=False)
class DatabaseAuthenticationError(DatabaseError, PermissionError, code="database_authentication"):
    """The server refused the login or lacks a privilege."""

    database: str
    reason: str
    template = "{database} database: {reason}; check user, password and grants"


@dataclass(eq=False, repr=False)
class DatabaseRefusedError(DatabaseError, code="database_refused"):
    """The server answers and cannot do what was asked: a full disk, a deadline, a read-only replica."""

    database: str
    reason: str
    template = "{database} database: {reason}; nothing of this step was stored"


@dataclass(eq=False, repr=False)
class NotMigratedError(DatabaseError, code="not_migrated"):
    """The schema is missing, older or newer than this version of Prometheus."""

    database: str
    found: str | None
    wanted: str

    def __str__(self) -> str:
        fault, way_out = f"has schema {self.found}", "run: python -m prometheus db upgrade"
        if self.found is None:
            fault = "has no schema yet"
        elif self.found > self.wanted:
            fault, way_out = f"{fault}, newer than the {self.wanted} this version knows", "upgrade prometheus-regime"
        else:
            fault += f", this version needs {self.wanted}"
        return f"{self.database} database {fault}; {way_out}"


class EmbeddedServerError(DatabaseError, code="embedded_server"):
    """The embedded PostgreSQL cannot be started, reached or trusted."""


@dataclass(eq=False, repr=False)
class FileAccessError(InputRefusedError, OSError, code="file_access"):
    """A file the user named cannot be read or written."""

    path: str
    reason: str
    template = "{path}: {reason}"


class DataCheckError(InputRefusedError, code="data_check"):
    """Rows of a file failed their checks under ``--on-error abort``; nothing was written."""


@dataclass(eq=False, repr=False)
class CalendarRangeError(InputRefusedError, LookupError, code="calendar_range"):
    """A date lies outside the span the trading calendar covers."""

    market: str
    asked: date
    first: date
    last: date
    template = "{market}: the trading calendar covers {first} to {last}, not {asked}"


@dataclass(eq=False, repr=False)
class InsufficientHistoryError(InputRefusedError, code="insufficient_history"):
    """Fewer sessions are stored than the window needs."""

    instrument_id: str
    as_of: date
    needed: int
    found: int
    template = (
        "{instrument_id}: window ending {as_of} needs {needed} sessions, found {found}; "
        "load older bars or shorten --window-days"
    )


@dataclass(eq=False, repr=False)
class StaleHistoryError(InputRefusedError, code="stale_history"):
    """The newest bar is too old for the date asked for."""

    instrument_id: str
    as_of: date
    last_session: date
    age: int
    allowed: int
    template = (
        "{instrument_id}: last bar before {as_of} is of {last_session}, {age} sessions old (at most {allowed}); "
        "load newer bars or ask for an earlier date"
    )


@dataclass(eq=False, repr=False)
class RegionMembersError(InputRefusedError, code="region_members"):
    """Too few members of a region can be seen on a date for the region to have an embedding."""

    region: str
    as_of: date
    rule: str
    absent: Collection[str]

    def __str__(self) -> str:
        fault = f"region {self.region!r} has no embedding on {self.as_of}: {self.rule} ({'; '.join(self.absent)})"
        return f"{fault}; load the missing bars or change the region"


@dataclass(eq=False, repr=False)
class WindowShapeError(InputRefusedError, code="window_shape"):
    """A window or an array of them has another shape than promised."""

    name: str
    found: Sequence[int]
    wanted: Sequence[int | str]
    template = "{name}: shape {found}, expected {wanted}"


@dataclass(eq=False, repr=False)
class VectorError(InputRefusedError, code="vector"):
    """Vector bytes or values that must not be stored or used."""

    name: str
    reason: str
    template = "{name}: {reason}"


@dataclass(eq=False, repr=False)
class ModelFingerprintError(InputRefusedError, code="model_fingerprint"):
    """A model id already means something else."""

    model_id: str
    differences: Collection[str]

    def __str__(self) -> str:
        fault = f"model id {self.model_id!r} is taken by another model ({'; '.join(self.differences)})"
        return f"{fault}; choose a new id, the stored rows keep their meaning"


@dataclass(eq=False, repr=False)
class PrototypeError(InputRefusedError, code="prototype"):
    """A prototype set that cannot classify anything."""

    source: str
    reason: str
    template = "{source}: {reason}"


@dataclass(eq=False, repr=False)
class NoRegimesError(NotFoundError, code="no_regimes"):
    """No regime rows where some are needed."""

    region: str
    detail: str
    template = (
        "region {region!r} has no regimes {detail}; make them from a file of prices: python -m prometheus quick FILE, "
        "or of stored ones: python -m prometheus run_numeric_regime --region {region} --help"
    )


def _case(branch: type[E], code: str, template: str) -> Callable[..., E]:
    """Return a function that makes an error of its arguments, which fill the template in the order of its names."""
    names = dict.fromkeys(name for _, name, _, _ in Formatter().parse(template) if name)

    def case(*values: Any) -> E:
        facts = dict(zip(names, values, strict=True))
        for name, value in facts.items():
            if name in {"known", "configured"}:  # only the names nearest to what was asked for
                facts[name] = did_you_mean(values[0], value, name)
            elif isinstance(value, list | tuple | Set):
                facts[name] = ", ".join(value)
        return branch(template.format(**facts), code=code)

    return case


unknown_model = _case(UnknownNameError, "unknown_model", "unknown model id {model_id!r}; {known}")
unknown_region = _case(UnknownNameError, "unknown_region", "unknown region {region!r}; {known}")
unconfigured_region = _case(UnknownNameError, "unconfigured_region", (
    "region {region!r} is not configured ({configured}); give --instrument-id ID, or set PROMETHEUS_REGIONS to a JSON "
    'object such as {{"{region}": {{"members": {{"ID": 0.6, "ID2": 0.4}}}}}}'
))  # fmt: skip
no_regions = _case(UsageError, "no_regions", (
    "no region is configured; set PROMETHEUS_REGIONS to a JSON object such as "
    '{{"US": {{"instrument_id": "GSPC.INDX", "prototypes": "regimes_US.json"}}}}, or PROMETHEUS_REGIONS_FILE to a file '
    "of such regions"
))  # fmt: skip
unknown_label = _case(NotFoundError, "unknown_label", "unknown regime label {label!r}; known: {labels}")
unknown_market = _case(NotFoundError, "unknown_market", (
    "unknown market {market!r}; known: {markets}, or an ISO 10383 code such as XLON"
))  # fmt: skip
unknown_run = _case(NotFoundError, "unknown_run", (
    "unknown run {run_id!r}; name one that a list of runs shows, or the cursor from the field 'next' of a page"
))  # fmt: skip
no_regime_on_date = _case(NotFoundError, "no_regime_on_date", (
    "region {region!r} has no regime of {model_id} on {asked}; its dates are sessions from {first} to {last}"
))  # fmt: skip
no_joint_rows = _case(NotFoundError, "no_joint_rows", (
    "region {region!r} has no {joint_type} rows of {model_id} on these dates; build them with "
    "backfill_joint_regime_macro_context or backfill_joint_regime_context"
))  # fmt: skip
model_not_known_yet = _case(NotFoundError, "model_not_known_yet", (
    "{model_id} was made from data up to {known_from}, so it did not exist on {as_of}; "
    "ask for a later date or another --model-id"
))  # fmt: skip
no_texts = _case(NotFoundError, "no_texts", (
    "there are no {kinds} texts known on {as_of}; load some with: python -m prometheus ingest macro FILE, or news FILE"
))  # fmt: skip
no_words_found = _case(NotFoundError, "no_words_found", (
    "no text known on {as_of} has a word of {question!r}, stop words left out; ask in other words, or by meaning"
))  # fmt: skip
missing_index = _case(NotFoundError, "missing_index", (
    "there is no index of the windows of {model_id}; make it with: "
    "python -m prometheus similar_index build --model-id {model_id}"
))  # fmt: skip
ambiguous_model = _case(NotFoundError, "ambiguous_model", (
    "region {region!r} has regimes of several models; name one (--model-id): {model_ids}"
))  # fmt: skip
missing_vector_extension = _case(DatabaseError, "vector_extension", (
    "historical database: {reason}; install pgvector 0.8 or newer, and CREATE EXTENSION vector as a superuser once"
))  # fmt: skip
run_under_way = _case(RetryableError, "run_under_way", (
    "another {kind} run is under way since {since}; wait until it has ended"
))  # fmt: skip
cluster_error = _case(PrometheusError, "cluster", "Ray cluster, {name}: {reason}")
worker_not_started = _case(PrometheusError, "worker_start", (
    "a worker process ended with exit code {exit_code} before it began; use --workers 1, or in a script of "
    "your own start the work below: if __name__ == '__main__':"
))  # fmt: skip
server_process_ended = _case(PrometheusError, "server_process", (
    "a process of the server ended by itself, so all did; its last lines say why, or start with --workers 1"
))  # fmt: skip
unusable_address = _case(
    PrometheusError, "address", "cannot listen on {address}: {reason}; choose another --port or --host"
)


def unknown_instrument(instrument_id: str, known: Collection[str] = ()) -> NotFoundError:
    """Say that an instrument has neither prices nor a reference row."""
    meant = f" ({did_you_mean(instrument_id, known, 'known')})" if known else ""
    way_out = "load it with: python -m prometheus ingest prices FILE"
    return NotFoundError(f"unknown instrument {instrument_id!r}{meant}; {way_out}", code="unknown_instrument")


def no_embedding(name: str, as_of: date | None, known: tuple[date, date] | None) -> NotFoundError:
    """Say that a search needs a vector that is not stored; `known` is the first and the last date that have one."""
    found = f"{'yet' if as_of is None else f'up to {as_of}'}; backfill it first"
    if known is not None:
        found = f"on {as_of}; there are some from {known[0]} to {known[1]}"
    return NotFoundError(f"{name} has no embedding {found}", code="no_embedding")


def no_text_embeddings(kinds: Collection[str], model_id: str | None = None, as_of: date | None = None) -> NotFoundError:
    """Say that no text vectors are stored at all, of a model, or known by a date."""
    wanted = f"{' or '.join(kinds)} " if kinds else ""
    of_model = "" if model_id is None else f" of {model_id}"
    until = "" if as_of is None else f" for {as_of}"
    way_out = "make them with backfill_macro_text_embeddings or backfill_text_embeddings"
    return NotFoundError(f"there are no {wanted}text embeddings{of_model}{until}; {way_out}", code="no_text_embeddings")


def stale_prices(stale: Collection[str]) -> InputRefusedError:
    """Say that configured regions lack the newest bars; nothing was written."""
    way_out = (
        "load newer bars, allow older ones with --max-age-sessions N, or leave these regions out with --skip-stale"
    )
    return InputRefusedError(f"prices are missing: {'; '.join(stale)}; {way_out}", code="stale_prices")


def worker_died(chunk: str, n_deaths: int, worker_exit_code: int | None) -> PrometheusError:
    """Say that every worker that had a piece of a backfill ended without a word, as when memory runs out."""
    end = f", the last with exit code {worker_exit_code} (-9: killed, often for memory)"
    said = f"{n_deaths} workers in a row ended while they had it{'' if worker_exit_code is None else end}"
    return PrometheusError(f"{chunk}: {said}; it was left out, run it alone with --workers 1", code="worker_died")


_RENAMED: dict[type[PrometheusError], str] = {
    DatabaseError: "VectorExtension",
    InputRefusedError: "StalePrices TokenFile",
    NotFoundError: "UnknownLabel UnknownMarket UnknownInstrument UnknownRun NoRegimeOnDate NoJointRows NoEmbedding "
    "ModelNotKnownYet NoTextEmbeddings MissingIndex AmbiguousModel UnnamedTextModel",
    PrometheusError: "Cluster WorkerStart WorkerDied Address",
    RetryableError: "RunUnderWay",
    UnknownNameError: "UnknownModel UnknownRegion UnconfiguredRegion",
    UsageError: "NoRegions",
}
"""What the classes of the first version became, their names less the word Error."""


def __getattr__(name: str) -> type[PrometheusError]:
    """Return the class that a class of the first version became, for code that catches it by its old name."""
    for became, old_names in _RENAMED.items():
        if name.endswith("Error") and name.removesuffix("Error") in old_names.split():
            warnings.warn(f"prometheus.errors.{name} is now {became.__name__}", DeprecationWarning, stacklevel=2)
            return became
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
