"""Writes snapshots in a thread of its own: a disk needs tens of milliseconds, and no order shall wait for it."""

from __future__ import annotations

import threading

from services.common.journal.entry import JournalId
from services.common.runtime.snapshots import Snapshot, SnapshotStore

__all__ = ["SnapshotWriter"]


class SnapshotWriter:
    """One snapshot at a time. All methods are for the work loop's thread."""

    def __init__(self, store: SnapshotStore) -> None:
        """Write into `store`."""
        self._store = store
        self._thread: threading.Thread | None = None
        self._written: JournalId | None = None
        self._failure: BaseException | None = None

    @property
    def busy(self) -> bool:
        """Whether a snapshot is still being written."""
        return self._thread is not None and self._thread.is_alive()

    def begin(self, snapshot: Snapshot) -> None:
        """Begin to write a snapshot; what was begun before is waited for."""
        self._join()
        self._thread = threading.Thread(target=self._write, args=(snapshot,), name="snapshot", daemon=True)
        self._thread.start()

    def _write(self, snapshot: Snapshot) -> None:
        try:
            self._store.save(snapshot)
        except BaseException as failure:  # it is raised again in the work loop
            self._failure = failure
        else:
            self._written = snapshot.id

    def take_written(self, *, wait: bool = False) -> JournalId | None:
        """Return, once, the place of a snapshot that is safe on the disk; None when there is no new one.

        Args:
            wait: for the one that is being written.

        Raises:
            OSError: it could not be written; whatever else went wrong there is raised as well.
        """
        if wait:
            self._join()
        elif self.busy:
            return None
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        written, self._written = self._written, None
        return written

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None
