"""Snapshots are written beside the work, one at a time, and count once they are safe."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from services.common.journal.entry import JournalId
from services.common.runtime.snapshot_writer import SnapshotWriter
from services.common.runtime.snapshots import Snapshot, SnapshotStore

pytestmark = pytest.mark.unit


def snapshot(n: int) -> Snapshot:
    """Return a snapshot at entry n."""
    return Snapshot(JournalId(1, n), b"{}", None, "0.1.0+abc", {})


class SlowStore(SnapshotStore):
    """A disk that takes its time until it may go on."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.may_go_on = threading.Event()

    def save(self, snapshot: Snapshot) -> None:
        """Wait, then write."""
        assert self.may_go_on.wait(5)
        super().save(snapshot)


def test_the_work_goes_on_while_a_snapshot_is_written(tmp_path: Path) -> None:
    """It is told of once, when it is on the disk, and not before."""
    store = SlowStore(tmp_path)
    writer = SnapshotWriter(store)

    writer.begin(snapshot(7))

    assert writer.busy
    assert writer.take_written() is None
    store.may_go_on.set()
    assert writer.take_written(wait=True) == JournalId(1, 7)
    assert not writer.busy
    assert writer.take_written() is None
    assert [found.id for found in store.valid(lambda _: True)] == [JournalId(1, 7)]


def test_nothing_begun_is_nothing_written(tmp_path: Path) -> None:
    """Asking and waiting without a snapshot under way returns at once."""
    assert SnapshotWriter(SnapshotStore(tmp_path)).take_written(wait=True) is None


def test_the_next_one_waits_for_the_one_before(tmp_path: Path) -> None:
    """Two at once would remove each other's files; the later place is the one that is told of."""
    store = SlowStore(tmp_path)
    writer = SnapshotWriter(store)
    writer.begin(snapshot(7))
    store.may_go_on.set()

    writer.begin(snapshot(8))

    assert writer.take_written(wait=True) == JournalId(1, 8)
    assert [found.id.n for found in store.valid(lambda _: True)] == [8, 7]


def test_a_disk_that_fails_stops_the_work(tmp_path: Path) -> None:
    """What went wrong beside the work is raised in it, once."""
    writer = SnapshotWriter(SnapshotStore(tmp_path / "missing"))

    writer.begin(snapshot(7))

    with pytest.raises(FileNotFoundError):
        writer.take_written(wait=True)
    assert writer.take_written() is None
