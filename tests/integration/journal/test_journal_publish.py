"""Publishing: one atomic, idempotent step."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import redis
from journal_support import MemoryArchive, Server, alert, drain, feed, fence_of, order, quote, signal, tick, whole
from pydantic import SecretStr

from services.common.channels import CHANNELS, CORE, EXECUTION, OPERATOR, RISK, WS
from services.common.errors import FenceLost, JournalClosed, PublishRefused, PublishRejected, StateMismatch
from services.common.events import Alert, Control, RiskDecision
from services.common.journal.bus import Bus
from services.common.journal.client import JournalClient, PublishResult
from services.common.journal.entry import Cause, JournalId
from services.common.journal.opening import open_bus
from services.common.journal.scripts import PUBLISH
from services.common.journal.trimming import trim
from services.common.settings import Infrastructure

pytestmark = pytest.mark.integration


@pytest.fixture
def client(server: Server, clients: Any) -> JournalClient:
    """A client of the shared, empty journal."""
    return clients(server)


def test_first_batch_gets_contiguous_ids_and_leaves_all_marks(server: Server, client: JournalClient) -> None:
    """A batch of three gets 1-1 to 1-3; head, high-water mark and the channels' last ids say so."""
    fence = fence_of(server, WS)

    result = client.publish(WS, fence, Cause("feed", 7), [quote(1), tick(1), quote(2)])

    assert result == PublishResult("new", (JournalId(1, 1), JournalId(1, 2), JournalId(1, 3)), 3, "none")
    assert client.head() == JournalId(1, 3)
    assert client.high_water("cdb_ws/feed") == 7
    assert client.last_ids() == {"market_data": JournalId(1, 3), "control": JournalId(1, 2)}
    assert client.cursors() == {}


def test_journal_holds_the_canonical_bytes(server: Server, client: JournalClient) -> None:
    """What is read back are the event's own bytes, its channel, producer and cause, in order of publication."""
    fence = fence_of(server, WS)
    events = [quote(1), tick(1)]

    client.publish(WS, fence, Cause("feed", 1), events)

    entries = client.read(0, 10)
    assert [e.data for e in entries] == [e.data for e in events]
    assert [(e.channel, e.producer, e.cause) for e in entries] == [
        ("market_data", WS, "feed:1"),
        ("control", WS, "feed:1"),
    ]
    assert entries[0].event == events[0]


def test_message_is_the_bytes_with_its_place_spliced_in_front(server: Server, client: JournalClient) -> None:
    """A pub/sub message is the event's JSON preceded by journal_id, previous_id of the channel, and cause."""
    fence = fence_of(server, WS)
    with server.admin() as admin, admin.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe("market_data")
        listener.get_message(timeout=5)

        client.publish(WS, fence, Cause("feed", 1), [quote(1), tick(1), quote(2)])
        messages = [listener.get_message(timeout=5) for _ in range(2)]

    assert [message["data"] for message in messages if message] == [
        b'{"journal_id":"1-1","previous_id":"0-0","cause":"feed:1",' + quote(1).data[1:],
        b'{"journal_id":"1-3","previous_id":"1-1","cause":"feed:1",' + quote(2).data[1:],
    ]


def test_same_cause_twice_is_published_once(server: Server, client: JournalClient) -> None:
    """A batch repeated after a lost reply is recognised by its cause and changes nothing, also across batches."""
    fence = fence_of(server, WS)
    client.publish(WS, fence, Cause("feed", 1), [quote(1)])
    client.publish(WS, fence, Cause("feed", 2), [quote(2)])

    again = client.publish(WS, fence, Cause("feed", 2), [quote(2)])
    older = client.publish(WS, fence, Cause("feed", 1), [quote(1)])

    assert (again.status, again.ids, again.head) == ("repeated", (), 2)
    assert older.status == "repeated"
    assert len(whole(client)) == 2


