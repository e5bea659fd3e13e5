"""A service's own folder: snapshots, the lock that only one living process can hold, and the holder's name."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from threading import Event
from typing import IO, Self
from uuid import uuid4

from services.common.errors import LeaseHeld
from services.common.runtime.file_lock import try_lock

__all__ = ["StateFolder", "sync_folder", "write_atomically"]


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that after a crash or power loss it is either the old one or the whole new one."""
    draft = path.with_name(f".{path.name}.new")
    with draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power loss (Windows has no handle on a folder to do so)."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class StateFolder:
    """`STATE_DIR/<service>`, locked while the process lives.

    The operating system releases the lock when the process dies, however it dies. So whoever holds the lock knows that
    the last holder of this folder is gone, and takes its journal lease over without waiting for it to run out: that is
    what the `holder` name, kept in the folder, is for.
    """

    def __init__(self, root: Path, service: str) -> None:
        """Name the folder; nothing is touched before `lock`."""
        self.path = root / service
        self._file: IO[bytes] | None = None
        self.holder = ""

    def lock(self, stop: Event, timeout_sec: float = 10.0) -> Self:
        """Take the lock and read (or, the first time, draw) the holder's name.

        Raises:
            LeaseHeld: another living process has it after `timeout_sec`.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        file = (self.path / "lock").open("ab")
        deadline = time.monotonic() + timeout_sec
        while not try_lock(file):
            if time.monotonic() > deadline or stop.wait(0.05):
                file.close()
                raise LeaseHeld(f"{self.path} is in use by another process of this service; stop that one first")
        self._file = file
        name = self.path / "holder"
        if not name.exists():
            write_atomically(name, uuid4().hex.encode())
        self.holder = name.read_text(encoding="ascii")
        return self

    def release(self) -> None:
        """Give the lock back."""
        if self._file is not None:
            self._file.close()
            self._file = None
