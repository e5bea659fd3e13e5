"""Looks at PostgreSQL: version, tables, size, roles, and whether the store and the journal meet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from psycopg2.extensions import connection

from claire.doctor.finding import Finding, Level
from claire.statistics.numbers import counted
from services.cdb_writer.adapters.schema import REVISION, stored_revision

__all__ = ["look_at_postgres", "stored_events", "stored_origin"]

TOPIC: Final = "PostgreSQL"
OLDEST: Final = 15

_WRITES: Final = """
SELECT r.rolname, count(*) FROM pg_roles r, pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE r.rolname IN ('claire_reader', 'claire_service') AND n.nspname IN ('public', 'event_store')
  AND c.relkind IN ('r', 'p')
  AND (has_table_privilege(r.oid, c.oid, 'INSERT') OR has_table_privilege(r.oid, c.oid, 'UPDATE')
       OR has_table_privilege(r.oid, c.oid, 'DELETE') OR has_table_privilege(r.oid, c.oid, 'TRUNCATE'))
GROUP BY r.rolname ORDER BY r.rolname
"""


def look_at_postgres(database: connection, journal_head: int | None, journal_first: int | None) -> Iterator[Finding]:
    """Say how the database is.

    Args:
        database: a connection in autocommit.
        journal_head: number of the journal's last entry; None: not known.
        journal_first: number of the oldest entry in Redis; None: not known.

    Raises:
        psycopg2.Error: it does not answer.
    """
    version = database.server_version // 10_000
    if version < OLDEST:
        words = f"version {version}; {OLDEST} or newer is needed"
        yield Finding(TOPIC, Level.problem, words, "claire backup with the old one, claire restore into a new one")
    else:
        yield Finding(TOPIC, Level.ok, f"version {version} answers")
    yield from _roles(database)
    revision = stored_revision(database)
    if revision is None:
        yield Finding(TOPIC, Level.not_checked, "no tables yet: cdb_writer makes them at its first start")
        return
    if revision != REVISION:
        words = f"the tables are at revision {revision}, this code has {REVISION}"
        yield Finding(
            TOPIC, Level.problem, words, "docker compose up -d cdb_writer  # it brings them up to date; or claire up"
        )
    else:
        yield Finding(TOPIC, Level.ok, f"tables at the newest revision ({revision})")
    yield from _store(database, journal_head, journal_first)


def stored_events(database: connection) -> int | None:
    """Return the number of the last stored event; None while there are no tables."""
    if stored_revision(database) is None:
        return None
    found = _row(database, "SELECT seq FROM event_store.cursor")
    return None if found is None else int(found[0])


def stored_origin(database: connection) -> str:
    """Return which history is stored, as its backups name it: the chain's hash at its first event; empty: not known."""
    if stored_revision(database) is None:
        return ""
    found = _row(database, "SELECT encode(hash, 'hex') FROM event_store.events WHERE seq = 1")
    return "" if found is None else str(found[0])


def _store(database: connection, journal_head: int | None, journal_first: int | None) -> Iterator[Finding]:
    found = _row(
        database,
        "SELECT seq, epoch, pg_database_size(current_database()), extract(epoch FROM now() - updated) "
        "FROM event_store.cursor",
    )
    if found is None:
        words = "event_store.cursor is empty: somebody has removed it, and the writer will not start"
        yield Finding(TOPIC, Level.problem, words, "claire restore …  # runbook disaster-recovery.md")
        return
    seq, epoch, size, age = int(found[0]), int(found[1]), int(found[2]), float(found[3])
    yield Finding(
        TOPIC, Level.ok, f"{seq:,} events (epoch {epoch}), {size // 1_000_000:,} MB, last written {age:.0f} s ago"
    )
    if journal_first is not None and journal_first > seq + 1:
        words = f"events {seq + 1} to {journal_first - 1} are neither here nor in Redis: this database is too old"
        yield Finding(TOPIC, Level.problem, words, "claire restore of a newer backup (runbook disaster-recovery.md)")
    elif journal_head is not None and journal_head < seq:
        words = f"the journal ends at {journal_head}, before event {seq}: Redis has lost its tail"
        yield Finding(TOPIC, Level.warning, words, "docker compose restart cdb_writer  # it brings the tail back")
    odd = _row(
        database,
        "SELECT min(seq) - 1, %s - max(seq) FROM event_store.events "
        "WHERE NOT EXISTS (SELECT 1 FROM event_store.exports WHERE dropped_at IS NOT NULL)",
        (seq,),
    )
    if seq and odd is not None and odd[0] is not None and (odd[0] or odd[1]):
        words = f"the stored events do not reach from 1 to {seq}: some are missing at an end"
        yield Finding(TOPIC, Level.problem, words, "claire validate  # names the first; then claire restore")


def _roles(database: connection) -> Iterator[Finding]:
    ours = _row(database, "SELECT current_user, rolsuper FROM pg_roles WHERE rolname = current_user")
    if ours is not None and ours[1]:
        words = f"we are connected as {ours[0]}, a superuser; nothing of ours needs that"
        yield Finding(TOPIC, Level.warning, words, "export POSTGRES_USER=claire")
    with database.cursor() as cur:
        cur.execute(_WRITES)
        writing = cur.fetchall()
        cur.execute("SELECT rolname FROM pg_roles WHERE rolname IN ('claire_reader', 'claire_service')")
        known = {name for (name,) in cur.fetchall()}
    for role, tables in writing:
        words = f"role {role} is for reading, and may write to {counted(tables, 'table')}"
        mend = f"REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA public, event_store FROM {role};"
        yield Finding(TOPIC, Level.problem, words, mend)
    if known and not writing:
        yield Finding(TOPIC, Level.ok, f"reading roles can only read: {', '.join(sorted(known))}")
    elif not known:
        yield Finding(
            TOPIC, Level.not_checked, "reading roles: there are none here (an embedded database has its owner alone)"
        )


def _row(database: connection, statement: str, values: tuple[Any, ...] | None = None) -> tuple[Any, ...] | None:
    with database.cursor() as cur:
        cur.execute(statement, values)
        found: tuple[Any, ...] | None = cur.fetchone()
    return found
