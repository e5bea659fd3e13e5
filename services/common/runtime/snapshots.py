"""Snapshots: caches of a fold, so that a restart need not begin at the first entry of the journal.

A snapshot is one file: a header line (JSON: id, versions, checksum) and the state's canonical bytes. It is written
atomically, the last two are kept, and whatever is wrong with one only means that an older one, or none, is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import structlog

from services.common.codec import decode, encode
from services.common.errors import ContractViolation, StateMismatch
from services.common.journal.entry import JournalId
from services.common.runtime.state_folder import write_atomically

__all__ = ["Snapshot", "SnapshotStore"]

KEPT = 2
_NAME = re.compile(r"^snapshot-(\d+)-(\d+)\.json$")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Snapshot:
    """A fold of the journal up to and including the entry `id`.

    Attributes:
        state: canonical bytes of the machine.
        config_hash: of the settings in force, None before the first configuration.
        code_version: of the code that folded it.
        shell: what the process around the machine remembers (the clock of the run, who has announced itself).
    """

    id: JournalId
    state: bytes = field(repr=False)
    config_hash: str | None
    code_version: str
    shell: dict[str, Any] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Return the content of the file."""
        header = {
            "epoch": self.id.epoch,
            "n": self.id.n,
            "config_hash": self.config_hash,
            "code_version": self.code_version,
            "shell": self.shell,
        }
        return encode({**header, "sha256": _checksum(header, self.state)}) + b"\n" + self.state

    @classmethod
    def from_bytes(cls, data: bytes) -> Snapshot:
        """Read the content of a file.

        Raises:
            StateMismatch: it is cut, changed, or no snapshot at all.
        """
        head, newline, state = data.partition(b"\n")
        try:
            header = decode(head)
            claimed = header.pop("sha256")
            if not newline or claimed != _checksum(header, state):
                raise StateMismatch("the checksum does not match")
            return cls(
                JournalId(int(header["epoch"]), int(header["n"])),
                state,
                header["config_hash"],
                header["code_version"],
                header["shell"],
            )
        except (ContractViolation, KeyError, AttributeError, TypeError) as error:
            raise StateMismatch(f"not a snapshot: {error}") from error


def _checksum(header: dict[str, Any], state: bytes) -> str:
    return sha256(encode(header) + b"\n" + state).hexdigest()


class SnapshotStore:
    """The snapshots in one folder."""

    def __init__(self, folder: Path) -> None:
        """Name the folder, which exists."""
        self._folder = folder

    def save(self, snapshot: Snapshot) -> None:
        """Write a snapshot so that it survives power loss, then remove all but the last two."""
        name = f"snapshot-{snapshot.id.epoch}-{snapshot.id.n}.json"
        write_atomically(self._folder / name, snapshot.to_bytes())
        for _, path in self._newest_first()[KEPT:]:
            path.unlink(missing_ok=True)

    def valid(self, lineage_ok: Callable[[JournalId], bool]) -> Iterator[Snapshot]:
        """Yield the usable snapshots, newest first; each one that is not usable is logged with the reason and removed.

        Args:
            lineage_ok: whether the journal still contains the entry that an id names.
        """
        for id_, path in self._newest_first():
            try:
                snapshot = Snapshot.from_bytes(path.read_bytes())
                if snapshot.id != id_:
                    raise StateMismatch(f"the file says {snapshot.id}")
                if not lineage_ok(id_):
                    raise StateMismatch("the journal has no such entry any more (Redis lost its tail)")
            except StateMismatch as mismatch:
                self.discard(id_, str(mismatch))
            else:
                yield snapshot

    def discard(self, id_: JournalId, reason: str) -> None:
        """Remove a snapshot that cannot be used."""
        _log.warning("snapshot_discarded", snapshot=str(id_), reason=reason)
        (self._folder / f"snapshot-{id_.epoch}-{id_.n}.json").unlink(missing_ok=True)

    def _newest_first(self) -> list[tuple[JournalId, Path]]:
        found = [
            (JournalId(int(match[1]), int(match[2])), path)
            for path in self._folder.iterdir()
            if (match := _NAME.match(path.name))
        ]
        return sorted(found, reverse=True)
