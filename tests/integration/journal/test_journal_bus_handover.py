"""What the bus has taken is handed out, also when the next question to Redis fails: the cursor never runs ahead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis
from journal_support import ALL, Server, drain, feed, fence_of, quote, tick, whole

from services.common.channels import RISK, WS
from services.common.errors import JournalClosed
from services.common.journal import bus as bus_module
from services.common.journal import stream_reader
from services.common.journal.attachment import Attachment
from services.common.journal.bus import Bus
from services.common.journal.client import JournalClient
from services.common.journal.entry import Cause
from services.common.journal.link import Link

pytestmark = pytest.mark.integration

MakeBus = Callable[..., Bus]


@pytest.fixture
def client(server: Server, clients: Any) -> JournalClient:
    """A client of the shared, empty journal."""
    made: JournalClient = clients(server)
    return made


def test_messages_taken_before_a_failed_look_are_handed_out(
    server: Server, client: JournalClient, buses: MakeBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bus's own connection dies while messages lie in the subscriber: the look fails, no entry is lost."""
    monkeypatch.setattr(bus_module, "IDLE_SEC", 0.0)
    monkeypatch.setattr(bus_module, "BUSY_SEC", 0.0)
    ws = fence_of(server, WS)
    bus = buses(server, RISK, *ALL, mode="pubsub")
    bus.open(None)
    feed(client, ws, range(1, 3))
    seen = drain(bus, 2)
    for k in range(3, 60, 3):
        feed(client, ws, range(k, k + 3))
        with server.admin() as admin:
            for connection in admin.client_list():
                if connection["name"] == "cdb_risk:bus":
                    admin.client_kill_filter(_id=connection["id"])
        seen += drain(bus, 3)

    assert seen == whole(client)


@pytest.fixture(params=["pubsub", "xread"])
def asking(
    request: pytest.FixtureRequest, server: Server, buses: MakeBus, monkeypatch: pytest.MonkeyPatch
) -> tuple[Bus, Callable[[Exception], None]]:
    """A bus that reads pages of two and looks at the head at every turn, and what makes the next look fail."""
    monkeypatch.setattr(bus_module, "PAGE", 2)
    monkeypatch.setattr(bus_module, "IDLE_SEC", 0.0)
    monkeypatch.setattr(bus_module, "BUSY_SEC", 0.0)
    failures: list[Exception] = []

    def read_head(link: Link, attachment: Attachment) -> int:
        if failures:
            raise failures.pop()
        return stream_reader.read_head(link, attachment)

    monkeypatch.setattr(bus_module, "read_head", read_head)
    return buses(server, RISK, *ALL, mode=request.param), failures.append


@pytest.mark.parametrize("failure", [redis.ConnectionError("gone"), JournalClosed("another epoch")])
def test_entries_taken_before_the_head_cannot_be_read_are_handed_out(
    server: Server, client: JournalClient, asking: tuple[Bus, Callable[[Exception], None]], failure: Exception
) -> None:
    """The question for the head after a full page fails: the page comes nevertheless, then what follows it."""
    ws = fence_of(server, WS)
    bus, fail_with = asking
    bus.open(None)
    feed(client, ws, range(1, 3))
    seen = drain(bus, 2)
    seen += bus.poll(0.02)
    fail_with(failure)
    client.publish(WS, ws, Cause("feed", 3), [quote(k) for k in range(3, 8)])

    seen += drain(bus, 5)

    assert bus.restarts == 1
    assert seen == whole(client)


def test_messages_taken_before_the_connection_is_found_closed_are_handed_out(
    server: Server, client: JournalClient, buses: MakeBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that does not follow makes the bus look into the stream; when that fails, those before it stay."""
    ws = fence_of(server, WS)
    bus = buses(server, RISK, *ALL, mode="pubsub")
    bus.open(None)
    feed(client, ws, range(1, 3))
    seen = drain(bus, 2)
    real = Bus._refuse_passed_over
    failed: list[Any] = []

    def fails_once(self: Bus, *arguments: Any) -> None:
        if not failed:
            failed.append(arguments)
            raise redis.ConnectionError("gone")
        real(self, *arguments)

    monkeypatch.setattr(Bus, "_refuse_passed_over", fails_once)
    client.publish(WS, ws, Cause("feed", 3), [quote(3), tick(3)])
    with server.admin() as admin:
        admin.publish("market_data", b'{"journal_id":"1-9","previous_id":"1-8","cause":"",' + quote(9).data[1:])
    client.publish(WS, ws, Cause("feed", 4), [quote(4)])

    seen += drain(bus, 3)

    assert failed
    assert seen == whole(client)
