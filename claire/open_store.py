"""Opens the event store of a data folder, or of any database, to write in it: no pipeline may be running on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2.extensions import connection

from claire.data_folder import DataFolder
from claire.database import DatabaseUnreachable
from services.cdb_writer.adapters.connection import OPTIONS, Connect, connector
from services.cdb_writer.adapters.schema import migrate
from services.cdb_writer.adapters.store import EventStore
from services.common.errors import LeaseHeld
from services.common.settings import Infrastructure, load_settings, read_environment

__all__ = ["connect_elsewhere", "open_store"]


@contextmanager
def open_store(folder: Path, dsn: str, environ: Mapping[str, str], *, make: bool = False) -> Iterator[EventStore]:
    """Yield the store, with the writer's lock held and its tables at the newest revision.

    Args:
        folder: data folder of `claire up`; its server is started for the moment.
        dsn: connection string to use instead of the folder; `env` takes POSTGRES_HOST and so on.
        environ: where POSTGRES_* come from.
        make: begin a new data folder when there is none.

    Raises:
        DatabaseUnreachable: there is none, or nobody answers.
        DataFolderInUse: a pipeline is running on the folder.
        LeaseHeld: a writer is at work on the database.
    """
    if dsn:
        with _opened(connect_elsewhere(dsn, environ)) as store:
            yield store
        return
    data = DataFolder(folder)
    if not make and not data.exists:
        raise DatabaseUnreachable(f"{data.path} holds no database yet; run: claire up --data-dir {folder}")
    data.make()
    data.acquire()
    try:
        with data.postgres() as server:
            infra = load_settings(Infrastructure, server.environment)
            with _opened(connector(infra, name="claire")) as store:
                yield store
    finally:
        data.release()


def connect_elsewhere(dsn: str, environ: Mapping[str, str]) -> Connect:
    """Return what opens connections to a database by its address; `env` takes POSTGRES_HOST and so on."""
    if dsn == "env":
        return connector(load_settings(Infrastructure, read_environment(environ)), name="claire")

    def connect() -> connection:
        address: dict[str, Any] = {"dsn": dsn, "connect_timeout": 5, "options": OPTIONS}
        opened: connection = psycopg2.connect(**address)
        return opened

    return connect


@contextmanager
def _opened(connect: Connect) -> Iterator[EventStore]:
    store = EventStore(connect)
    try:
        migrate(connect)
        store.open()
    except psycopg2.OperationalError as error:
        raise DatabaseUnreachable(f"no database there: {str(error).strip()}") from error
    except LeaseHeld as held:
        raise LeaseHeld(f"{held}: stop the pipeline (cdb_writer) that works on this database") from held
    try:
        yield store
    finally:
        store.close()