def test_reply_lost_on_the_way_is_a_repetition(server: Server, client: JournalClient) -> None:
    """The connection dies after the script ran: the caller sees an error, repeats, and the batch is there once."""
    fence = fence_of(server, WS)
    client.head()
    link = client._link
    reply = link._wire.reply

    def lose(*args: Any, **kwargs: Any) -> Any:
        reply(*args, **kwargs)
        raise redis.ConnectionError("reply lost")

    link._wire.reply = lose
    with pytest.raises(redis.ConnectionError):
        client.publish(WS, fence, Cause("feed", 1), [quote(1)])

    assert client.publish(WS, fence, Cause("feed", 1), [quote(1)]).status == "repeated"
    assert [e.data for e in whole(client)] == [quote(1).data]


def test_sources_of_one_producer_are_counted_apart(server: Server, client: JournalClient) -> None:
    """Journal causes, alerts and foreign admissions of one service each have a mark of their own."""
    ws, core = fence_of(server, WS), fence_of(server, CORE)
    feed(client, ws, range(1, 4))

    client.publish(CORE, core, Cause("", 3), [signal(1, CORE)])
    client.publish(CORE, core, Cause("alert", 1), [alert(1, CORE)])
    client.publish(CORE, core, Cause("foreign", 2), [alert(2, CORE)])

    assert client.high_water(CORE) == 3
    assert client.high_water(f"{CORE}/alert") == 1
    assert client.high_water(f"{CORE}/foreign") == 2
    assert client.high_water(f"{CORE}/other") == 0
    assert [e.cause for e in client.read(3, 9)] == ["3", "alert:1", "foreign:2"]


def test_cursor_moves_with_outputs_and_by_advancing_and_never_back(server: Server, client: JournalClient) -> None:
    """Outputs of entry n put the cursor to n; `advance` moves it on without outputs; older numbers change nothing."""
    ws, core = fence_of(server, WS), fence_of(server, CORE)
    feed(client, ws, range(1, 6))

    client.publish(CORE, core, Cause.of(JournalId(1, 2)), [signal(1, CORE)])
    assert client.cursors() == {CORE: 2}
    client.advance(CORE, core, JournalId(1, 4))
    client.advance(CORE, core, 3)
    client.publish(CORE, core, Cause("alert", 1), [alert(1, CORE)])

    assert client.cursors() == {CORE: 4}


def test_cause_beyond_the_head_is_refused(server: Server, client: JournalClient) -> None:
    """Outputs of an entry that the journal does not have mean that it lost a tail: rebuild, never publish."""
    core = fence_of(server, CORE)
    with pytest.raises(StateMismatch, match="beyond the head"):
        client.publish(CORE, core, Cause("", 1), [signal(1, CORE)])
    with pytest.raises(StateMismatch, match="beyond the head"):
        client.advance(CORE, core, 1)
    assert client.head() is None


def test_older_fence_is_refused_everywhere(server: Server, client: JournalClient) -> None:
    """After another instance took the lease, the older one can neither publish nor advance, note snapshots or trim."""
    old = fence_of(server, CORE)
    feed(client, fence_of(server, WS), range(1, 3))
    new = fence_of(server, CORE)

    with pytest.raises(FenceLost):
        client.publish(CORE, old, Cause("", 1), [signal(1, CORE)])
    with pytest.raises(FenceLost):
        client.advance(CORE, old, 1)
    with pytest.raises(FenceLost):
        client.set_durable(CORE, old, JournalId(1, 1))
    with pytest.raises(FenceLost):
        client.trim(fence_of(server, "cdb_writer") - 1, 2, 0, ())

    assert client.publish(CORE, new, Cause("", 1), [signal(1, CORE)]).status == "new"


