"""Stores and processes for the writer's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from claire.embedded import EmbeddedPostgres
from services.cdb_writer.adapters.connection import Connect, connector
from services.cdb_writer.adapters.schema import migrate
from services.cdb_writer.adapters.store import EventStore
from services.common.journal.opening import is_open
from services.common.settings import Infrastructure
from tests.integration.writer.writer_support import Feeder, WriterProcess, WriterThread, wait_for


@pytest.fixture
def connect(infrastructure: Infrastructure) -> Connect:
    """Opens connections to this test's empty database."""
    return connector(infrastructure)


@pytest.fixture
def another_connect(
    embedded_postgres: EmbeddedPostgres, infrastructure: Infrastructure, database: str
) -> Iterator[Connect]:
    """Opens connections to a second empty database, for the undisturbed run."""
    name = f"{database}_undisturbed"
    embedded_postgres.create_database(name)
    yield connector(infrastructure.model_copy(update={"POSTGRES_DB": name}))
    embedded_postgres.drop_database(name)


@pytest.fixture
def store(connect: Connect) -> Iterator[EventStore]:
    """An open, empty store."""
    migrate(connect)
    store = EventStore(connect)
    store.open()
    yield store
    store.close()


@pytest.fixture
def feeder(infrastructure: Infrastructure) -> Iterator[Callable[[], Feeder]]:
    """Makes a feeder once the writer has opened the bus."""
    made: list[Feeder] = []

    def make() -> Feeder:
        wait_for(lambda: is_open(infrastructure), "the writer opens the bus")
        made.append(Feeder(infrastructure))
        return made[-1]

    yield make
    for feeder in made:
        feeder.close()


@pytest.fixture
def new_writer(environment: dict[str, str], short_folder: Path) -> Iterator[Callable[..., WriterProcess]]:
    """Makes writer processes that do not outlive the test."""
    made: list[WriterProcess] = []

    def make(**more: str) -> WriterProcess:
        made.append(WriterProcess({**environment, **more}, short_folder))
        return made[-1]

    yield make
    for writer in made:
        if writer.process is not None and writer.process.poll() is None:
            writer.kill()


@pytest.fixture
def new_thread(environment: dict[str, str]) -> Iterator[Callable[..., WriterThread]]:
    """Makes writers in threads that do not outlive the test."""
    made: list[WriterThread] = []

    def make(**more: str) -> WriterThread:
        made.append(WriterThread({**environment, **more}))
        return made[-1]

    yield make
    for writer in made:
        writer.life.stop.set()
        writer.ended()
