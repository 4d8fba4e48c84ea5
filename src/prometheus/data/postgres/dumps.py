"""Dumps of a database, made and restored by PostgreSQL's own programs."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from typing import IO, cast

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from prometheus.data.migrations import DatabaseName, version_table
from prometheus.errors import DatabaseError, missing_vector_extension

NEVER_EMPTY = ("alembic_version_historical", "alembic_version_runtime", "forward_record_head")
"""Tables in which a migration leaves a row."""

_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
_EMPTY = f"""
    BEGIN;
    DO $$
    DECLARE name text; is_filled boolean;
    BEGIN
        FOR name IN {_TABLES} LOOP
            EXECUTE format('LOCK TABLE public.%I IN ACCESS EXCLUSIVE MODE', name);
            EXECUTE format('SELECT EXISTS (SELECT FROM public.%I)', name) INTO is_filled;
            IF is_filled AND name <> ALL ('{{{",".join(NEVER_EMPTY)}}}') THEN
                RAISE EXCEPTION 'table % has rows now', name;
            END IF;
            EXECUTE format('DROP TABLE public.%I CASCADE', name);
        END LOOP;
        FOR name IN SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'public'::regnamespace
            AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e') LOOP
            EXECUTE 'DROP ROUTINE IF EXISTS ' || name || ' CASCADE';
        END LOOP;
    END $$;
"""  # noqa: S608 -- of constants
_NOT_TAKEN = (b"SET transaction_timeout", b"CREATE EXTENSION ")
"""What PostgreSQL 16 and older do not know, and what the owner of a database need not be allowed to do."""

_OF_PGVECTOR = 'type "public.halfvec" does not exist'


def filled_tables(connection: psycopg.Connection) -> list[str]:
    """Return the names of the tables that have rows beyond those that a migration leaves."""
    names = [name for (name,) in connection.execute(_TABLES).fetchall() if name not in NEVER_EMPTY]
    asked = "SELECT EXISTS (SELECT FROM public.{})"
    filled = [connection.execute(sql.SQL(asked).format(sql.Identifier(name))).fetchone() for name in names]
    return [name for name, found in zip(names, filled, strict=True) if found == (True,)]


def restored_from(connection: psycopg.Connection, database: DatabaseName) -> str | None:
    """Return the mark of the dump that a database was restored from, None for no dump."""
    asked = "SELECT obj_description(to_regclass(%s), 'pg_class')"
    row = connection.execute(asked, (f"public.{version_table(database)}",)).fetchone()
    return None if row is None else row[0]


def dump(programs: Path, conninfo: str, database: DatabaseName, target: Path) -> None:
    """Write one consistent state of a database to a file; commands may go on meanwhile."""
    address, environment = _address(conninfo)
    command = [str(programs / "pg_dump"), "--format=custom", f"--file={target}", f"--dbname={address}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise DatabaseError(f"{database} database cannot be dumped: {_reason(done.stderr)}")


def restore(programs: Path, conninfo: str, database: DatabaseName, source: Path, mark: str) -> None:
    """Put a dump in the place of tables without rows, and remember its mark; all in one transaction.

    The tables belong to who restores them, with the rights that the database gives to new ones.
    """
    address, environment = _address(conninfo)
    read = [str(programs / "pg_restore"), "--no-owner", "--no-privileges", "--no-comments", "--file=-", str(source)]
    write = [str(programs / "psql"), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--set=VERBOSITY=terse",
             f"--dbname={address}"]  # fmt: skip
    remember = sql.SQL("COMMENT ON TABLE public.{} IS {}; COMMIT;\n").format(
        sql.Identifier(version_table(database)), sql.Literal(mark)
    )
    with tempfile.TemporaryFile() as of_reader, tempfile.TemporaryFile() as of_writer:
        reader = subprocess.Popen(read, stdout=subprocess.PIPE, stderr=of_reader)  # noqa: S603
        writer = subprocess.Popen(  # noqa: S603
            write, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=of_writer
        )
        with reader, writer, suppress(BrokenPipeError):  # psql has ended and says why
            _run_script(reader, cast("IO[bytes]", writer.stdin), remember.as_string().encode())
        if reader.returncode or writer.returncode:
            # a reader that lost its writer is ended by a signal, without a word
            reason = _reason(_text(of_reader if reader.returncode > 0 else of_writer))
            if _OF_PGVECTOR in reason:
                fault = "cannot be restored, nothing in it was changed: the index of similar windows needs pgvector"
                raise missing_vector_extension(f"{fault} (or leave it out: similar_index drop before the backup)")
            raise DatabaseError(f"{database} database cannot be restored, nothing in it was changed: {reason}")


def _run_script(reader: subprocess.Popen[bytes], to: IO[bytes], last: bytes) -> None:
    with closing(to):
        to.write(_EMPTY.encode())
        _pass_on(cast("IO[bytes]", reader.stdout), to)
        if reader.wait() == 0:  # else the transaction is not committed
            to.write(last)


def tidy(connection: psycopg.Connection) -> None:
    """Let the server plan by what is stored now, as far as the role may."""
    connection.rollback()
    connection.autocommit = True
    connection.execute("SET statement_timeout = 0")
    connection.execute("VACUUM (ANALYZE)")


def _pass_on(script: IO[bytes], to: IO[bytes]) -> None:
    for line in script:
        if not line.startswith(_NOT_TAKEN):
            to.write(line)
        if line.startswith(b"COPY "):  # rows are passed on as they are
            shutil.copyfileobj(script, to)


def _address(conninfo: str) -> tuple[str, dict[str, str]]:
    """Return a connection string for the command line, which others can see, and the environment with the password."""
    parts = conninfo_to_dict(conninfo)
    password = parts.pop("password", None)
    environment = dict(os.environ)
    if password is not None:
        environment["PGPASSWORD"] = str(password)
    return make_conninfo(**{name: str(value) for name, value in parts.items()}), environment


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode(errors="replace")


def _reason(said: str) -> str:
    """Return the first line that tells of an error, without the name of the program."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    told = next((line for line in lines if "error:" in line.lower()), lines[-1] if lines else "it ended without a word")
    return told.rpartition("ERROR:")[2].strip() if "ERROR:" in told else told.partition("error:")[2].strip() or told