def test_fence_that_redis_forgot_is_still_the_newest(server: Server, client: JournalClient) -> None:
    """When the tail with the lease is lost, the holder's fence counts again and older ones stay refused."""
    fence_of(server, WS)
    second = fence_of(server, WS)
    with server.admin() as admin:
        admin.hset("fence", WS, 1)

    feed(client, second, range(1, 2))

    with pytest.raises(FenceLost):
        feed(client, 1, range(2, 3))


def test_only_the_operator_publishes_without_lease_and_cause(server: Server, client: JournalClient) -> None:
    """An operator's command needs neither; a service without one of them is refused."""
    command = Control(
        event_id="c1", timestamp=1, producer=OPERATOR, action="halt", command_id="c1", by="me", reason="test"
    )
    assert client.publish(OPERATOR, None, None, [command]).ids == (JournalId(1, 1),)

    fence = fence_of(server, CORE)
    with pytest.raises(PublishRejected, match="lease"):
        client.publish(CORE, None, Cause("alert", 1), [alert(1, CORE)])
    with pytest.raises(PublishRejected, match="cause"):
        client.publish(CORE, fence, None, [alert(1, CORE)])
    assert len(whole(client)) == 1


def test_malformed_batches_are_rejected_whole(server: Server, client: JournalClient) -> None:
    """Empty, foreign, over-long events and over-long batches leave nothing behind, not even the valid events."""
    fence = fence_of(server, WS)
    large = alert(1, WS, "x" * 1_048_577)
    fat = [alert(k, WS, "x" * 1_000_000) for k in range(17)]

    for events in ([], [alert(1, CORE)], [quote(1), large], fat, [quote(1)] * 10_001):
        with pytest.raises(PublishRejected):
            client.publish(WS, fence, Cause("feed", 1), events)

    assert client.head() is None
    assert client.high_water(f"{WS}/feed") == 0


@pytest.mark.parametrize(
    ("channel", "data"),
    [
        ("elsewhere", b'{"a":1}'),
        ("alerts", b"[1]"),
        ("alerts", b"{}"),
        ("alerts", b'{"a":1'),
        ("alerts", b'{"a":"' + b"x" * 1_048_576 + b'"}'),
    ],
)
def test_script_itself_rejects_what_no_client_should_send(
    server: Server, client: JournalClient, channel: str, data: bytes
) -> None:
    """The script trusts no client: unknown channels, no objects, too long events are rejected before any write."""
    fence = fence_of(server, WS)
    found = client._attached
    arguments = [WS, fence, "feed", 1, found.epoch, found.server, "vital", "0", "", "alerts", alert(1, WS).data]

    reply = client._run_publish([*arguments, channel, data])

    assert reply[0] == b"rejected"
    assert client.head() is None


def test_channels_of_the_script_are_the_channels_of_the_system() -> None:
    """The script's own table of channels (Lua cannot import it) names exactly ours."""
    table = PUBLISH.text.split("local CHANNELS = {")[1].split("}")[0]
    assert sorted(item.split("=")[0].strip() for item in table.split(",")) == sorted(CHANNELS)


def test_stream_ahead_of_its_head_is_rejected_before_any_write(server: Server, client: JournalClient) -> None:
    """Somebody's own XADD makes stream and head contradict each other: rejected, nothing else is touched."""
    fence = fence_of(server, WS)
    with server.admin() as admin:
        admin.xadd("journal", {"data": "x"}, id="1-5")

        with pytest.raises(PublishRejected, match="1-1"):
            feed(client, fence, range(1, 2))

        assert admin.hgetall("hw") == {}
        assert admin.hgetall("last_id") == {}


def test_scripts_are_sent_again_when_the_server_forgot_them(server: Server, client: JournalClient) -> None:
    """SCRIPT FLUSH (a failover, an operator) costs one more call and nothing else."""
    fence = fence_of(server, WS)
    feed(client, fence, range(1, 3))
    with server.admin() as admin:
        admin.script_flush()

    assert feed(client, fence, range(3, 4)) == [JournalId(1, 3)]


