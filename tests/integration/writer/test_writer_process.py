"""cdb_writer as a real process on real servers: start, work, stop, and what stops it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from claire.embedded import EmbeddedRedis
from services.cdb_writer.adapters.connection import Connect
from services.cdb_writer.adapters.schema import migrate
from services.cdb_writer.adapters.store import EventStore
from tests.integration.writer.writer_support import (
    Feeder,
    WriterProcess,
    caught_up,
    query,
    read_tables,
    reference_tables,
    stored_cursor,
    stored_entries,
    verified,
    wait_for,
    write_all,
)
from tests.unit.writer.journal_story import Story, tell

pytestmark = pytest.mark.integration

NewWriter = Callable[..., WriterProcess]
NewFeeder = Callable[[], Feeder]


def test_from_empty_servers_to_five_tables(
    new_writer: NewWriter, feeder: NewFeeder, connect: Connect, another_connect: Connect
) -> None:
    """It migrates, opens the bus, writes what is published, says so over HTTP, and stops with 0."""
    writer = new_writer().start()
    source = feeder()
    entries = tell(1, 300).entries
    head = source.publish(entries)
    wait_for(caught_up(connect, head), "everything is written")
    wait_for(lambda: writer.failing() == {}, "healthy")
    assert json.loads(writer.get("/health")[1])["service"] == "cdb_writer"
    status = json.loads(writer.get("/status")[1])
    assert (status["run_id"], status["journal"]["last_id"]) == ("run-1", f"1-{head}")
    metrics = writer.get("/metrics")[1]
    assert f'cdb_writer_rows_total{{table="events"}} {float(head)}' in metrics
    assert "cdb_writer_batch_seconds_bucket" in metrics
    assert writer.stop() == 0
    assert verified(connect).ok
    assert [entry.data for entry in stored_entries(connect)] == [entry.data for entry in entries]
    assert read_tables(connect) == reference_tables(another_connect, entries)
    assert source.client.cursors()["cdb_writer"] == head


def test_a_second_start_goes_on(new_writer: NewWriter, feeder: NewFeeder, connect: Connect) -> None:
    """Stopped and started again, it continues behind its last event; what came meanwhile is written."""
    entries = tell(2, 200).entries
    writer = new_writer().start()
    source = feeder()
    head = source.publish(entries[:100])
    wait_for(caught_up(connect, head), "the first part is written")
    assert writer.stop() == 0
    head = source.publish(entries[100:])
    assert stored_cursor(connect).head.seq == 100
    writer.start()
    wait_for(caught_up(connect, head), "the rest is written")
    assert verified(connect).ok
    assert writer.stop() == 0


def test_it_announces_itself_last(new_writer: NewWriter, feeder: NewFeeder, connect: Connect) -> None:
    """Only when ws, core, risk and execution have announced themselves does it say `started` and `config`, once."""
    writer = new_writer().start()
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
    assert writer.stop() == 0
    writer.start()
    wait_for(lambda: query(connect, own) == [("started",), ("config",), ("started",)], "announced again, same settings")
    assert writer.stop() == 0


def test_foreign_alerts_are_admitted_and_others_buried(
    new_writer: NewWriter, feeder: NewFeeder, connect: Connect, embedded_redis: EmbeddedRedis
) -> None:
    """A plain PUBLISH of an alert or a halt enters the journal; another command is a dead letter with an alert."""
    writer = new_writer().start()
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
    assert writer.stop() == 0


@pytest.mark.slow
def test_a_clock_that_stands_still_is_told_once(new_writer: NewWriter, feeder: NewFeeder, connect: Connect) -> None:
    """Ticks of one second that stop: after five seconds of wall time one CRITICAL alert, and unhealthy."""
    writer = new_writer().start()
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
    assert writer.stop() == 0


@pytest.mark.slow
@pytest.mark.chaos
def test_a_second_writer_exits(new_writer: NewWriter, feeder: NewFeeder, short_folder: object) -> None:
    """On other ports and folders, but the same database: exit 4, naming the reason; the first goes on."""
    first = new_writer().start()
    feeder()
    wait_for(lambda: not first.failing(), "the first is healthy")
    second = new_writer(STATE_DIR=f"{short_folder}/other").start()
    assert second.exit_code() == 4
    assert "another writer" in second.log
    assert first.stop() == 0


def test_the_stream_is_trimmed_behind_store_and_snapshots(
    new_writer: NewWriter, feeder: NewFeeder, connect: Connect, embedded_redis: EmbeddedRedis
) -> None:
    """With all services' snapshots durable, entries further back than the margin leave Redis; a restart needs none."""
    writer = new_writer(JOURNAL_TRIM_MARGIN="10", JOURNAL_TRIM_EVERY_SEC="1").start()
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
    writer.kill()
    writer.start()
    more = source.publish(tell(3, 1000).entries[len(entries) :])
    wait_for(caught_up(connect, more), "written on")
    assert verified(connect).ok
    assert writer.stop() == 0


def test_wrong_settings_are_listed_at_once(new_writer: NewWriter) -> None:
    """Every mistake on stderr with its name, exit 2, nothing started."""
    writer = new_writer(WRITER_BATCH_EVENTS="0", EVENT_RETENTION_DAYS="never", REDIS_DB="99").start()
    assert writer.exit_code() == 2
    for name in ("WRITER_BATCH_EVENTS", "EVENT_RETENTION_DAYS", "REDIS_DB"):
        assert name in writer.log


def test_a_store_of_another_journal_stops_it(
    new_writer: NewWriter, feeder: NewFeeder, connect: Connect, embedded_redis: EmbeddedRedis
) -> None:
    """Redis and PostgreSQL that contradict each other: exit 3, the bus stays closed, nothing is changed."""
    writer = new_writer().start()
    source = feeder()
    source.publish(tell(4, 60).entries)
    wait_for(caught_up(connect, 60), "written")
    assert writer.stop() == 0
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
    writer.start()
    assert writer.exit_code() == 3
    assert "StoreError" in writer.log
    assert stored_cursor(connect).head.seq == 30
