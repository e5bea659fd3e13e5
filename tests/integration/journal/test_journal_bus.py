"""Consuming: every entry exactly once and in order, in both modes of the bus, whatever happens to connections."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import redis
from journal_support import (
    ALL,
    MemoryArchive,
    Server,
    alert,
    drain,
    eventually,
    feed,
    fence_of,
    order,
    quote,
    signal,
    tick,
    whole,
)

from services.common.channels import (
    CHANNELS,
    CONTROL,
    CORE,
    EXECUTION,
    MARKET_DATA,
    ORDER_RESULTS,
    ORDERS,
    RISK,
    RISK_DECISIONS,
    WRITER,
    WS,
)
from services.common.errors import JournalClosed, JournalHole, StateMismatch
from services.common.journal.bus import Bus
from services.common.journal.client import JournalClient
from services.common.journal.entry import Cause, Entry, JournalId
from services.common.journal.opening import open_bus
from services.common.journal.subscriber import Message, Subscriber

pytestmark = pytest.mark.integration

MakeBus = Callable[..., Bus]


@pytest.fixture(params=["pubsub", "xread"])
def mode(request: pytest.FixtureRequest) -> str:
    """Both modes of the bus; the stream itself is the oracle of the other."""
    return str(request.param)


@pytest.fixture
def client(server: Server, clients: Any) -> JournalClient:
    """A client of the shared, empty journal."""
    made: JournalClient = clients(server)
    return made


def kill_connections(server: Server, name: str) -> int:
    """Close the connections with this name from the server's side; return how many there were."""
    with server.admin() as admin:
        found = [c for c in admin.client_list() if c["name"] == name]
        for connection in found:
            admin.client_kill_filter(_id=connection["id"])
        return len(found)


def mixed(client: JournalClient, server: Server, rounds: int) -> None:
    """Publish `rounds` times a quote and a tick of the feed and, every third time, an alert of core."""
    ws, core = fence_of(server, WS), fence_of(server, CORE)
    for k in range(1, rounds + 1):
        client.publish(WS, ws, Cause("feed", k), [quote(k), tick(k)])
        if k % 3 == 0:
            client.publish(CORE, core, Cause("alert", k), [alert(k, CORE)])


def test_entries_are_those_of_the_stream(server: Server, client: JournalClient, buses: MakeBus, mode: str) -> None:
    """Caught up or followed, the bus hands out exactly the stream's entries, all their fields, in order."""
    bus = buses(server, RISK, *ALL, mode=mode)
    mixed(client, server, 20)
    bus.open(None)
    early = drain(bus, 46)
    ws = fence_of(server, WS)
    for k in range(21, 41):
        client.publish(WS, ws, Cause("feed", k), [quote(k), tick(k)])

    late = drain(bus, 40)

    assert early + late == whole(client)
    assert (bus.cursor, bus.lag, bus.at_head) == (JournalId(1, 86), 0, True)


def test_only_the_own_channels_are_handed_out(server: Server, client: JournalClient, buses: MakeBus, mode: str) -> None:
    """A bus over two channels skips the others, while catching up and while following."""
    bus = buses(server, WRITER, "market_data", "alerts", mode=mode)
    mixed(client, server, 9)
    bus.open(None)
    first = drain(bus, 12)
    ws = fence_of(server, WS)
    client.publish(WS, ws, Cause("feed", 10), [tick(10), quote(10), tick(11)])

    second = drain(bus, 1)

    assert [e for e in whole(client) if e.channel in {"market_data", "alerts"}] == first + second


def test_idle_bus_reaches_the_head_over_entries_of_others(
    server: Server, client: JournalClient, buses: MakeBus, mode: str
) -> None:
    """Entries of other channels do not count as lag for ever: an idle bus moves its cursor over them."""
    bus = buses(server, CORE, "signals", mode=mode)
    bus.open(None)
    assert bus.poll(0) == []
    feed(client, fence_of(server, WS), range(1, 6))

    eventually(lambda: bus.poll(0.05) == [] and bus.cursor == JournalId(1, 5))
    assert bus.at_head