def test_closed_bus_refuses_and_recovers_in_a_new_epoch(server: Server, client: JournalClient) -> None:
    """When the bus is closed under a connection every call says so; opened again, it goes on in the next epoch."""
    fence = fence_of(server, WS)
    feed(client, fence, range(1, 3))
    with server.admin() as admin:
        admin.delete("bus:open")

    with pytest.raises(JournalClosed):
        feed(client, fence, range(3, 4))
    with pytest.raises(JournalClosed):
        client.head()

    assert open_bus(server.infra).epoch == 2
    assert feed(client, fence, range(3, 4)) == [JournalId(2, 3)]
    assert [e.id for e in whole(client)] == [JournalId(1, 1), JournalId(1, 2), JournalId(2, 3)]
    assert client.epochs() == {1: 1, 2: 3}


def test_new_epoch_under_a_connection_closes_it(server: Server, client: JournalClient) -> None:
    """A connection that looked before a reopening must look again, whatever it asks."""
    fence = fence_of(server, WS)
    feed(client, fence, range(1, 3))
    with server.admin() as admin:
        admin.hset("bus", "epoch", 2)
        admin.hset("epochs", 2, 3)

    with pytest.raises(JournalClosed):
        client.head()
    assert client.head() == JournalId(1, 2)

    with server.admin() as admin:
        admin.hset("bus", "epoch", 3)
        admin.hset("epochs", 3, 3)
    with pytest.raises(JournalClosed):
        feed(client, fence, range(3, 4))
    assert feed(client, fence, range(3, 4)) == [JournalId(3, 3)]


def test_flushed_redis_counts_as_closed(server: Server, client: JournalClient) -> None:
    """FLUSHALL takes the journal away without breaking a connection: closed, not empty."""
    fence = fence_of(server, WS)
    feed(client, fence, range(1, 3))
    with server.admin() as admin:
        admin.flushall()

    with pytest.raises(JournalClosed):
        feed(client, fence, range(3, 4))


def test_run_of_the_feed_is_remembered(server: Server, client: JournalClient) -> None:
    """The run_id of cdb_ws' `started` can be asked for; other services' events do not change it."""
    ws, core = fence_of(server, WS), fence_of(server, CORE)
    assert client.run_id() is None
    started = Control(event_id="s", timestamp=1, producer=WS, action="started", service=WS, run_id="run-7")
    other = Control(event_id="t", timestamp=1, producer=CORE, action="started", service=CORE, run_id="run-8")

    client.publish(WS, ws, Cause("announce", ws), [started])
    client.publish(CORE, core, Cause("announce", core), [other])

    assert client.run_id() == "run-7"


def test_turnstile_wakes_whoever_waits(server: Server, clients: Any) -> None:
    """With the turnstile on, outputs and advances each say `<service> <n>` on its channel; without it, nobody does."""
    quiet = clients(server)
    loud = JournalClient(server.infra.model_copy(update={"TURNSTILE": True}), name="loud")
    ws, core = fence_of(server, WS), fence_of(server, CORE)
    feed(quiet, ws, range(1, 6))
    with server.admin() as admin, admin.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe("turnstile")
        listener.get_message(timeout=5)

        quiet.advance(CORE, core, 1)
        loud.publish(CORE, core, Cause("", 2), [signal(1, CORE)])
        loud.advance(CORE, core, 4)
        loud.advance(CORE, core, 4)
        loud.publish(CORE, core, Cause("alert", 1), [alert(1, CORE)])
        loud.advance(CORE, core, 5)
        said = [listener.get_message(timeout=5) for _ in range(3)]
    loud.close()

    assert [message["data"] for message in said if message] == [b"cdb_core 2", b"cdb_core 4", b"cdb_core 5"]


