"""A database to read a history from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.cdb_writer.adapters.connection import Connect, connector
from services.cdb_writer.adapters.schema import migrate
from services.cdb_writer.adapters.store import EventStore
from services.common.settings import Infrastructure


@pytest.fixture
def connect(infrastructure: Infrastructure) -> Connect:
    """Opens connections to this test's empty database."""
    return connector(infrastructure)


@pytest.fixture
def store(connect: Connect) -> Iterator[EventStore]:
    """An open, empty store."""
    migrate(connect)
    store = EventStore(connect)
    store.open()
    yield store
    store.close()
