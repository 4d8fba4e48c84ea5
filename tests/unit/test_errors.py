"""The error tree: one line each, the promised branch, and whole after a trip to a worker."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from datetime import date

import pytest

from prometheus import errors
from prometheus.errors import PrometheusError

DAY = date(2025, 1, 31)
EXAMPLES: list[PrometheusError] = [
    errors.PrometheusError("something failed"),
    errors.RetryableError("try later"),
    errors.UsageError("--start lies after --end"),
    errors.InputRefusedError("prices.csv: no rows"),
    errors.MissingExtraError("drawing", "plots"),
    errors.ForeignPackageError("prometheus"),
    errors.DatabaseError("cannot be used"),
    errors.DatabaseUnreachableError("historical", "connection refused"),
    errors.DatabaseRefusedError("runtime", "could not extend file: No space left on device"),
    errors.DatabaseAuthenticationError("runtime", "password authentication failed"),
    errors.NotMigratedError("historical", "0001", "0002"),
    errors.EmbeddedServerError("the data folder belongs to someone else"),
    errors.FileAccessError("prices.csv", "no such file"),
    errors.UnknownModelError("num-regime-core-v9", ["num-regime-core-v1", "numeric-simple-v1"]),
    errors.UnknownLabelError("PANIC", ["NEUTRAL", "CRISIS"]),
    errors.UnknownMarketError("XX_EQ", ["US_EQ"]),
    errors.CalendarRangeError("US_EQ", date(1899, 1, 1), date(1927, 1, 3), date(2035, 12, 31)),
    errors.UnknownInstrumentError("NOPE.US"),
    errors.InsufficientHistoryError("AAPL.US", DAY, 63, 62),
    errors.StaleHistoryError("AAPL.US", DAY, date(2025, 1, 23), 6, 5),
    errors.WindowShapeError("window", [3, 2], ["window_days", 3]),
    errors.VectorError("vector of AAPL.US", "2 of 384 values are NaN or infinite as float32"),
    errors.ModelFingerprintError("m-v1", ["target_dim: stored 384, now 512"]),
    errors.PrototypeError("p.json", "there is no prototype"),
    errors.NoRegimesError("US", "at all"),
    errors.NoJointRowsError("US", "REGIME_MACRO_V0", "joint-regime-core-v1"),
    errors.AmbiguousModelError("US", ["a-v1", "b-v1"]),
    errors.UnknownRegionError("MOON", ["US"]),
    errors.UnconfiguredRegionError("MOON", ["US", "EU"]),
    errors.RegionMembersError("US", DAY, "its anchor is missing", ["SPX has no bars", "TLT has 7 of 513 sessions"]),
    errors.ClusterError("10.0.0.7:6379", "nobody answers"),
    errors.WorkerStartError(1),
    errors.WorkerDiedError("A.US on 2025-01-31", 3, -9),
    errors.DataCheckError("3 of 10 rows failed their checks"),
    errors.NoEmbeddingError("US", DAY, (date(1990, 1, 2), date(2025, 1, 30))),
    errors.NoRegimeOnDateError("US", "num-regime-core-v1", DAY, date(2000, 3, 31), date(2025, 1, 30)),
    errors.UnknownRunError("0197f7c2"),
    errors.TokenFileError("token.txt", "others can read it"),
    errors.AddressError("127.0.0.1:8321", "address already in use"),
    errors.ModelNotKnownYetError("num-regime-core-v2", date(1989, 12, 29), date(1985, 1, 2)),
    errors.NoTextEmbeddingsError(["MACRO"], "text-macro-v1", DAY),
    errors.UnnamedTextModelError(["MACRO", "NEWS"], ["text-fin-general-v1", "text-macro-v1"]),
    errors.MissingIndexError("num-regime-core-v2"),
    errors.VectorExtensionError("could not open extension control file"),
    errors.NoRegionsError(),
    errors.StalePricesError(["US as of 2025-01-31 lacks SPX (no bars)", "EU as of 2025-01-31 lacks DAX (no bars)"]),
    errors.RunUnderWayError("nightly", "2025-01-31 22:00:00 UTC"),
]
each_example = pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)


def tree(root: type[PrometheusError]) -> Iterator[type[PrometheusError]]:
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


def test_every_class_of_the_tree_has_an_example_here() -> None:
    # other modules may put classes under the tree; the ones of errors.py are this file's business
    defined = {each for each in tree(PrometheusError) if each.__module__ == errors.__name__}
    assert {type(error) for error in EXAMPLES} == defined
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
        (errors.UnknownModelError, LookupError),
        (errors.UnknownLabelError, LookupError),
        (errors.UnknownMarketError, LookupError),
        (errors.UnknownInstrumentError, LookupError),
        (errors.UnknownRegionError, LookupError),
        (errors.UnconfiguredRegionError, LookupError),
        (errors.CalendarRangeError, LookupError),
        (errors.NoRegimesError, LookupError),
        (errors.NoJointRowsError, LookupError),
        (errors.AmbiguousModelError, LookupError),
        (errors.InsufficientHistoryError, ValueError),
        (errors.VectorError, ValueError),
        (errors.PrototypeError, ValueError),
    ],
)
def test_code_that_knows_only_python_can_catch_it(error: type[PrometheusError], builtin: type[Exception]) -> None:
    assert issubclass(error, builtin)


def test_only_a_lost_connection_and_another_run_are_worth_trying_again() -> None:
    retryable = {each for each in tree(PrometheusError) if issubclass(each, errors.RetryableError)}
    assert retryable == {errors.RetryableError, errors.DatabaseUnreachableError, errors.RunUnderWayError}


def test_a_missing_or_older_schema_says_how_to_migrate() -> None:
    command = "python -m prometheus db upgrade"
    assert command in str(errors.NotMigratedError("historical", None, "0002"))
    assert command in str(errors.NotMigratedError("historical", "0001", "0002"))


def test_a_newer_schema_asks_for_a_newer_program_and_not_for_a_migration() -> None:
    message = str(errors.NotMigratedError("historical", "0003", "0002"))
    assert "upgrade prometheus-regime" in message
    assert "db upgrade" not in message


def test_an_error_keeps_collections_it_was_given_from_changing() -> None:
    known = ["a"]
    error = errors.UnknownModelError("x", known)
    known.append("b")
    assert str(error) == "unknown model id 'x'; known: a"
