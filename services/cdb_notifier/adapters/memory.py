"""The one file in which the notifier's place, clock, state and outbox survive together."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import structlog

from services.cdb_notifier.machine import NotifierMachine
from services.cdb_notifier.outbox import Outbox
from services.common.codec import decode, encode_state
from services.common.errors import ContractViolation, StateMismatch
from services.common.journal.entry import JournalId
from services.common.runtime.build import code_version
from services.common.runtime.run_clock import RunClock
from services.common.runtime.snapshots import Snapshot
from services.common.runtime.state_folder import write_atomically

__all__ = ["Memory"]

NAME: Final = "notifier.json"
_log = structlog.get_logger("cdb_notifier")


class Memory:
    """Reads and writes the file; it is replaced as a whole and checked by its sum."""

    def __init__(self, folder: Path) -> None:
        """Name the folder, which exists."""
        self._path = folder / NAME

    def save(self, place: JournalId, machine: NotifierMachine, outbox: Outbox, clock: RunClock) -> None:
        """Write everything so that it survives power loss."""
        state = encode_state({"machine": machine.dump(), "outbox": outbox.state, "clock": clock.dump()})
        write_atomically(self._path, Snapshot(place, state, None, code_version()).to_bytes())

    def load(self, machine: NotifierMachine, outbox: Outbox, clock: RunClock) -> JournalId | None:
        """Fill what is given and return its place in the journal; None the first time, or when it is unusable.

        An unusable file is kept beside as `notifier.json.unusable`.
        """
        if not self._path.exists():
            return None
        try:
            snapshot = Snapshot.from_bytes(self._path.read_bytes())
            value: Any = decode(snapshot.state)
            outbox.restore(value["outbox"])
            machine.restore(value["machine"])
            if "clock" in value:  # not in a file of an earlier version
                clock.restore(value["clock"])
        except (StateMismatch, ContractViolation, KeyError, TypeError) as error:
            _log.error("memory_unusable", reason=f"{type(error).__name__}: {error}"[:500])
            self._path.replace(self._path.with_suffix(".json.unusable"))
            return None
        return snapshot.id
