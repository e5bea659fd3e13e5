"""Servers, clients, buses and leases of the journal's tests; everything is closed after the test."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from journal_support import Server, start_server

from services.common.journal.bus import Bus
from services.common.journal.client import JournalClient
from services.common.journal.lease import Lease
from services.common.journal.opening import open_bus


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Server]:
    """A server for tests that neither stop nor reconfigure it."""
    folder = Path(tempfile.mkdtemp(prefix="journal-"))
    server = start_server(folder, appendfsync="no")
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def server(shared_server: Server) -> Server:
    """The shared server, emptied, its bus open."""
    with shared_server.admin() as admin:
        admin.flushall()
        admin.script_flush()
        admin.config_set("maxmemory", 0)
    open_bus(shared_server.infra)
    return shared_server


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server for this test alone, its bus open: it may be killed, cut and reconfigured."""
    folder = Path(tempfile.mkdtemp(prefix="journal-"))
    server = start_server(folder)
    open_bus(server.infra)
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def clients() -> Iterator[Callable[..., JournalClient]]:
    """Make journal clients that are closed after the test."""
    made: list[JournalClient] = []

    def make(server: Server, name: str = "test", **options: Any) -> JournalClient:
        made.append(JournalClient(server.infra, name=name, **options))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def buses() -> Iterator[Callable[..., Bus]]:
    """Make buses that are closed after the test."""
    made: list[Bus] = []

    def make(server: Server, service: str, *channels: str, **options: Any) -> Bus:
        made.append(Bus(server.infra, service, frozenset(channels), **options))
        return made[-1]

    yield make
    for bus in made:
        bus.close()


@pytest.fixture
def leases() -> Iterator[Callable[..., Lease]]:
    """Make leases whose connections are closed after the test."""
    made: list[Lease] = []

    def make(server: Server, **options: Any) -> Lease:
        made.append(Lease(server.infra, **options))
        return made[-1]

    yield make
    for lease in made:
        lease.close()
