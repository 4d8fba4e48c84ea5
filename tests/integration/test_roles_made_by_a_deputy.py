"""`deploy/roles.sql` run by an administrator who is no superuser, as on a server that others manage."""

from __future__ import annotations

import pytest
from psycopg import sql
from tests.fixtures.own_databases import OwnServer, manager_of
from tests.fixtures.roles import Roled, refuses

from prometheus.data.migrations import DATABASE_NAMES

pytest_plugins = ["tests.fixtures.own_server"]


@pytest.mark.parametrize("own", ["own_server", "plain_server"])
def test_an_administrator_who_is_no_superuser_can_run_it(own: str, request: pytest.FixtureRequest) -> None:
    server: OwnServer = request.getfixturevalue(own)
    server.execute("CREATE ROLE deputy LOGIN CREATEDB CREATEROLE PASSWORD 'deputy'")
    made = Roled(server)
    try:
        for _ in range(2):
            made.run_script({"user": "deputy", "password": "deputy"})
        with manager_of(*(made.dsn("owner", name) for name in DATABASE_NAMES)) as manager:
            manager.upgrade()
        with made.connect("reader", "runtime") as reader:
            assert reader.execute("SELECT count(*) FROM regimes").fetchone() == (0,)
            assert refuses(reader, sql.SQL("DELETE FROM regimes"))
    finally:
        made.remove()
        server.execute("DROP ROLE deputy")
