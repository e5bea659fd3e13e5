"""Dead letters: messages that were invalid or forbidden, kept with the reason, capped, outside the audit trail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["MAX_DEAD_LETTERS", "MAX_RAW_BYTES", "MAX_REASON", "DeadLetter", "decode_dead_letter"]

MAX_DEAD_LETTERS: Final = 10_000
MAX_RAW_BYTES: Final = 4_096
MAX_REASON: Final = 1_000


@dataclass(frozen=True)
class DeadLetter:
    """One refused message.

    Attributes:
        arrived_ms: Redis' own time, milliseconds since the epoch.
        service: who refused it.
        channel: where it came.
        reason: why, and what is meant.
        size: its length in bytes.
        raw: its first 4 KiB.
    """

    arrived_ms: int
    service: str
    channel: str
    reason: str
    size: int
    raw: bytes


def decode_dead_letter(letter_id: bytes, fields: Sequence[bytes]) -> DeadLetter:
    """Return a dead letter as it stands in the stream."""
    values = dict(zip(fields[::2], fields[1::2], strict=True))
    return DeadLetter(
        arrived_ms=int(letter_id.partition(b"-")[0]),
        service=values[b"service"].decode(),
        channel=values[b"channel"].decode(),
        reason=values[b"reason"].decode(),
        size=int(values[b"size"]),
        raw=values[b"raw"],
    )
