"""The state folder: one living process, one lasting holder name, files whole or not at all."""

from __future__ import annotations

from pathlib import Path
from threading import Event

import pytest

from services.common.errors import LeaseHeld
from services.common.runtime.state_folder import StateFolder, write_atomically

pytestmark = pytest.mark.unit


def test_the_holder_name_survives_the_process(tmp_path: Path) -> None:
    """Whoever locks the folder next has the same name; another folder has another."""
    first = StateFolder(tmp_path, "cdb_core").lock(Event())
    name = first.holder
    first.release()
    again = StateFolder(tmp_path, "cdb_core").lock(Event())
    other = StateFolder(tmp_path, "cdb_risk").lock(Event())
    assert again.holder == name
    assert len(name) == 32
    assert other.holder != name
    again.release()
    other.release()


def test_a_second_one_is_refused_while_the_first_lives(tmp_path: Path) -> None:
    """The lock is the operating system's: the second gives up after its time-out and may try again later."""
    first = StateFolder(tmp_path, "cdb_core").lock(Event())
    with pytest.raises(LeaseHeld, match="another process of this service"):
        StateFolder(tmp_path, "cdb_core").lock(Event(), timeout_sec=0.05)
    first.release()
    StateFolder(tmp_path, "cdb_core").lock(Event(), timeout_sec=0.05).release()


def test_a_stop_ends_the_wait(tmp_path: Path) -> None:
    """A process that is told to stop does not wait for the lock."""
    first = StateFolder(tmp_path, "cdb_core").lock(Event())
    stop = Event()
    stop.set()
    with pytest.raises(LeaseHeld):
        StateFolder(tmp_path, "cdb_core").lock(stop, timeout_sec=60)
    first.release()


def test_write_atomically_replaces_the_whole_content(tmp_path: Path) -> None:
    """The new content is there, and no draft beside it."""
    path = tmp_path / "file"
    write_atomically(path, b"long old content")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]