def test_server_over_tcp_with_a_password(own_server: Server) -> None:
    """Host, port, user and password lead to the journal as the socket does; a wrong password is a connection error."""
    with own_server.admin() as admin:
        admin.config_set("requirepass", "test-only-password")
        admin.config_set("port", free_port())
        port = int(admin.config_get("port")["port"])
    infra = Infrastructure(REDIS_PORT=port, REDIS_USERNAME="default", REDIS_PASSWORD=SecretStr("test-only-password"))
    client = JournalClient(infra, name="over-tcp")
    bus = Bus(infra, RISK, frozenset({"alerts"}))
    bus.open(None)

    client.publish(OPERATOR, None, None, [alert(1, OPERATOR)])

    assert [entry.data for entry in drain(bus, 1)] == [alert(1, OPERATOR).data]
    bus.close()
    client.close()
    wrong = JournalClient(infra.model_copy(update={"REDIS_PASSWORD": SecretStr("no")}), name="wrong")
    with pytest.raises(redis.AuthenticationError):
        wrong.head()


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody has now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


# memory


def fill_memory(server: Server, share: float, *, watched: bool = True) -> None:
    """Set maxmemory so that what is used now is `share` of it (a ballast makes buffers small beside it).

    `watched`: as if over 60 % had been seen already, so that the next publish looks.
    """
    with server.admin() as admin:
        admin.config_set("maxmemory", 0)
        admin.setrange("ballast", 33_554_432, b"x")
        if watched:
            admin.hset("bus", "memory", "watch")
        info = admin.info("memory")
        admin.config_set("maxmemory", int((info["used_memory"] - info["mem_not_counted_for_evict"]) / share))


def decision(k: int, *, approved: bool, purpose: str = "entry") -> RiskDecision:
    """A decision of risk as far as admission looks at it."""
    layers = [{"layer": name, "code": "OK", "status": "pass"} for name in _LAYERS]
    view = dict.fromkeys(("equity", "cash", "exposure", "daily_pnl", "drawdown", "position", "position_notional"))
    return RiskDecision.parse(
        {
            "event_id": f"d{k}", "timestamp": "2023-11-14T22:13:20.000000Z", "producer": RISK, "signal_id": None,
            "venue": "mexc_spot", "symbol": "BTCUSDT", "side": "BUY", "purpose": purpose, "approved": approved,
            "reason": "approved", "layers": layers, "sizing": {"method": "none", "requested": 0, "approved": 0},
            "portfolio": {**view, "trading_state": "ACTIVE"},
        }
    )  # fmt: skip


_LAYERS = (
    "data_quality", "position_limits", "daily_drawdown", "total_exposure", "circuit_breaker", "spread_check",
    "timeout_check",
)  # fmt: skip


def test_memory_is_admitted_by_class(own_server: Server, clients: Any) -> None:
    """From 70 % of maxmemory market data are refused, from 80 % entries too; everything else always passes."""
    client = clients(own_server)
    ws, core, risk = (fence_of(own_server, name) for name in (WS, CORE, RISK))
    execution = fence_of(own_server, EXECUTION)
    feed(client, ws, range(1, 3))

    fill_memory(own_server, 0.65)
    assert client.publish(WS, ws, Cause("feed", 3), [quote(3)]).pressure == "none"

    fill_memory(own_server, 0.75)
    with pytest.raises(PublishRefused, match="market_data"):
        client.publish(WS, ws, Cause("feed", 4), [quote(4), tick(4)])
    assert client.publish(WS, ws, Cause("feed", 4), [tick(4)]).pressure == "market_data"
    assert client.publish(CORE, core, Cause("", 1), [signal(1, CORE)]).status == "new"

    fill_memory(own_server, 0.9)
    refused = [
        (CORE, core, [signal(2, CORE)]),
        (RISK, risk, [decision(1, approved=True)]),
        (RISK, risk, [decision(1, approved=True), order(1, RISK)]),
        (WS, ws, [quote(5)]),
    ]
    for producer, fence, events in refused:
        with pytest.raises(PublishRefused):
            client.publish(producer, fence, Cause("later", 1), events)
    passed = [
        (CORE, core, [signal(3, CORE, "exit")]),
        (RISK, risk, [decision(2, approved=False)]),
        (RISK, risk, [decision(3, approved=True, purpose="stop_loss"), order(2, RISK, "stop_loss")]),
        (RISK, risk, [order(3, RISK), order(4, RISK, "exit")]),
        (EXECUTION, execution, [alert(1, EXECUTION)]),
        (WS, ws, [tick(5)]),
    ]
    for k, (producer, fence, events) in enumerate(passed, start=2):
        assert client.publish(producer, fence, Cause("later", k), events).pressure == "entries"
    assert client.pressure() == "entries"

    with own_server.admin() as admin:
        admin.config_set("maxmemory", 0)
    assert client.publish(WS, ws, Cause("feed", 5), [quote(5)]).pressure == "none"


