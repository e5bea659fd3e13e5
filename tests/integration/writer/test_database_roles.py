"""The roles of PostgreSQL can do what they should and no more: each is tried with what it must be refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from psycopg2.errors import InsufficientPrivilege

from claire.embedded import EmbeddedPostgres
from services.cdb_writer.adapters.connection import Connect
from services.cdb_writer.adapters.schema import migrate
from services.cdb_writer.adapters.store import EventStore
from tests.integration.writer.writer_support import write_all
from tests.unit.writer.journal_story import tell

pytestmark = [pytest.mark.integration, pytest.mark.security]

SCRIPT = Path(__file__).parents[3] / "backoffice" / "docker" / "postgres-init.sh"
READERS = ("claire_service", "claire_reader")
STORY = tell(3, 120)


def statements(database: str) -> tuple[str, str]:
    """Return what the container's script says to the server, and then to the database, which has another name here."""
    text = SCRIPT.read_text(encoding="utf-8").partition("<<'SQL'\n")[2].rpartition("SQL\n")[0]
    text = re.sub(r":'\w+_password'", "'a-password-of-a-test'", text).replace("claire_de_binare", database)
    server, _, inside = text.partition(f"\\connect {database}\n")
    kept = [line for line in server.splitlines() if not line.startswith(("CREATE ROLE claire ", "CREATE DATABASE"))]
    return "\n".join(kept), inside


@pytest.fixture
def guarded(embedded_postgres: EmbeddedPostgres, database: str, connect: Connect) -> Iterator[EmbeddedPostgres]:
    """The test's database set up as the container's is, with a story in it."""
    server, inside = statements(database)
    assert "claire_service" in server
    for name, script in (("postgres", server), (database, inside)):
        root = embedded_postgres.connect(name, "postgres")
        root.autocommit = True
        with root.cursor() as cur:
            cur.execute(script)
        root.close()
    migrate(connect)
    store = EventStore(connect)
    store.open()
    write_all(store, STORY.entries)
    store.close()
    yield embedded_postgres
    root = embedded_postgres.connect(database, "postgres")
    root.autocommit = True
    with root.cursor() as cur:
        for role in READERS:
            cur.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    root.close()


def attempts(server: EmbeddedPostgres, database: str, role: str, forbidden: tuple[str, ...]) -> list[str]:
    """Return what was not refused for want of a right; roles may switch their own read-only mode off, so it is."""
    done = []
    connection = server.connect(database, role)
    connection.autocommit = True
    with connection.cursor() as cur:
        cur.execute("SET default_transaction_read_only = off")
        for statement in forbidden:
            try:
                cur.execute(statement)
            except InsufficientPrivilege:
                continue
            except psycopg2.Error as error:
                done.append(f"{statement}: {error}")
            else:
                done.append(statement)
    connection.close()
    return done


WRITES = (
    "INSERT INTO event_store.events SELECT * FROM event_store.events LIMIT 1",
    "UPDATE event_store.events SET data = 'x'",
    "DELETE FROM event_store.events",
    "DELETE FROM event_store.events WHERE channel = 'market_data'",
    "TRUNCATE event_store.events",
)
RULES = (
    "UPDATE event_store.cursor SET seq = 0",
    "UPDATE event_store.chain_anchor SET hash = sha256('x')",
    "INSERT INTO event_store.epochs VALUES (9, 9)",
    "INSERT INTO event_store.exports VALUES (now(), 1, 1, 1, 'x', sha256('x'))",
    "DELETE FROM trades",
    "UPDATE positions SET realized_pnl = 0",
    "TRUNCATE portfolio_snapshots",
    "DROP TABLE trades",
    "ALTER TABLE event_store.events DISABLE TRIGGER ALL",
    "CREATE TABLE public.mine (x int)",
    "CREATE TABLE event_store.mine (x int)",
    "CREATE TEMP TABLE mine (x int)",
    "CREATE SCHEMA mine",
    "SET ROLE claire",
)
SUPERUSER = (
    "CREATE ROLE mine",
    "ALTER ROLE postgres PASSWORD 'x'",
    "SET ROLE postgres",
    "SELECT pg_read_file('/etc/passwd')",
    "COPY (SELECT 1) TO PROGRAM 'id'",
    "SELECT pg_reload_conf()",
    "SELECT passwd FROM pg_shadow",
)


@pytest.mark.parametrize("role", READERS)
def test_a_reader_reads_everything_and_changes_nothing(guarded: EmbeddedPostgres, database: str, role: str) -> None:
    """The services' reader and that of the dashboards: events, tables and views; no write, no object, no other role."""
    connection = guarded.connect(database, role)
    with connection.cursor() as cur:
        for source in (
            "event_store.events",
            "event_store.cursor",
            "trades",
            "event_store.events_json",
            "risk_decisions",
        ):
            cur.execute(f"SELECT count(*) FROM {source}")
        cur.execute("SHOW default_transaction_read_only")
        assert cur.fetchone() == ("on",)
    connection.close()

    assert attempts(guarded, database, role, (*WRITES, *RULES, *SUPERUSER)) == []


def test_the_writer_cannot_change_or_delete_an_event(guarded: EmbeddedPostgres, database: str) -> None:
    """It owns the tables, and yet neither UPDATE, DELETE nor TRUNCATE of events; nothing of a superuser either."""
    assert attempts(guarded, database, "claire", (*WRITES[1:], *SUPERUSER)) == []


def test_only_exported_market_data_may_go(guarded: EmbeddedPostgres, database: str) -> None:
    """What an export names can be deleted; decisions of the same range cannot."""
    connection = guarded.connect(database, "claire")
    connection.autocommit = True
    with connection.cursor() as cur:
        cur.execute(
            "INSERT INTO event_store.exports SELECT day, min(seq), max(seq), count(*), 'x', sha256('x') "
            "FROM event_store.events WHERE channel = 'market_data' GROUP BY day ORDER BY day LIMIT 1 RETURNING day"
        )
        (day,) = cur.fetchone()
        with pytest.raises(InsufficientPrivilege, match="is kept: DELETE is refused"):
            cur.execute("DELETE FROM event_store.events WHERE day = %s", (day,))
        cur.execute("DELETE FROM event_store.events WHERE day = %s AND channel = 'market_data'", (day,))
        assert cur.rowcount > 0
    connection.close()
