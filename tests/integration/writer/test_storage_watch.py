"""The writer shows what the two servers need, and which of them is gone."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from services.cdb_writer.adapters.storage_watch import StorageWatch
from services.common.settings import Infrastructure

pytestmark = pytest.mark.integration


def test_memory_and_size_are_shown_while_the_servers_answer(infrastructure: Infrastructure) -> None:
    """Both up, with memory used and the size of the database."""
    registry = CollectorRegistry()
    watch = StorageWatch(infrastructure, registry, threading.Event())

    watch.look()
    watch.close()

    assert registry.get_sample_value("cdb_server_up", {"server": "redis"}) == 1
    assert registry.get_sample_value("cdb_server_up", {"server": "postgresql"}) == 1
    assert (registry.get_sample_value("cdb_redis_memory_used_bytes") or 0) > 100_000
    assert registry.get_sample_value("cdb_redis_memory_limit_bytes") is not None
    assert (registry.get_sample_value("cdb_database_size_bytes") or 0) > 1_000_000
    assert registry.get_sample_value("cdb_backup_timestamp_seconds") == 0


def test_a_server_that_does_not_answer_is_down(infrastructure: Infrastructure) -> None:
    """Neither is reached: both are shown as down, nothing is raised; once they are back they are up."""
    registry = CollectorRegistry()
    gone = {"REDIS_SOCKET": "", "REDIS_PORT": 1, "POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": 1}
    watch = StorageWatch(infrastructure.model_copy(update=gone), registry, threading.Event())

    watch.look()
    watch.close()

    assert registry.get_sample_value("cdb_server_up", {"server": "redis"}) == 0
    assert registry.get_sample_value("cdb_server_up", {"server": "postgresql"}) == 0


def test_it_looks_until_it_is_told_to_stop(infrastructure: Infrastructure) -> None:
    """Its thread has looked at least once, and ends with the process."""
    registry, stop = CollectorRegistry(), threading.Event()
    watch = StorageWatch(infrastructure, registry, stop)
    before = threading.active_count()

    thread = watch.start()
    stop.set()
    thread.join(10)

    assert not thread.is_alive()
    assert threading.active_count() == before


def test_the_newest_backup_is_shown_with_its_age(infrastructure: Infrastructure, short_folder: Path) -> None:
    """By the moment in its name; a folder that is not there yet is no backup, and no fault."""
    registry = CollectorRegistry()
    watch = StorageWatch(infrastructure, registry, threading.Event(), str(short_folder / "backups"))
    watch.look()
    assert registry.get_sample_value("cdb_backup_timestamp_seconds") == 0
    (short_folder / "backups").mkdir()
    for day in ("27", "26"):
        (short_folder / "backups" / f"claire-202611{day}T060000Z-7.backup").touch()

    watch.look()
    watch.close()

    assert registry.get_sample_value("cdb_backup_timestamp_seconds") == 1_795_759_200
