"""The work loop of cdb_writer on real servers: announcing, admitting, watching, trimming, halting, healing."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import connection

from claire.embedded import EmbeddedRedis
from services.cdb_writer import service as writer_service
from services.cdb_writer.adapters import keeper
from services.cdb_writer.adapters import store as store_module
from services.cdb_writer.adapters.connection import Connect
from services.cdb_writer.adapters.schema import migrate
from services.cdb_writer.adapters.store import EventStore
from services.cdb_writer.recorder import Batch
from services.common.errors import ContractViolation, LeaseHeld, StoreError
from services.common.journal import bus
from services.common.journal.entry import Cause
from services.common.runtime import run_clock
from tests.integration.writer.writer_support import (
    Feeder,
    WriterThread,
    caught_up,
    query,
    stored_cursor,
    stored_entries,
    verified,
    wait_for,
    write_all,
)
from tests.unit.writer.journal_story import Story, tell

pytestmark = pytest.mark.integration

NewWriter = Callable[..., WriterThread]
NewFeeder = Callable[[], Feeder]


def test_a_second_start_goes_on(new_thread: NewWriter, feeder: NewFeeder, connect: Connect) -> None:
    """Stopped and started again, it continues behind its last event; what came meanwhile is written."""
    entries = tell(2, 200).entries
    writer = new_thread().start()
    source = feeder()
    head = source.publish(entries[:100])
    wait_for(caught_up(connect, head), "the first part is written")
    writer.stop()
    head = source.publish(entries[100:])
    assert stored_cursor(connect).head.seq == 100
    writer = new_thread().start()
    wait_for(caught_up(connect, head), "the rest is written")
    assert verified(connect).ok
    writer.stop()


def test_it_announces_itself_last(new_thread: NewWriter, feeder: NewFeeder, connect: Connect) -> None:
    """Only when ws, core, risk and execution have announced themselves does it say `started` and `config`, once."""
    writer = new_thread().start()
    source = feeder()
    story = Story()
    story.begin()
    for service in ("cdb_core", "cdb_risk"):
        story.control(service, "started", service=service, run_id="run-1")
    source.publish(story.entries)
    wait_for(caught_up(connect, 4), "written")
    told = len(story.entries)
    story.control("cdb_execution", "started", service="cdb_execution", run_id="run-1")
    source.publish(story.entries[told:])
    own = "SELECT event ->> 'action' FROM event_store.events_json WHERE producer = 'cdb_writer' ORDER BY seq"
    wait_for(lambda: query(connect, own) == [("started",), ("config",)], "announced")
    writer.stop()
    writer = new_thread().start()
    wait_for(lambda: query(connect, own) == [("started",), ("config",), ("started",)], "announced again, same settings")
    writer.stop()


def test_foreign_alerts_are_admitted_and_others_buried(
    new_thread: NewWriter, feeder: NewFeeder, connect: Connect, embedded_redis: EmbeddedRedis
) -> None:
    """A plain PUBLISH of an alert or a halt enters the journal; another command is a dead letter with an alert."""
    writer = new_thread().start()
    source = feeder()
    story = Story()
    story.begin()
    source.publish(story.entries)
    wait_for(caught_up(connect, 2), "written")
    redis = embedded_redis.client()
    wait_for(lambda: redis.publish("alerts", '{"type":"alert","level":"info","code":"hello","message":"x"}'), "heard")
    redis.publish("control", '{"type":"control","action":"halt","by":"me","reason":"lunch"}')
    redis.publish("control", '{"type":"control","action":"resume"}')
    codes = "SELECT code FROM alerts ORDER BY seq"
    wait_for(lambda: query(connect, codes) == [("HELLO",), ("FOREIGN_MESSAGE_INVALID",)], "admitted and buried")
    ((action, by),) = query(
        connect,
        "SELECT event ->> 'action', event ->> 'by' FROM event_store.events_json "
        "WHERE channel = 'control' AND producer = 'cdb_writer'",
    )
    assert (action, by) == ("halt", "me")
    assert redis.xlen("dead_letter") == 1
    redis.close()
    writer.stop()


def away(*_: object, **__: object) -> None:
    """Fail as a call to a PostgreSQL that is not there."""
    raise psycopg2.OperationalError("the server is away")


@pytest.mark.chaos
def test_a_foreign_halt_is_admitted_while_postgresql_is_away(
    new_thread: NewWriter,
    feeder: NewFeeder,
    connect: Connect,
    embedded_redis: EmbeddedRedis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Trading goes on without PostgreSQL for a while, so stopping it may not wait for PostgreSQL either."""
    writer = new_thread().start()
    source = feeder()
    story = Story()
    story.begin()
    source.publish(story.entries)
    wait_for(caught_up(connect, 2), "written")

    with monkeypatch.context() as outage, embedded_redis.client() as redis:
        outage.setattr(EventStore, "write", away)
        outage.setattr(EventStore, "open", away)
        begun = len(story.entries)
        story.tick()
        source.publish(story.entries[begun:])
        wait_for(lambda: "postgresql" in writer.failing(), "PostgreSQL is missed")
        redis.publish("control", '{"type":"control","action":"halt","by":"me","reason":"lunch"}')

        def halted() -> bool:
            entries = source.client.read(3, 10)
            return [(entry.channel, entry.producer) for entry in entries] == [("control", "cdb_writer")]

        wait_for(halted, "the halt is in the journal")
        assert stored_cursor(connect).head.seq == 2

    wait_for(caught_up(connect, 4), "written on")
    assert verified(connect).ok
    writer.stop()


