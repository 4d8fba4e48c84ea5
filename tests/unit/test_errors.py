"""The error tree: one line each, the promised branch, and whole after a trip to a worker."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from datetime import date

import pytest

from prometheus import errors
from prometheus.errors import PrometheusError

DAY = date(2025, 1, 31)
CLASSES: dict[str, PrometheusError] = {
    "prometheus": errors.PrometheusError("something failed"),
    "retryable": errors.RetryableError("try later"),
    "usage": errors.UsageError("--start lies after --end"),
    "input_refused": errors.InputRefusedError("prices.csv: no rows"),
    "unknown_name": errors.UnknownNameError("no such name"),
    "not_found": errors.NotFoundError("no such row"),
    "missing_extra": errors.MissingExtraError("drawing", "plots"),
    "foreign_package": errors.ForeignPackageError("prometheus"),
    "database": errors.DatabaseError("cannot be used"),
    "database_unreachable": errors.DatabaseUnreachableError("historical", "connection refused"),
    "database_refused": errors.DatabaseRefusedError("runtime", "could not extend file: No space left on device"),
    "database_authentication": errors.DatabaseAuthenticationError("runtime", "password authentication failed"),
    "not_migrated": errors.NotMigratedError("historical", "0001", "0002"),
    "embedded_server": errors.EmbeddedServerError("the data folder belongs to someone else"),
    "file_access": errors.FileAccessError("prices.csv", "no such file"),
    "data_check": errors.DataCheckError("3 of 10 rows failed their checks"),
    "calendar_range": errors.CalendarRangeError("US_EQ", date(1899, 1, 1), date(1927, 1, 3), date(2035, 12, 31)),
    "insufficient_history": errors.InsufficientHistoryError("AAPL.US", DAY, 63, 62),
    "stale_history": errors.StaleHistoryError("AAPL.US", DAY, date(2025, 1, 23), 6, 5),
    "region_members": errors.RegionMembersError(
        "US", DAY, "its anchor is missing", ["SPX has no bars", "TLT has 7 of 513 sessions"]
    ),
    "window_shape": errors.WindowShapeError("window", [3, 2], ["window_days", 3]),
    "vector": errors.VectorError("vector of AAPL.US", "2 of 384 values are NaN or infinite as float32"),
    "model_fingerprint": errors.ModelFingerprintError("m-v1", ["target_dim: stored 384, now 512"]),
    "prototype": errors.PrototypeError("p.json", "there is no prototype"),
    "no_regimes": errors.NoRegimesError("US", "at all"),
}
CASES: dict[str, PrometheusError] = {
    "unknown_model": errors.unknown_model("num-regime-core-v9", ["num-regime-core-v1", "numeric-simple-v1"]),
    "unknown_region": errors.unknown_region("MOON", ["US"]),
    "unconfigured_region": errors.unconfigured_region("MOON", ["US", "EU"]),
    "no_regions": errors.no_regions(),
    "unknown_label": errors.unknown_label("PANIC", ["NEUTRAL", "CRISIS"]),
    "unknown_market": errors.unknown_market("XX_EQ", ["US_EQ"]),
    "unknown_instrument": errors.unknown_instrument("NOPE.US"),
    "unknown_run": errors.unknown_run("0197f7c2"),
    "no_regime_on_date": errors.no_regime_on_date(
        "US", "num-regime-core-v1", DAY, date(2000, 3, 31), date(2025, 1, 30)
    ),
    "no_joint_rows": errors.no_joint_rows("US", "REGIME_MACRO_V0", "joint-regime-core-v1"),
    "no_embedding": errors.no_embedding("US", DAY, (date(1990, 1, 2), date(2025, 1, 30))),
    "model_not_known_yet": errors.model_not_known_yet("num-regime-core-v2", date(1989, 12, 29), date(1985, 1, 2)),
    "no_text_embeddings": errors.no_text_embeddings(["MACRO"], "text-macro-v1", DAY),
    "missing_index": errors.missing_index("num-regime-core-v2"),
    "ambiguous_model": errors.ambiguous_model("US", ["a-v1", "b-v1"]),
    "no_texts": errors.no_texts("MACRO or NEWS", DAY),
    "no_words_found": errors.no_words_found(DAY, "the of"),
    "stale_prices": errors.stale_prices(["US as of 2025-01-31 lacks SPX (no bars)"]),
    "vector_extension": errors.missing_vector_extension("could not open extension control file"),
    "run_under_way": errors.run_under_way("nightly", "2025-01-31 22:00:00 UTC"),
    "cluster": errors.cluster_error("10.0.0.7:6379", "no answer"),
    "worker_start": errors.worker_not_started(1),
    "worker_died": errors.worker_died("A.US on 2025-01-31", 3, -9),
    "address": errors.unusable_address("127.0.0.1:8321", "address already in use"),
}
"""By code: the names that clients of the API know, which outlive the names of classes."""
EXAMPLES = [*CLASSES.values(), *CASES.values()]
each_example = pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: error.code)


def tree(root: type[PrometheusError]) -> Iterator[type[PrometheusError]]:
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


def test_every_class_of_the_tree_has_an_example_here() -> None:
    # other modules may put classes under the tree; the ones of errors.py are this file's business
    defined = {each for each in tree(PrometheusError) if each.__module__ == errors.__name__}
    assert {type(error) for error in CLASSES.values()} == defined
    assert len(defined) <= 25
    assert defined == {
        each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, BaseException)
    }


@each_example
def test_an_error_survives_pickling(error: PrometheusError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert copy.args == error.args
    assert vars(copy) == vars(error)


@each_example
def test_a_message_is_one_line_that_holds_what_the_error_was_given(error: PrometheusError) -> None:
    message = str(error)
    assert message == message.strip()
    assert message
    assert len(message.splitlines()) == 1
    for given in error.args:
        for part in given if isinstance(given, tuple) else [given]:
            assert isinstance(part, bool) or str(part) in message


@pytest.mark.parametrize("code", [*CLASSES, *CASES])
def test_an_error_keeps_the_code_that_clients_know(code: str) -> None:
    error = {**CLASSES, **CASES}[code]
    assert error.code == pickle.loads(pickle.dumps(error)).code == code


def test_every_case_says_its_facts() -> None:
    facts = {"worker_died": ["A.US on 2025-01-31", "3 workers", "-9"], "no_embedding": ["1990-01-02", "2025-01-30"]}
    for code, parts in facts.items():
        assert all(part in str(CASES[code]) for part in parts)


@pytest.mark.parametrize("name", ["NoEmbeddingError", "UnknownModelError", "WorkerDiedError"])
def test_a_class_of_the_first_version_leads_to_the_one_it_became(name: str) -> None:
    with pytest.warns(DeprecationWarning, match=name):
        assert issubclass(getattr(errors, name), PrometheusError)


@pytest.mark.parametrize(
    ("branch", "code"),
    [
        (errors.UsageError, 2),
        (errors.DatabaseError, 4),
        (errors.InputRefusedError, 5),
    ],
)
def test_a_branch_shares_one_exit_code(branch: type[PrometheusError], code: int) -> None:
    assert {each.exit_code for each in tree(branch)} == {code}


def test_whatever_stands_outside_the_branches_exits_with_1() -> None:
    branches = (errors.UsageError, errors.DatabaseError, errors.InputRefusedError)
    outside = [each for each in tree(PrometheusError) if not issubclass(each, branches)]
    assert {each.exit_code for each in outside} == {1}


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.UsageError, ValueError),
        (errors.InputRefusedError, ValueError),
        (errors.MissingExtraError, ImportError),
        (errors.ForeignPackageError, ImportError),
        (errors.DatabaseUnreachableError, ConnectionError),
        (errors.DatabaseAuthenticationError, PermissionError),
        (errors.FileAccessError, OSError),
        (errors.UnknownNameError, LookupError),
        (errors.NotFoundError, LookupError),
        (errors.CalendarRangeError, LookupError),
        (errors.NoRegimesError, LookupError),
        (errors.InsufficientHistoryError, ValueError),
        (errors.VectorError, ValueError),
        (errors.PrototypeError, ValueError),
    ],
)
def test_code_that_knows_only_python_can_catch_it(error: type[PrometheusError], builtin: type[Exception]) -> None:
    assert issubclass(error, builtin)


def test_only_a_lost_connection_and_another_run_are_worth_trying_again() -> None:
    retryable = {error.code for error in EXAMPLES if isinstance(error, errors.RetryableError)}
    assert retryable == {"retryable", "database_unreachable", "run_under_way"}


def test_a_missing_or_older_schema_says_how_to_migrate() -> None:
    command = "python -m prometheus db upgrade"
    assert command in str(errors.NotMigratedError("historical", None, "0002"))
    assert command in str(errors.NotMigratedError("historical", "0001", "0002"))


def test_a_newer_schema_asks_for_a_newer_program_and_not_for_a_migration() -> None:
    message = str(errors.NotMigratedError("historical", "0003", "0002"))
    assert "upgrade prometheus-regime" in message
    assert "db upgrade" not in message


def test_an_error_keeps_collections_it_was_given_from_changing() -> None:
    absent = ["SPX has no bars"]
    error = errors.RegionMembersError("US", DAY, "half is needed", absent)
    absent.append("TLT has no bars")
    assert error.absent == ("SPX has no bars",)
    assert "TLT" not in str(error)
