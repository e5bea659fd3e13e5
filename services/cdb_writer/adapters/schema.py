"""Brings the database to the newest revision; safe to call by several at once and again and again."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import psycopg2.errors
from psycopg2.extensions import connection

from services.cdb_writer.adapters.connection import Connect

__all__ = ["REVISION", "migrate", "stored_revision"]

REVISION: Final = "0003"
"""The newest migration. At it nothing is imported or run, so that a restart is quick."""

MIGRATIONS: Final = Path(__file__).resolve().parent.parent / "migrations"
MIGRATION_LOCK: Final = 0x636C616972650001
"""Key of the advisory lock that lets one process migrate at a time."""


def stored_revision(database: connection) -> str | None:
    """Return the revision that the database is at; None when it is empty."""
    with database, database.cursor() as cursor:
        try:
            cursor.execute("SELECT version_num FROM event_store.schema_version")
        except (psycopg2.errors.UndefinedTable, psycopg2.errors.InvalidSchemaName):
            database.rollback()
            return None
        row = cursor.fetchone()
        return None if row is None else str(row[0])


def migrate(connect: Connect) -> str | None:
    """Apply what is missing, in one transaction, and return the revision found before.

    Raises:
        psycopg2.Error: the server is not there, or the role may not create (it must own the database).
        alembic.util.CommandError: the database is at a revision that this version does not know (it is newer).
    """
    database = connect()
    try:
        before = stored_revision(database)
    finally:
        database.close()
    if before == REVISION:
        return before

    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells of each of its plugins
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import NullPool

    engine = create_engine("postgresql+psycopg2://", creator=connect, poolclass=NullPool)
    with engine.begin() as transaction:
        transaction.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        transaction.execute(text("CREATE SCHEMA IF NOT EXISTS event_store"))
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        config.attributes["connection"] = transaction
        command.upgrade(config, "head")
    return before
