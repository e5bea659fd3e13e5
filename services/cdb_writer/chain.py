"""The hash chain over the audit trail: one changed, missing, added or reordered event breaks it from there on.

h_n = sha256(h_{n-1} | epoch | seq | channel | producer | data), each part preceded by its length as four bytes, most
significant first; epoch and seq as decimal text; h_0 is `GENESIS`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Final

from services.cdb_writer.envelope import read_envelope
from services.cdb_writer.rows import EventRow
from services.common.errors import ContractViolation
from services.common.journal.entry import Entry

__all__ = ["GENESIS", "ChainHead", "ChainReport", "link", "row_fault", "verify"]

GENESIS: Final = sha256(b"claire_de_binare event chain 1").digest()
"""h_0: what the first event is chained to."""


@dataclass(frozen=True)
class ChainHead:
    """The last event that is chained: its number, epoch and hash."""

    seq: int = 0
    epoch: int = 0
    hash: bytes = GENESIS


@dataclass(frozen=True)
class ChainReport:
    """What a walk along the chain found.

    Attributes:
        events: how many events were walked and good.
        head: the last good one.
        broken_at: number of the first bad event; None when all are good.
        reason: what is wrong with it.
    """

    events: int
    head: ChainHead
    broken_at: int | None = None
    reason: str | None = None

    @property
    def ok(self) -> bool:
        """Whether every event is good."""
        return self.broken_at is None


def link(previous: bytes, entry: Entry) -> bytes:
    """Return the hash of one event chained to the hash before it."""
    epoch, seq, data = b"%d" % entry.id.epoch, b"%d" % entry.id.n, entry.data
    return sha256(
        b"".join(
            (
                len(previous).to_bytes(4),
                previous,
                len(epoch).to_bytes(4),
                epoch,
                len(seq).to_bytes(4),
                seq,
                _prefixed(entry.channel),
                _prefixed(entry.producer),
                len(data).to_bytes(4),
                data,
            )
        )
    ).digest()


@lru_cache(maxsize=64)
def _prefixed(name: str) -> bytes:
    raw = name.encode()
    return len(raw).to_bytes(4) + raw


def verify(rows: Iterable[EventRow], start: ChainHead | None = None, expected: ChainHead | None = None) -> ChainReport:
    """Walk stored events in order of seq, from `start` (the genesis unless given) to `expected` (the cursor's head).

    Beside the chain it compares the columns that repeat what stands in `data`.
    """
    head = start or ChainHead()
    events = 0
    for row in rows:
        reason = row_fault(head, row)
        if reason is not None:
            return ChainReport(events, head, head.seq + 1 if row.seq != head.seq + 1 else row.seq, reason)
        head = ChainHead(row.seq, row.epoch, row.hash)
        events += 1
    if expected is not None and expected != head:
        broken_at = min(head.seq, expected.seq) + (head.seq != expected.seq)
        return ChainReport(
            events,
            head,
            broken_at,
            f"the chain ends at {head.epoch}-{head.seq} with {head.hash.hex()[:16]}, "
            f"but the cursor says {expected.epoch}-{expected.seq} with {expected.hash.hex()[:16]}",
        )
    return ChainReport(events, head)


def row_fault(head: ChainHead, row: EventRow) -> str | None:
    """Return what is wrong with a stored event that shall follow `head`; None when it is good."""
    if row.seq != head.seq + 1:
        return f"{row.seq} follows {head.seq}: events are missing, added or reordered"
    if row.epoch < head.epoch:
        return f"epoch {row.epoch} follows epoch {head.epoch}"
    if row.hash != link(head.hash, row.entry):
        return "epoch, channel, producer or data are not what was hashed"
    return column_fault(row)


def column_fault(row: EventRow) -> str | None:
    """Return which columns of a stored event do not say what stands in its data; None when all do."""
    try:
        derived = EventRow.of(row.entry, read_envelope(row.channel, row.data), row.hash)
    except ContractViolation as error:
        return f"no event: {error}"
    if derived != row:
        names = ", ".join(name for name in EventRow._fields if getattr(derived, name) != getattr(row, name))
        return f"columns contradict the data: {names}"
    return None