def test_bus_goes_on_after_its_cursor(server: Server, client: JournalClient, buses: MakeBus, mode: str) -> None:
    """A restarted consumer opens at its cursor and gets what follows, not what it had."""
    mixed(client, server, 10)
    bus = buses(server, RISK, *ALL, mode=mode)

    bus.open(JournalId(1, 7))

    assert [e.id.n for e in drain(bus, 16)] == list(range(8, 24))


def test_long_catch_up_comes_in_pages(server: Server, client: JournalClient, buses: MakeBus, mode: str) -> None:
    """Over a thousand entries arrive in order, and the bus is at the head only after the last of them."""
    ws = fence_of(server, WS)
    for k in range(1, 13):
        client.publish(WS, ws, Cause("feed", k), [quote(100 * k + i) for i in range(100)])
    bus = buses(server, RISK, *ALL, mode=mode)
    bus.open(None)

    first = bus.poll(1)
    assert not bus.at_head
    assert bus.lag == 1200 - len(first)
    rest = drain(bus, 1200 - len(first))

    assert [e.id.n for e in first + rest] == list(range(1, 1201))
    assert bus.at_head


def test_publishing_while_catching_up_loses_nothing(
    server: Server, client: JournalClient, clients: Any, buses: MakeBus, mode: str
) -> None:
    """Events published between subscription, catch-up and following are handed out once each, in order."""
    ws = fence_of(server, WS)
    feed(client, ws, range(1, 600))
    publisher = clients(server)
    thread = threading.Thread(target=feed, args=(publisher, ws, range(600, 1500)))
    bus = buses(server, RISK, *ALL, mode=mode)
    bus.open(None)
    thread.start()

    entries = drain(bus, 1499)
    thread.join()

    assert [e.id.n for e in entries] == list(range(1, 1500))


def test_killed_subscriber_loses_no_last_message(
    server: Server, client: JournalClient, buses: MakeBus, mode: str
) -> None:
    """CLIENT KILL on both connections, then a last message on each channel: it comes, once."""
    ws, core = fence_of(server, WS), fence_of(server, CORE)
    bus = buses(server, RISK, *ALL, mode=mode)
    bus.open(None)
    feed(client, ws, range(1, 4))
    drain(bus, 3)

    assert kill_connections(server, "cdb_risk:subscriber") == 1
    client.publish(CORE, core, Cause("", 3), [signal(1, CORE)])
    assert [e.id for e in drain(bus, 1)] == [JournalId(1, 4)]

    assert kill_connections(server, "cdb_risk:bus") == 1
    assert kill_connections(server, "cdb_risk:subscriber") == 1
    feed(client, ws, range(4, 5))
    assert [e.id for e in drain(bus, 1)] == [JournalId(1, 5)]
    assert bus.problem is None


def swallow(monkeypatch: pytest.MonkeyPatch, lost: Callable[[Message], bool]) -> list[Message]:
    """Let the subscriber lose messages without any sign; return the list of those lost."""
    gone: list[Message] = []
    real = Subscriber.receive

    def receive(self: Subscriber, timeout_sec: float, limit: int) -> list[Message]:
        kept = []
        for message in real(self, timeout_sec, limit):
            if lost(message):
                gone.append(message)
            else:
                kept.append(message)
        return kept

    monkeypatch.setattr(Subscriber, "receive", receive)
    return gone


