"""The connections of a live feed: which symbols are on which, when one is replaced, and when one is given up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from services.cdb_ws.live.subscriptions import Subscriptions

__all__ = ["PING_US", "Connection", "Slot", "backoff_ms", "free_slot"]

PING_US: Final = 15_000_000
FIRST_MS: Final = 500
CAP_MS: Final = 30_000


def backoff_ms(attempt: int) -> int:
    """Return how long to wait before an attempt: 0, 0.5, 1 … at most 30 s; the adapter shortens it at random."""
    return 0 if attempt <= 0 else min(CAP_MS, FIRST_MS << min(attempt - 1, 16))


@dataclass(slots=True)
class Connection:
    """One connection, asked for or open.

    Attributes:
        opened_us: None until it is open.
        heard_us: feed time of its last frame.
        pinged_us: of our last ping.
    """

    number: int
    slot: Slot
    asked_us: int
    subscriptions: Subscriptions = field(default_factory=Subscriptions)
    opened_us: int | None = None
    heard_us: int = 0
    pinged_us: int = 0
    sent: int = 0

    @property
    def way(self) -> str:
        """Its name as a way over which trades come."""
        return f"c{self.number}"

    def next_message_number(self) -> int:
        """Return the number of the next message of ours."""
        self.sent += 1
        return self.sent


@dataclass(slots=True)
class Slot:
    """The symbols that share a connection, and that connection; `next` is to replace it.

    Attributes:
        alone: for one symbol that was silent beside others.
        attempt: failures since data last came.
        trouble: why there is no connection now; empty when all is well.
    """

    number: int
    symbols: list[str] = field(default_factory=list)
    alone: bool = False
    current: Connection | None = None
    next: Connection | None = None
    attempt: int = 0
    trouble: str = ""
    rotate_after_us: int = 0


def free_slot(slots: Iterable[Slot], per_slot: int) -> Slot | None:
    """Return the first slot with room for one more symbol."""
    return next((slot for slot in slots if not slot.alone and len(slot.symbols) < per_slot), None)
