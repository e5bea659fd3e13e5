"""Opens the database of a data folder (starting its server when nobody else has) or any other by its address."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2

from claire.data_folder import DataFolder
from services.common.errors import InputUnusable
from services.common.settings import Infrastructure, load_settings, read_environment

__all__ = ["DatabaseUnreachable", "connect_elsewhere", "open_database"]

Connection = psycopg2.extensions.connection


class DatabaseUnreachable(InputUnusable):
    """There is no database where one was looked for."""


@contextmanager
def open_database(folder: Path, dsn: str, environ: Mapping[str, str]) -> Iterator[Connection]:
    """Yield a connection.

    Args:
        folder: data folder of `claire up`; its server is started for the moment unless `claire up` is running on it.
        dsn: connection string to use instead of the folder; `env` takes POSTGRES_HOST and so on.
        environ: where POSTGRES_* come from.

    Raises:
        DatabaseUnreachable: nothing was ever run on the folder, or nobody answers at the address.
    """
    if dsn:
        connection = connect_elsewhere(dsn, environ)
        try:
            yield connection
        finally:
            connection.close()
        return
    data = DataFolder(folder)
    if not data.exists:
        raise DatabaseUnreachable(f"{data.path} holds no database yet; run: claire up --data-dir {folder}")
    server = data.postgres()
    ours = data.try_acquire()
    try:
        if ours:
            server.start()
        try:
            connection = server.connect()
        except psycopg2.OperationalError as error:
            raise DatabaseUnreachable(f"PostgreSQL of {data.path} does not answer: {error}") from error
        try:
            yield connection
        finally:
            connection.close()
    finally:
        if ours:
            server.stop()
            data.release()


def connect_elsewhere(dsn: str, environ: Mapping[str, str]) -> Connection:
    """Return a connection to a database by its address; `env` takes POSTGRES_HOST and so on.

    Raises:
        DatabaseUnreachable: nobody answers there.
    """
    address: dict[str, Any] = {"dsn": dsn}
    if dsn == "env":
        address = load_settings(Infrastructure, read_environment(environ)).postgres_address()
    try:
        connection: Connection = psycopg2.connect(**address, connect_timeout=5)
    except psycopg2.Error as error:
        raise DatabaseUnreachable(f"no database there: {error}") from error
    return connection