def test_refused_batch_leaves_nothing_and_may_be_repeated(own_server: Server, clients: Any) -> None:
    """A refusal appends nothing and uses up no cause: the same batch is new once there is room."""
    client = clients(own_server)
    ws = fence_of(own_server, WS)
    feed(client, ws, range(1, 3))
    fill_memory(own_server, 0.95)

    with pytest.raises(PublishRefused):
        client.publish(WS, ws, Cause("feed", 3), [quote(3)])
    assert (client.head(), client.high_water(f"{WS}/feed")) == (JournalId(1, 2), 2)

    with own_server.admin() as admin:
        admin.config_set("maxmemory", 0)
    assert client.publish(WS, ws, Cause("feed", 3), [quote(3)]).ids == (JournalId(1, 3),)


def test_full_memory_stops_neither_exits_nor_leases_nor_dead_letters(own_server: Server, clients: Any) -> None:
    """Over maxmemory Redis refuses plain writes, but our scripts go on: results, leases, cursors, dead letters."""
    client = clients(own_server)
    ws, core = fence_of(own_server, WS), fence_of(own_server, CORE)
    feed(client, ws, range(1, 3))
    fill_memory(own_server, 1.2)
    with own_server.admin() as admin, pytest.raises(redis.ResponseError):
        admin.set("plain", "write")

    assert client.publish(CORE, core, Cause("", 1), [signal(1, CORE, "exit")]).status == "new"
    client.advance(CORE, core, 2)
    client.set_durable(CORE, core, JournalId(1, 1))
    client.keep_dead_letter(CORE, "orders", "forbidden", b"x")
    assert fence_of(own_server, CORE) == core + 1


def test_pressure_is_seen_within_thirty_two_entries(own_server: Server, clients: Any) -> None:
    """While all is calm, memory is looked at every 32 entries: pressure cannot go unseen for longer."""
    client = clients(own_server)
    ws = fence_of(own_server, WS)
    feed(client, ws, range(1, 40))
    assert client.pressure() == "none"
    fill_memory(own_server, 0.9, watched=False)

    with pytest.raises(PublishRefused):
        feed(client, ws, range(40, 40 + 33))


def test_server_that_cannot_write_refuses_for_now(own_server: Server, clients: Any) -> None:
    """A Redis that answers READONLY or MISCONF (a full disk) is a reason to wait, not a fault of the batch."""
    client = clients(own_server)
    ws = fence_of(own_server, WS)
    client.head()
    with own_server.admin() as admin:
        admin.replicaof("127.0.0.1", 1)
        try:
            with pytest.raises(PublishRefused):
                feed(client, ws, range(1, 2))
        finally:
            admin.replicaof("NO", "ONE")
    assert feed(client, ws, range(1, 2)) == [JournalId(1, 1)]


# trimming and dead letters


