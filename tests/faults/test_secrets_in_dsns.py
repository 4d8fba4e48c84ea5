"""No piece of a password is ever shown, however a connection string is cut."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.commands import run_process
from tests.fixtures.own_databases import manager_of

from prometheus.app.backfills import is_local_database
from prometheus.core.dsn import read_dsn
from prometheus.core.provenance import explain_settings, mask_dsn, self_contained
from prometheus.errors import PrometheusError, UsageError

PIECES = st.lists(st.integers(10**8, 10**9 - 1).map(lambda n: f"Zq{n}"), min_size=2, max_size=4)
NUMBERS = st.lists(st.integers(10**8, 10**9 - 1).map(str), min_size=2, max_size=4)
HOSTILE = [*"@/#?%:&=+,;[]~!$'\\ ", "@@", "//", "?/", "%4", "%40@"]
SEPARATORS = st.lists(st.sampled_from(HOSTILE), min_size=3, max_size=3)
FORMS = st.sampled_from(
    [
        "postgresql://quant:{}@127.0.0.1:1/prices",
        "postgres://quant:{}@127.0.0.1:1/prices?connect_timeout=2",
        "postgresql://quant:{}@127.0.0.1:1",
        "host=127.0.0.1 port=1 user=quant dbname=prices password={}",
    ]
)


def said_about(dsn: str) -> list[str]:
    """Everything that is told of a connection string: settings, and the errors of each way to use it."""
    said = [mask_dsn(dsn)]
    with manager_of(dsn, dsn) as manager:
        said.append(str(explain_settings(manager.config, {"PROMETHEUS_HISTORICAL_DSN": dsn})))
        for use in (
            lambda: manager.get_historical_connection().__enter__(),
            manager.schema_revisions,
            manager.upgrade,
            lambda: is_local_database(manager.config),
            lambda: self_contained(manager.config),
        ):
            try:
                said.append(str(use()))
            except PrometheusError as error:
                said.append(str(error))
    return said


@settings(max_examples=60)
@given(pieces=PIECES | NUMBERS, separators=SEPARATORS, form=FORMS)
def test_no_piece_of_a_random_password_is_shown(pieces: list[str], separators: list[str], form: str) -> None:
    password = "".join(piece + separator for piece, separator in zip(pieces, [*separators, ""], strict=False))
    said = "\n".join(said_about(form.format(password)))
    shown = [piece for piece in pieces if piece in said]
    assert not shown, said


@pytest.mark.parametrize("password", ["x@hunter77", "12/hunter77", "x?hunter77", "x%hunter77", "x@a/hunter77"])
@pytest.mark.parametrize("command", [("config", "show"), ("db", "status"), ("show_regimes", "--region", "US")])
def test_no_command_shows_a_piece_of_a_password(
    command: tuple[str, ...], password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn = f"postgresql://quant:{password}@127.0.0.1:1/prices"
    for name in ("HISTORICAL", "RUNTIME"):
        monkeypatch.setenv(f"PROMETHEUS_{name}_DSN", dsn)
    outcome = run_process("-m", "prometheus", *command)
    assert "hunter77" not in outcome.stdout + outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert len(outcome.stderr.splitlines()) <= 1
    assert outcome.exit_code in ((0,) if command[0] == "config" else (2, 4))


@pytest.mark.parametrize(
    ("dsn", "part"),
    [
        ("postgresql://quant:p%40ss%2Fw@db.example:5432/prices", ("password", "p@ss/w")),
        ("postgresql:///prices?host=/run/postgresql&user=me", ("host", "/run/postgresql")),
        ("postgresql://db.example/prices?user=me@tenant", ("user", "me@tenant")),
        ("postgresql://me:p#w@[::1]:5432,db.example:5433/prices", ("host", "::1,db.example")),
        ("host=@abstract dbname='a@b' password='p@s/s'", ("password", "p@s/s")),
        ("", ("host", "")),
    ],
)
def test_what_is_clear_is_read_as_libpq_reads_it(dsn: str, part: tuple[str, str]) -> None:
    assert read_dsn(dsn, "X").get(part[0], "") == part[1]


def test_the_refusal_names_the_setting_and_the_way_out() -> None:
    with pytest.raises(UsageError, match=r"^PROMETHEUS_RUNTIME_DSN is no valid connection string") as caught:
        read_dsn("postgresql://quant:a@b@db.example/h", "PROMETHEUS_RUNTIME_DSN")
    assert "%40" in str(caught.value)