@pytest.mark.slow
@pytest.mark.chaos
def test_an_absence_of_postgresql_is_no_silence_of_the_clock(
    new_thread: NewWriter, feeder: NewFeeder, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock ticks on while the writer waits for PostgreSQL: no check fails for it, and no CLOCK_STALLED follows."""
    monkeypatch.setattr(run_clock, "STALL_SEC", 0.5)
    monkeypatch.setattr(writer_service, "HELD_UP_SEC", 0.2)
    writer = new_thread().start()
    source, story, seen = feeder(), Story(), set[str]()
    story.begin()
    source.publish(story.entries)

    def tick_for(seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            begun = len(story.entries)
            story.tick()
            source.publish(story.entries[begun:])
            seen.update(writer.failing())
            time.sleep(0.02)

    wait_for(caught_up(connect, 2), "written")
    tick_for(0.3)
    with monkeypatch.context() as outage:
        for name in ("write", "open"):
            outage.setattr(EventStore, name, away)
        tick_for(3.5)  # a clock of one tick a second counts as dead after 2.5
    tick_for(0.3)
    wait_for(caught_up(connect, len(story.entries)), "written on")

    assert "postgresql" in seen
    assert "clock" not in seen
    assert query(connect, "SELECT code FROM alerts") == []
    writer.stop()


@pytest.mark.slow
def test_a_clock_that_stands_still_is_told_once(new_thread: NewWriter, feeder: NewFeeder, connect: Connect) -> None:
    """Ticks of one second that stop: after five seconds of wall time one CRITICAL alert, and unhealthy."""
    writer = new_thread().start()
    source = feeder()
    story = Story()
    story.begin()
    for service in ("cdb_core", "cdb_risk", "cdb_execution"):
        story.control(service, "started", service=service, run_id="run-1")
    story.tick()
    story.tick()
    source.publish(story.entries)
    told = "SELECT level, code FROM alerts"
    assert wait_for(lambda: query(connect, told), "the stall is told") == [("CRITICAL", "CLOCK_STALLED")]
    assert "clock" in writer.failing()
    begun = len(story.entries)
    story.tick()
    story.control("cdb_ws", "finished", service="cdb_ws")
    source.publish(story.entries[begun:])
    wait_for(lambda: writer.failing() == {}, "a finished feed may stand still")
    assert len(query(connect, told)) == 1
    writer.stop()


def test_a_low_disk_is_told(new_thread: NewWriter, feeder: NewFeeder, connect: Connect) -> None:
    """Under the share that was set: one alert with folder and bytes, in the audit trail as any other."""
    writer = new_thread(DISK_WARN_FREE_PCT="1", DISK_CRITICAL_FREE_PCT="0").start()
    source = feeder()
    story = Story()
    story.begin()
    story.tick()
    source.publish(story.entries)
    told = "SELECT level, code, context ->> 'folder' FROM alerts WHERE code = 'DISK_LOW'"
    found = wait_for(lambda: query(connect, told), "the disk is told")
    writer.stop()
    assert found == [("WARNING", "DISK_LOW", str(writer.life.infra.STATE_DIR))]


def test_every_stall_is_told_whoever_is_missing(
    new_thread: NewWriter, feeder: NewFeeder, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that has ticked may not stop: also when a service never came, and again within the same minute."""
    monkeypatch.setattr(run_clock, "STALL_SEC", 0.5)
    writer = new_thread().start()
    source = feeder()
    story = Story()
    story.begin()
    story.tick()
    source.publish(story.entries)
    told = "SELECT level, code FROM alerts"
    wait_for(lambda: len(query(connect, told)) == 1, "the stall is told although core, risk and execution are missing")

    begun = len(story.entries)
    story.tick()
    source.publish(story.entries[begun:])
    wait_for(lambda: "clock" not in writer.failing(), "it ticks again")

    wait_for(lambda: query(connect, told) == [("CRITICAL", "CLOCK_STALLED")] * 2, "the second stall is told too")
    writer.stop()


def test_the_stream_is_trimmed_behind_store_and_snapshots(
    new_thread: NewWriter, feeder: NewFeeder, connect: Connect, embedded_redis: EmbeddedRedis
) -> None:
    """With all services' snapshots durable, entries further back than the margin leave Redis; a restart needs none."""
    writer = new_thread(JOURNAL_TRIM_MARGIN="10", JOURNAL_TRIM_EVERY_SEC="1").start()
    source = feeder()
    entries = tell(3, 900).entries
    head = source.publish(entries)
    wait_for(caught_up(connect, head), "written")
    redis = embedded_redis.client()
    assert redis.xlen("journal") == head
    place = source.client.head()
    assert place is not None
    for service in ("cdb_core", "cdb_risk", "cdb_execution"):
        source.client.set_durable(service, source.fence(service), place)
    wait_for(lambda: redis.xlen("journal") < 300, "trimmed")
    redis.close()
    writer.stop()
    writer = new_thread().start()
    more = source.publish(tell(3, 1000).entries[len(entries) :])
    wait_for(caught_up(connect, more), "written on")
    assert verified(connect).ok
    writer.stop()


def test_a_store_of_another_journal_stops_it(
    new_thread: NewWriter, feeder: NewFeeder, connect: Connect, embedded_redis: EmbeddedRedis
) -> None:
    """Redis and PostgreSQL that contradict each other: a fault, the bus stays closed, nothing is changed."""
    writer = new_thread().start()
    source = feeder()
    source.publish(tell(4, 60).entries)
    wait_for(caught_up(connect, 60), "written")
    writer.stop()
    query(connect, "DROP SCHEMA event_store CASCADE")
    query(connect, "DROP TABLE signals, orders, trades, positions, portfolio_snapshots CASCADE")
    query(connect, "DROP DOMAIN finite_number, trading_symbol")
    migrate(connect)
    store = EventStore(connect)
    store.open()
    write_all(store, tell(5, 30).entries[:30])
    store.close()
    with embedded_redis.client() as redis:
        redis.delete("bus:open")  # as after a restart
    error = new_thread().start().ended()
    assert isinstance(error, StoreError)
    assert stored_cursor(connect).head.seq == 30


@pytest.mark.chaos
def test_a_bus_that_closes_is_opened_again(
    new_thread: NewWriter, feeder: NewFeeder, connect: Connect, embedded_redis: EmbeddedRedis
) -> None:
    """Redis counts as restarted while the writer works: it opens the bus in a new epoch and writes on."""
    entries = tell(6, 200).entries
    writer = new_thread().start()
    source = feeder()
    wait_for(caught_up(connect, source.publish(entries[:100])), "the first part")
    with embedded_redis.client() as redis:
        redis.delete("bus:open")
        redis.client_kill_filter(_type="normal", skipme=True)
    source.close()
    source = feeder()
    wait_for(caught_up(connect, source.publish(entries[100:])), "the rest")
    writer.stop()
    assert query(connect, "SELECT epoch, first_seq FROM event_store.epochs ORDER BY 1") == [(1, 1), (2, 101)]
    assert [entry.data for entry in stored_entries(connect)] == [entry.data for entry in entries]
    assert verified(connect).ok


@pytest.mark.chaos
def test_the_bus_is_opened_by_whoever_waits_for_it(
    new_thread: NewWriter, feeder: NewFeeder, connect: Connect, embedded_redis: EmbeddedRedis
) -> None:
    """Closed while the writer itself has something to publish: it does not wait for itself."""
    writer = new_thread().start()
    source = feeder()
    story = Story()
    story.begin()
    wait_for(caught_up(connect, source.publish(story.entries)), "written")
    with embedded_redis.client() as redis:
        redis.delete("bus:open")
        alert = '{"type":"alert","level":"info","code":"HELLO","message":"x"}'
        wait_for(lambda: redis.publish("alerts", alert), "heard")
    wait_for(lambda: query(connect, "SELECT code FROM alerts") == [("HELLO",)], "admitted in the new epoch")
    assert query(connect, "SELECT count(*) FROM event_store.epochs") == [(2,)]
    writer.stop()


def test_an_entry_that_is_no_event_halts_it(
    new_thread: NewWriter, feeder: NewFeeder, connect: Connect, embedded_redis: EmbeddedRedis
) -> None:
    """Rubbish in the stream (put there past the script): nothing of that batch is stored, an alert, and a fault."""
    writer = new_thread().start()
    source = feeder()
    story = Story()
    story.begin()
    wait_for(caught_up(connect, source.publish(story.entries)), "written")
    with embedded_redis.client() as redis:
        pipeline = redis.pipeline()
        fields = {"data": b"{}", "channel": "alerts", "producer": "cdb_risk", "cause": "test:9"}
        pipeline.xadd("journal", fields, id="1-3")
        pipeline.hset("bus", "head", 3)
        pipeline.execute()
        assert isinstance(writer.ended(), ContractViolation)
        (_, last), *_ = redis.xrevrange("journal", count=1)
    assert b"SERVICE_FAULT" in last[b"data"]
    assert stored_cursor(connect).head.seq == 2


def test_the_lock_is_held_without_a_gap(
    new_thread: NewWriter, feeder: NewFeeder, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its first hold on the writer keeps its session: a second writer that waits finds no moment in between."""
    sessions: list[int] = []
    take_lock = store_module._take_lock

    def counted(database: connection, wait_sec: float) -> None:
        take_lock(database, wait_sec)
        sessions.append(database.get_backend_pid())

    monkeypatch.setattr(store_module, "_take_lock", counted)
    writer = new_thread().start()
    source = feeder()
    story = Story()
    story.begin()
    wait_for(caught_up(connect, source.publish(story.entries)), "written")
    writer.stop()
    assert len(sessions) == 1


def test_a_second_writer_gives_way(
    new_thread: NewWriter, feeder: NewFeeder, short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On other ports and folders, but the same database: it ends, naming the reason; the first goes on."""
    monkeypatch.setattr(keeper, "FIRST_LOCK_SEC", 0.2)
    first = new_thread().start()
    feeder()
    second = new_thread(STATE_DIR=str(short_folder / "other")).start()
    error = second.ended()
    assert isinstance(error, LeaseHeld)
    assert "another writer" in str(error)
    first.stop()


def test_no_transaction_ends_within_a_publish(
    new_thread: NewWriter, feeder: NewFeeder, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages of 4 entries cut publishes of 3; what is stored ends with a whole publish each time.

    Otherwise a Redis that loses its tail just then would be told that the cause is done, and the rest is gone.
    """
    monkeypatch.setattr(bus, "PAGE", 4)
    stored: list[int] = []
    write = EventStore.write

    def noting(store: EventStore, batch: Batch, clock: bytes | None = None) -> None:
        write(store, batch, clock)
        stored.append(batch.after.seq)

    monkeypatch.setattr(EventStore, "write", noting)
    writer = new_thread(WRITER_BATCH_EVENTS="5").start()
    source = feeder()
    story = Story()
    story.begin()
    begun = source.publish(story.entries)
    wait_for(caught_up(connect, begun), "the beginning is written")
    writer.stop()
    fence, told = source.fence("cdb_ws"), len(story.entries)
    for _ in range(60):
        story.tick()
    ticks = [entry.event for entry in story.entries[told:]]
    for number in range(20):
        source.client.publish("cdb_ws", fence, Cause("three", number + 1), ticks[3 * number : 3 * number + 3])

    writer = new_thread(WRITER_BATCH_EVENTS="5").start()

    wait_for(caught_up(connect, begun + 60), "written")
    writer.stop()
    ends = [seq for seq in stored if begun < seq <= begun + 60]
    assert len(ends) > 5, "several transactions, or nothing was cut"
    assert [seq for seq in ends if (seq - begun) % 3] == []
    assert verified(connect).ok