def test_silently_lost_last_message_is_found_when_idle(
    server: Server, client: JournalClient, buses: MakeBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last message of a channel vanishes on a living connection: no gap shows, the idle look finds it."""
    ws = fence_of(server, WS)
    bus = buses(server, RISK, *ALL, mode="pubsub")
    bus.open(None)
    feed(client, ws, range(1, 4))
    drain(bus, 3)
    gone = swallow(monkeypatch, lambda message: b'"journal_id":"1-4"' in message.data)

    feed(client, ws, range(4, 5))

    assert [e.id.n for e in drain(bus, 1, timeout_sec=2)] == [4]
    assert len(gone) >= 1
    assert bus.restarts == 1


def test_silently_lost_message_shows_in_the_next_one(
    server: Server, client: JournalClient, buses: MakeBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message whose previous_id was not seen makes the bus start over: the lost one comes first, then the rest."""
    ws = fence_of(server, WS)
    bus = buses(server, RISK, *ALL, mode="pubsub")
    bus.open(None)
    feed(client, ws, range(1, 4))
    drain(bus, 3)
    swallow(monkeypatch, lambda message: b'"journal_id":"1-4"' in message.data)

    feed(client, ws, range(4, 9))

    assert [e.id.n for e in drain(bus, 5)] == [4, 5, 6, 7, 8]


def test_entry_passed_over_on_another_channel_halts(
    server: Server, client: JournalClient, buses: MakeBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a later entry of another channel was handed out already, order is broken: halt and say which entry."""
    ws = fence_of(server, WS)
    bus = buses(server, RISK, *ALL, mode="pubsub")
    bus.open(None)
    feed(client, ws, range(1, 4))
    drain(bus, 3)
    swallow(monkeypatch, lambda message: b'"journal_id":"1-4"' in message.data)
    client.publish(WS, ws, Cause("feed", 4), [quote(4), tick(4)])

    with pytest.raises(StateMismatch, match="1-4 on market_data was passed over"):
        drain(bus, 99)


def test_passed_over_entry_shows_in_the_next_message(
    server: Server, client: JournalClient, buses: MakeBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same, when the channel of the lost entry speaks again before the idle look."""
    ws = fence_of(server, WS)
    bus = buses(server, RISK, *ALL, mode="pubsub")
    bus.open(None)
    feed(client, ws, range(1, 4))
    drain(bus, 3)
    swallow(monkeypatch, lambda message: b'"journal_id":"1-4"' in message.data)

    client.publish(WS, ws, Cause("feed", 4), [quote(4), tick(4), quote(5)])

    with pytest.raises(StateMismatch, match="1-4 on market_data was passed over"):
        drain(bus, 99)


@pytest.mark.security
@pytest.mark.parametrize("channel", [ORDERS, RISK_DECISIONS, ORDER_RESULTS, CONTROL])
def test_perfectly_forged_message_that_would_trade_is_not_an_entry(
    server: Server, client: JournalClient, buses: MakeBus, mode: str, channel: str
) -> None:
    """The next id, the right previous one and a well-formed event: without a place in the stream it is nothing."""
    ws = fence_of(server, WS)
    bus = buses(server, EXECUTION, *CHANNELS, mode=mode)
    bus.open(None)
    feed(client, ws, range(1, 4))
    drain(bus, 3)
    last = client.last_ids().get(channel, "0-0")
    with server.admin() as admin:
        for body in (quote(9).data[1:], tick(9).data[1:].replace(b'"tick"', b'"resume"')):
            admin.publish(channel, f'{{"journal_id":"1-4","previous_id":"{last}","cause":"3",'.encode() + body)

    handed_out = bus.poll(0.3)
    feed(client, ws, range(4, 6))

    assert handed_out == []
    assert [e.data for e in drain(bus, 2)] == [quote(4).data, quote(5).data]


def test_sealed_messages_need_no_question_to_the_stream(
    server: Server, client: JournalClient, buses: MakeBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the script has sealed is handed out at once; without the secret each is looked up, with the same result."""
    ws, risk = fence_of(server, WS), fence_of(server, RISK)
    asked: list[JournalId] = []
    entry_at = Bus._entry_at
    monkeypatch.setattr(Bus, "_entry_at", lambda self, place: asked.append(place) or entry_at(self, place))
    knowing, ignorant = (buses(server, EXECUTION, *ALL, ORDERS, CONTROL, mode="pubsub") for _ in range(2))
    for bus in (knowing, ignorant):
        bus.open(None)
        drain(bus, 0)
    ignorant._attachment = replace(ignorant._attached, secret=b"")

    (began,) = feed(client, ws, range(1, 2))
    sent = [*client.publish(RISK, risk, Cause.of(began), [order(1, RISK), order(2, RISK)]).ids]
    sent += feed(client, ws, range(2, 3), make=tick)

    assert [e.id for e in drain(knowing, 4)] == [began, *sent]
    assert asked == []
    assert [e.id for e in drain(ignorant, 4)] == [began, *sent]
    assert asked == sent


def test_repeated_and_forged_messages_are_not_entries(
    server: Server, client: JournalClient, buses: MakeBus, mode: str
) -> None:
    """A captured message that somebody publishes again, or one with made-up ids, is never handed out."""
    ws = fence_of(server, WS)
    bus = buses(server, RISK, *ALL, mode=mode)
    bus.open(None)
    feed(client, ws, range(1, 4))
    drain(bus, 3)
    body = quote(9).data[1:]
    forged = [
        f'{{"journal_id":"{journal_id}","previous_id":"{previous}","cause":"",'.encode() + body
        for journal_id, previous in (
            ("1-2", "1-1"), ("1-3", "1-2"), ("1-2", "1-3"), ("1-9", "1-8"), ("2-4", "1-3"), ("1-9", "1-1"),
        )
    ]  # fmt: skip
    forged.append(b'{"journal_id":"1-4","previous_id":"1-3","cause":"","type":"market_data"}')
    for message in forged:
        with server.admin() as admin:
            admin.publish("market_data", message)
        assert bus.poll(0.02) == []

    feed(client, ws, range(4, 6))

    assert [e.data for e in drain(bus, 2)] == [quote(4).data, quote(5).data]
    for journal_id in ("1-4", "1-5"):
        with server.admin() as admin:
            admin.publish(
                "market_data", f'{{"journal_id":"{journal_id}","previous_id":"1-5","cause":"",'.encode() + body
            )
        assert bus.poll(0.02) == []
    feed(client, ws, range(6, 7))
    assert [e.data for e in drain(bus, 1)] == [quote(6).data]
    assert bus.take_foreign() == []


def test_slow_consumer_that_the_server_disconnects_recovers(
    own_server: Server, clients: Any, buses: MakeBus, mode: str
) -> None:
    """The server drops a subscriber whose buffer overflows; when it reads again, nothing is missing or double."""
    client = clients(own_server)
    with own_server.admin() as admin:
        admin.config_set("client-output-buffer-limit", "pubsub 262144 0 0")
    bus = buses(own_server, RISK, *ALL, mode=mode)
    bus.open(None)
    ws = fence_of(own_server, WS)
    feed(client, ws, range(1, 3))
    seen = drain(bus, 2)

    def subscribed() -> bool:
        with own_server.admin() as admin:
            return "cdb_risk:subscriber" in [c["name"] for c in admin.client_list()]

    k = 2
    while subscribed():
        k += 1
        assert k < 100, "the server never disconnected it"
        client.publish(WS, ws, Cause("feed", k), [signal(k, WS, reason="x" * 900_000)])
    seen += drain(bus, k - 2)
    feed(client, ws, range(k + 1, k + 3))
    seen += drain(bus, 2)

    assert seen == whole(client)


# holes


def trim_exactly(server: Server, first: int) -> None:
    """Remove everything before number `first` from the stream."""
    with server.admin() as admin:
        admin.xtrim("journal", minid=f"1-{first}", approximate=False)


def test_hole_is_read_from_the_archive(server: Server, client: JournalClient, buses: MakeBus, mode: str) -> None:
    """Entries that trimming removed come from the archive, the rest from the stream, in one order."""
    feed(client, fence_of(server, WS), range(1, 21))
    expected = whole(client)
    archive = MemoryArchive()
    archive.fill(client)
    trim_exactly(server, 15)
    bus = buses(server, RISK, *ALL, mode=mode, archive=archive)

    bus.open(JournalId(1, 3))

    assert drain(bus, 17) == expected[3:]


def test_hole_without_archive_halts(server: Server, client: JournalClient, buses: MakeBus, mode: str) -> None:
    """A hole that nothing fills is never passed: the error names the missing numbers."""
    feed(client, fence_of(server, WS), range(1, 21))
    trim_exactly(server, 15)
    bus = buses(server, RISK, *ALL, mode=mode)
    bus.open(JournalId(1, 3))

    with pytest.raises(JournalHole, match="events 4 to 14"):
        bus.poll(0.5)


def test_hole_inside_the_archive_halts_behind_what_is_whole(
    server: Server, client: JournalClient, buses: MakeBus, mode: str
) -> None:
    """An archive that lacks one event gives what comes before it; then the bus halts."""
    feed(client, fence_of(server, WS), range(1, 21))
    archive = MemoryArchive()
    archive.fill(client)
    del archive.entries[9]
    trim_exactly(server, 15)
    bus = buses(server, RISK, *ALL, mode=mode, archive=archive)
    bus.open(None)

    assert [e.id.n for e in drain(bus, 9)] == list(range(1, 10))
    with pytest.raises(JournalHole, match="events 10 to 14"):
        bus.poll(0.5)


def test_emptied_stream_is_a_hole_not_silence(server: Server, client: JournalClient, buses: MakeBus, mode: str) -> None:
    """A stream without entries before its head means that they are gone, not that there are none."""
    feed(client, fence_of(server, WS), range(1, 6))
    with server.admin() as admin:
        admin.xtrim("journal", maxlen=0, approximate=False)
    bus = buses(server, RISK, *ALL, mode=mode)
    bus.open(JournalId(1, 2))
    with pytest.raises(JournalHole, match="events 3 to 5"):
        bus.poll(0.5)


def test_archive_that_is_away_is_waited_for(server: Server, client: JournalClient, buses: MakeBus, mode: str) -> None:
    """PostgreSQL being down while a hole must be read is a problem to wait out, not a hole."""
    feed(client, fence_of(server, WS), range(1, 21))
    archive = MemoryArchive()
    archive.fill(client)
    trim_exactly(server, 15)
    away = True
    real = archive.read

    def read(after: int, count: int) -> list[Entry]:
        if away:
            raise ConnectionError("PostgreSQL is away")
        return real(after, count)

    archive.read = read  # type: ignore[method-assign]
    bus = buses(server, RISK, *ALL, mode=mode, archive=archive)
    bus.open(None)

    assert bus.poll(0.05) == []
    assert bus.problem == "PostgreSQL is away"
    away = False
    assert [e.id.n for e in drain(bus, 20)] == list(range(1, 21))
    assert bus.problem is None


# opening


def test_closed_bus_is_waited_for(server: Server, client: JournalClient, buses: MakeBus, mode: str) -> None:
    """Opening waits for the writer; when it does not come in time the error says what is waited for."""
    feed(client, fence_of(server, WS), range(1, 3))
    with server.admin() as admin:
        admin.delete("bus:open")
    bus = buses(server, RISK, *ALL, mode=mode)

    with pytest.raises(JournalClosed, match="cdb_writer"):
        bus.open(None, timeout_sec=0.05)
    opener = threading.Timer(0.1, open_bus, (server.infra,))
    opener.start()
    bus.open(None, timeout_sec=10)
    opener.join()

    assert len(drain(bus, 2)) == 2


def test_cursor_that_the_journal_does_not_have_is_refused(
    server: Server, client: JournalClient, buses: MakeBus, mode: str
) -> None:
    """A snapshot beyond the head, or of an unknown epoch, cannot be continued from."""
    feed(client, fence_of(server, WS), range(1, 3))
    bus = buses(server, RISK, *ALL, mode=mode)
    for cursor in (JournalId(1, 3), JournalId(2, 1)):
        with pytest.raises(StateMismatch):
            bus.open(cursor)


def test_server_that_is_not_there_is_an_error_at_opening(own_server: Server, buses: MakeBus, mode: str) -> None:
    """No server within the time: the connection's own error."""
    bus = buses(own_server, RISK, *ALL, mode=mode)
    own_server.kill()
    with pytest.raises(redis.ConnectionError):
        bus.open(None, timeout_sec=0.05)


# foreign messages


def test_foreign_messages_go_to_the_owner_of_the_channel(
    server: Server, client: JournalClient, buses: MakeBus, mode: str
) -> None:
    """What redis-cli publishes is given to the one service that owns the channel, raw, and is no entry."""
    names = (CORE, RISK, EXECUTION, WRITER)
    opened = {name: buses(server, name, *ALL, mode=mode) for name in names}
    for bus in opened.values():
        bus.open(None)
        bus.poll(0)
    with server.admin() as admin:
        for channel in ALL:
            admin.publish(channel, f"by hand on {channel}")
    feed(client, fence_of(server, WS), range(1, 2))

    taken: dict[str, list[str]] = {}
    for name, bus in opened.items():
        assert len(drain(bus, 1)) == 1
        eventually(lambda bus=bus: bus.poll(0.05) == [] and bus._foreign)
        taken[name] = [message.channel for message in bus.take_foreign()]
        assert bus.take_foreign() == []

    assert taken == {
        CORE: ["market_data"],
        RISK: ["signals", "order_results"],
        EXECUTION: ["orders", "risk_decisions"],
        WRITER: ["alerts", "control"],
    }


def test_foreign_message_ends_the_wait(server: Server, buses: MakeBus, mode: str) -> None:
    """A service need not wait out its poll to see a foreign message."""
    bus = buses(server, RISK, *ALL, mode=mode)
    bus.open(None)
    bus.poll(0)
    with server.admin() as admin:
        admin.publish("signals", b"\x00\xff not even text")
    started = time.monotonic()

    assert bus.poll(60) == []

    assert time.monotonic() - started < 30
    assert [(m.channel, m.raw) for m in bus.take_foreign()] == [("signals", b"\x00\xff not even text")]


def test_bus_for_foreign_messages_alone(server: Server, client: JournalClient, buses: MakeBus, mode: str) -> None:
    """A service that reads the stream elsewhere may use a bus without channels for its foreign messages."""
    bus = buses(server, WRITER, mode=mode)
    bus.open(None)
    bus.poll(0)
    feed(client, fence_of(server, WS), range(1, 4))
    with server.admin() as admin:
        admin.publish("alerts", "by hand")

    eventually(lambda: bus.poll(0.05) == [] and bus._foreign and bus.at_head)

    assert [m.raw for m in bus.take_foreign()] == [b"by hand"]


def test_foreign_messages_before_a_lost_connection_are_kept(server: Server) -> None:
    """What had arrived when the server closed the connection is handed on; then the subscriber says that it is gone."""
    subscriber = Subscriber(server.infra, ["signals"], name="cdb_risk:subscriber")
    with server.admin() as admin:
        admin.publish("signals", "first")
        admin.publish("signals", "second")
    kill_connections(server, "cdb_risk:subscriber")

    arrived: list[Message] = []
    while len(arrived) < 2:
        arrived += subscriber.receive(5, 100)
    for _ in range(2):
        with pytest.raises(redis.ConnectionError):
            subscriber.receive(5, 100)
    subscriber.close()

    assert [message.data for message in arrived] == [b"first", b"second"]


def test_foreign_messages_outlive_a_new_opening(
    server: Server, client: JournalClient, buses: MakeBus, mode: str
) -> None:
    """A service that goes back to its snapshot opens its bus again: what had come, read or not, is still there."""
    bus = buses(server, RISK, MARKET_DATA, mode=mode)
    bus.open(None)
    eventually(lambda: bus.poll(0.05) == [] and bus.at_head)
    with server.admin() as admin:
        admin.publish("signals", "read")
        eventually(lambda: bus.poll(0.05) == [] and bus._foreign)
        admin.publish("signals", "not read")
    assert bus._subscriber is not None
    subscribed = bus._subscriber._connection._sock
    eventually(lambda: bool(select.select([subscribed], [], [], 0.1)[0]))

    bus.open(None)

    assert [message.raw for message in bus.take_foreign()] == [b"read", b"not read"]


def test_a_message_out_of_order_does_not_end_the_subscription(
    server: Server, client: JournalClient, buses: MakeBus
) -> None:
    """It reads the stream again on the same connection: a foreign message behind it has nowhere else to be."""
    bus = buses(server, CORE, MARKET_DATA)
    bus.open(None)
    eventually(lambda: bus.poll(0.05) == [] and bus.at_head)
    subscriber = bus._subscriber
    with server.admin() as admin:
        admin.publish(MARKET_DATA, b'{"journal_id":"1-2","previous_id":"1-1","cause":"1",}')
        eventually(lambda: bus.poll(0.05) == [] and bus.restarts == 1)
        made = feed(client, fence_of(server, WS), range(1, 3))
        admin.publish(MARKET_DATA, "by hand")

    assert [entry.id for entry in drain(bus, 2)] == made
    assert bus._subscriber is subscriber
    eventually(lambda: bus.poll(0.05) == [] and bus._foreign)
    assert [message.raw for message in bus.take_foreign()] == [b"by hand"]


def test_no_message_of_a_flood_is_lost_to_a_look_or_a_new_start(
    server: Server, client: JournalClient, buses: MakeBus, mode: str
) -> None:
    """Own entries behind thousands of foreign messages are late, not lost, and a new start keeps what had arrived."""
    bus = buses(server, CORE, MARKET_DATA, mode=mode)
    bus.open(None)
    eventually(lambda: bus.poll(0.05) == [] and bus.at_head)
    with server.admin() as admin:
        pipe = admin.pipeline(transaction=False)
        for number in range(3_000):
            pipe.publish(MARKET_DATA, str(number))
        pipe.execute()
        made = feed(client, fence_of(server, WS), range(1, 6))
        admin.publish(
            MARKET_DATA, b'{"journal_id":"1-2","previous_id":"1-1","cause":"1",}'
        )  # not its place: the bus starts over
        for number in range(3_000, 6_000):
            pipe.publish(MARKET_DATA, str(number))
        pipe.execute()
    time.sleep(1.1)  # the bus is due to compare the last ids before it has read what came
    entries: list[Entry] = []
    foreign: list[bytes] = []

    def all_there() -> bool:
        entries.extend(bus.poll(0.05))
        foreign.extend(message.raw for message in bus.take_foreign())
        return len(foreign) >= 6_000 and len(entries) >= 5

    eventually(all_there)
    assert foreign == [str(number).encode() for number in range(6_000)]
    assert [entry.id for entry in entries] == made


def test_flood_of_foreign_messages_is_bounded_and_counted(
    server: Server, buses: MakeBus, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """Beyond the backlog foreign messages are dropped and counted, never held without limit."""
    monkeypatch.setattr("services.common.journal.bus.MAX_FOREIGN", 3)
    bus = buses(server, RISK, *ALL, mode=mode)
    bus.open(None)
    bus.poll(0)
    with server.admin() as admin:
        for k in range(5):
            admin.publish("signals", str(k))
    eventually(lambda: bus.poll(0.05) == [] and bus.foreign_dropped == 2)

    assert [m.raw for m in bus.take_foreign()] == [b"0", b"1", b"2"]


def test_stream_mode_without_foreign_channels_needs_no_subscriber(
    server: Server, client: JournalClient, buses: MakeBus
) -> None:
    """A service that owns no channel follows the stream over one connection."""
    bus = buses(server, WS, "control", mode="xread")
    bus.open(None)
    client.publish(WS, fence_of(server, WS), Cause("feed", 1), [quote(1), tick(1)])

    assert [e.id.n for e in drain(bus, 1)] == [2]
    with server.admin() as admin:
        assert not [c for c in admin.client_list() if c["name"] == "cdb_ws:subscriber"]
