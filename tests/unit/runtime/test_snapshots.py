"""Snapshots: whole or not at all, the newest usable one, two kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.common.errors import StateMismatch
from services.common.journal.entry import JournalId
from services.common.runtime.snapshots import Snapshot, SnapshotStore

pytestmark = pytest.mark.unit


def snapshot(n: int, epoch: int = 1, state: bytes = b'{"count":7}') -> Snapshot:
    """Return a snapshot at entry n."""
    return Snapshot(JournalId(epoch, n), state, "c0ffee", "0.1.0+abc", {"now": 5, "announced": ["cdb_ws"]})


def anywhere(_: JournalId) -> bool:
    """Every entry still exists."""
    return True


def test_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    """Id, state bytes, hashes and what the shell remembers survive the file."""
    SnapshotStore(tmp_path).save(snapshot(42))
    assert list(SnapshotStore(tmp_path).valid(anywhere)) == [snapshot(42)]


def test_keeps_the_last_two_in_journal_order(tmp_path: Path) -> None:
    """Order is by epoch and number, not by name or time of writing; older ones are removed."""
    store = SnapshotStore(tmp_path)
    for place in (snapshot(900), snapshot(1000), snapshot(5, epoch=2)):
        store.save(place)
    assert [found.id for found in store.valid(anywhere)] == [JournalId(2, 5), JournalId(1, 1000)]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("damage", ["state", "header", "cut", "empty", "no json", "not an object"])
def test_a_damaged_one_is_removed_and_the_older_one_used(tmp_path: Path, damage: str) -> None:
    """Whatever is wrong with the newest file, the one before it is yielded and the damaged one is gone."""
    store = SnapshotStore(tmp_path)
    store.save(snapshot(1))
    store.save(snapshot(2))
    path = tmp_path / "snapshot-1-2.json"
    whole = path.read_bytes()
    damaged = {
        "state": whole.replace(b'"count":7', b'"count":8'),
        "header": whole.replace(b"c0ffee", b"decaff"),
        "cut": whole[:-3],
        "empty": b"",
        "no json": b"hello\nworld",
        "not an object": b"[1]\n" + whole.partition(b"\n")[2],
    }[damage]
    path.write_bytes(damaged)
    assert [found.id.n for found in store.valid(anywhere)] == [1]
    assert not path.exists()


def test_a_renamed_file_is_not_believed(tmp_path: Path) -> None:
    """The id in the header decides; a file that claims another place is not used."""
    store = SnapshotStore(tmp_path)
    store.save(snapshot(1))
    (tmp_path / "snapshot-1-1.json").rename(tmp_path / "snapshot-1-9.json")
    assert list(store.valid(anywhere)) == []


def test_one_beyond_the_journal_is_discarded(tmp_path: Path) -> None:
    """After Redis lost its tail only snapshots of entries that still exist are used."""
    store = SnapshotStore(tmp_path)
    store.save(snapshot(10))
    store.save(snapshot(20))
    assert [found.id.n for found in store.valid(lambda place: place.n <= 15)] == [10]
    assert not (tmp_path / "snapshot-1-20.json").exists()


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    """The lock, the holder and a half-written draft in the folder are no snapshots."""
    for name in ("lock", "holder", ".snapshot-1-3.json.new", "snapshot-x-1.json"):
        (tmp_path / name).write_bytes(b"?")
    SnapshotStore(tmp_path).save(snapshot(1))
    assert len(list(SnapshotStore(tmp_path).valid(anywhere))) == 1
    assert (tmp_path / "lock").exists()


def test_not_a_snapshot_is_named() -> None:
    """The error says what is wrong."""
    with pytest.raises(StateMismatch, match="checksum"):
        Snapshot.from_bytes(snapshot(1).to_bytes() + b" ")
