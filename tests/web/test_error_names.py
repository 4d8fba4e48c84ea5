"""The names that clients know errors by: part of the API, so they outlive the names of classes."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus import errors
from prometheus.errors import NoRegimesError, PrometheusError
from prometheus.web.errors import error_name, problem_of

NAMES = {
    "AddressError": "address",
    "AmbiguousModelError": "ambiguous_model",
    "CalendarRangeError": "calendar_range",
    "ClusterError": "cluster",
    "DataCheckError": "data_check",
    "DatabaseAuthenticationError": "database_authentication",
    "DatabaseError": "database",
    "DatabaseRefusedError": "database_refused",
    "DatabaseUnreachableError": "database_unreachable",
    "EmbeddedServerError": "embedded_server",
    "FileAccessError": "file_access",
    "ForeignPackageError": "foreign_package",
    "InputRefusedError": "input_refused",
    "InsufficientHistoryError": "insufficient_history",
    "MissingExtraError": "missing_extra",
    "MissingIndexError": "missing_index",
    "ModelFingerprintError": "model_fingerprint",
    "ModelNotKnownYetError": "model_not_known_yet",
    "NoEmbeddingError": "no_embedding",
    "NoJointRowsError": "no_joint_rows",
    "NoRegimeOnDateError": "no_regime_on_date",
    "NoRegimesError": "no_regimes",
    "NoRegionsError": "no_regions",
    "NoTextEmbeddingsError": "no_text_embeddings",
    "NotMigratedError": "not_migrated",
    "PrometheusError": "prometheus",
    "PrototypeError": "prototype",
    "RegionMembersError": "region_members",
    "RetryableError": "retryable",
    "RunUnderWayError": "run_under_way",
    "StaleHistoryError": "stale_history",
    "StalePricesError": "stale_prices",
    "TokenFileError": "token_file",
    "UnconfiguredRegionError": "unconfigured_region",
    "UnknownInstrumentError": "unknown_instrument",
    "UnknownLabelError": "unknown_label",
    "UnknownMarketError": "unknown_market",
    "UnknownModelError": "unknown_model",
    "UnknownRegionError": "unknown_region",
    "UnknownRunError": "unknown_run",
    "UnnamedTextModelError": "unnamed_text_model",
    "UsageError": "usage",
    "VectorError": "vector",
    "VectorExtensionError": "vector_extension",
    "WindowShapeError": "window_shape",
    "WorkerDiedError": "worker_died",
    "WorkerStartError": "worker_start",
}


def tree(kind: type[PrometheusError]) -> Iterator[type[PrometheusError]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child)


def test_every_error_keeps_the_name_that_clients_know() -> None:
    assert {kind.__name__: error_name(kind) for kind in tree(PrometheusError)} == NAMES


def test_a_code_of_its_own_goes_before_the_name_of_the_class_and_is_not_inherited() -> None:
    class RenamedError(NoRegimesError):
        code = "no_regimes"

    class OtherError(RenamedError):
        pass

    assert problem_of(RenamedError("US", "at all")).error == "no_regimes"
    assert error_name(OtherError) == "other"