def test_trimming_waits_for_every_service(server: Server, client: JournalClient) -> None:
    """The stream is trimmed up to the least of the writer's cursor and the durable snapshots, less the margin."""
    fences = {name: fence_of(server, name) for name in (WS, CORE, RISK, EXECUTION, "cdb_writer")}
    feed(client, fences[WS], range(1, 1001))
    writer = fences["cdb_writer"]

    client.set_durable(CORE, fences[CORE], JournalId(1, 900))
    client.set_durable(RISK, fences[RISK], JournalId(1, 800))
    assert trim(client, writer, 1000, 0) == 0, "execution has no durable snapshot yet"

    client.set_durable(EXECUTION, fences[EXECUTION], JournalId(1, 950))
    removed = trim(client, writer, JournalId(1, 1000), 300)
    with server.admin() as admin:
        first = int(admin.xrange("journal", count=1)[0][0].split(b"-")[1])
    assert removed == first - 1
    assert 300 < first <= 501
    assert trim(client, writer, 200, 0, services=(CORE,)) == 0
    assert client.durable()[RISK] == JournalId(1, 800)


def test_dead_letters_are_kept_capped_and_counted(server: Server, client: JournalClient) -> None:
    """A dead letter keeps who, where, why, the length and the first 4 KiB; counts go on for ever."""
    client.keep_dead_letter(CORE, "market_data", "price=NaN", b"\xff" * 70_000)
    client.keep_dead_letter(RISK, "orders", "forbidden", b"{}")

    newest, oldest = client.dead_letters()
    assert (newest.service, newest.channel, newest.reason, newest.raw, newest.size) == (
        RISK, "orders", "forbidden", b"{}", 2,
    )  # fmt: skip
    assert (oldest.size, oldest.raw) == (70_000, b"\xff" * 4_096)
    assert client.dead_letter_counts() == {"market_data": 1, "orders": 1}
    assert client.head() is None, "dead letters are outside the audit trail"


# reading


def test_reading_waits_for_a_first_entry(server: Server, client: JournalClient, clients: Any) -> None:
    """A read that blocks returns as soon as something is published, and nothing when nothing was."""
    import threading

    fence = fence_of(server, WS)
    assert client.read(0, 10, block_ms=20) == []
    publisher = clients(server)
    thread = threading.Timer(0.05, lambda: feed(publisher, fence, range(1, 2)))
    thread.start()

    entries = client.read(0, 10, block_ms=5000)
    thread.join()

    assert [e.id for e in entries] == [JournalId(1, 1)]


def test_reading_beyond_the_head_is_no_silence(server: Server, client: JournalClient) -> None:
    """A reader whose place is beyond the head stands on a lost tail: it must not wait for it to be overtaken."""
    feed(client, fence_of(server, WS), range(1, 3))
    with pytest.raises(StateMismatch):
        client.read(3, 10)


def test_lineage_of_places(server: Server, client: JournalClient) -> None:
    """A place is in the journal when its epoch is known, it is not beyond the head, and no later epoch overrode it."""
    feed(client, fence_of(server, WS), range(1, 4))

    assert client.lineage_ok(JournalId(0, 0))
    assert client.lineage_ok(JournalId(1, 3))
    assert not client.lineage_ok(JournalId(1, 4))
    assert not client.lineage_ok(JournalId(2, 3))


def test_alert_is_an_alert() -> None:
    """The support's alert is a valid event (its message is free text)."""
    assert Alert.parse({**alert(1, WS).model_dump(), "timestamp": "2023-11-14T22:13:20Z"}).level == "INFO"


def test_archive_in_memory_keeps_the_protocol(server: Server, client: JournalClient) -> None:
    """The tests' archive says of the journal what the journal says of itself."""
    archive = MemoryArchive()
    feed(client, fence_of(server, WS), range(1, 4))
    archive.fill(client)
    assert archive.head() == client.head()
    assert archive.last_ids() == client.last_ids()
    assert archive.high_water() == {f"{WS}/feed": 3}
