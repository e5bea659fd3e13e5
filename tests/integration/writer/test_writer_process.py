"""cdb_writer as a real process on real servers: start, work, stop, and what stops it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from services.cdb_writer.adapters.connection import Connect
from tests.integration.writer.writer_support import (
    Feeder,
    WriterProcess,
    caught_up,
    read_tables,
    reference_tables,
    stored_entries,
    verified,
    wait_for,
)
from tests.unit.writer.journal_story import tell

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


def test_wrong_settings_are_listed_at_once(new_writer: NewWriter) -> None:
    """Every mistake on stderr with its name, exit 2, nothing started."""
    writer = new_writer(WRITER_BATCH_EVENTS="0", EVENT_RETENTION_DAYS="never", REDIS_DB="99").start()
    assert writer.exit_code() == 2
    for name in ("WRITER_BATCH_EVENTS", "EVENT_RETENTION_DAYS", "REDIS_DB"):
        assert name in writer.log
