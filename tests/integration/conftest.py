"""Real servers for the integration tests: one Valkey and one PostgreSQL a session, fresh content a test."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from claire.embedded import DATABASE, EmbeddedPostgres, EmbeddedRedis
from services.common.settings import Infrastructure

_database_number = count(1)


@pytest.fixture(scope="session")
def servers_folder() -> Iterator[Path]:
    """A short folder outside pytest's own: UNIX sockets have short names, and PostgreSQL may run as another user."""
    folder = Path(tempfile.mkdtemp(prefix="claire-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder for one test's own servers or data directory."""
    folder = Path(tempfile.mkdtemp(prefix="claire-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def redis_server(servers_folder: Path) -> Iterator[EmbeddedRedis]:
    """The session's Valkey; its content is whatever the last test left."""
    with EmbeddedRedis(servers_folder / "redis", maxmemory="0") as server:
        yield server


@pytest.fixture
def embedded_redis(redis_server: EmbeddedRedis) -> EmbeddedRedis:
    """The session's Valkey, empty; do not stop it (start one of your own on `short_folder` for that)."""
    with redis_server.client() as client:
        client.flushall()
        client.script_flush()
    return redis_server


@pytest.fixture(scope="session")
def embedded_postgres(servers_folder: Path) -> Iterator[EmbeddedPostgres]:
    """The session's PostgreSQL."""
    with EmbeddedPostgres(servers_folder / "postgres", durable=False) as server:
        yield server


@pytest.fixture
def database(embedded_postgres: EmbeddedPostgres) -> Iterator[str]:
    """Name of a fresh, empty database, owned by the service role."""
    name = f"test_{next(_database_number)}"
    embedded_postgres.create_database(name)
    yield name
    embedded_postgres.drop_database(name)


@pytest.fixture
def environment(
    embedded_redis: EmbeddedRedis, embedded_postgres: EmbeddedPostgres, database: str, short_folder: Path
) -> dict[str, str]:
    """Environment variables of a service that shall work on this test's servers."""
    values: dict[str, Any] = {
        **embedded_redis.environment,
        **embedded_postgres.environment,
        "POSTGRES_DB": database,
        "STATE_DIR": str(short_folder / "state"),
        "LOG_FORMAT": "json",
    }
    assert values["POSTGRES_DB"] != DATABASE
    return values


@pytest.fixture
def infrastructure(environment: dict[str, str]) -> Infrastructure:
    """The same as typed settings."""
    return Infrastructure.model_validate(environment)
