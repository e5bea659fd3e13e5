"""What a connection learns of the journal before it may use it: that the bus is open, and its epochs."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.common.errors import JournalClosed
from services.common.journal import keys
from services.common.journal.lineage import Epochs
from services.common.journal.link import Link
from services.common.journal.scripts import ATTACH

__all__ = ["Attachment", "attach", "look"]


@dataclass(frozen=True)
class Attachment:
    """The journal as one connection found it.

    Attributes:
        server: run_id of the Redis server process.
        opened_for: run_id of the server process for which the bus was opened; empty when never.
        epoch: in which new entries are written (0: never opened).
        head: journal number of the last entry at that moment.
        secret: what the seals of messages are made with; empty in a journal that was opened without.
    """

    server: str
    opened_for: str
    epoch: int
    head: int
    secret: bytes = field(repr=False)
    epochs: Epochs

    @property
    def is_open(self) -> bool:
        """Whether the journal was compared with its archive since the server started."""
        return self.server == self.opened_for


def look(link: Link) -> Attachment:
    """Return the journal's state, open or not."""
    server, opened_for, epoch, head, epochs, secret = link.run(ATTACH, [keys.BUS_OPEN, keys.BUS, keys.EPOCHS])
    return Attachment(
        server=server.decode(),
        opened_for=opened_for.decode(),
        epoch=int(epoch),
        head=int(head),
        secret=secret,
        epochs=Epochs({int(epochs[i]): int(epochs[i + 1]) for i in range(0, len(epochs), 2)}),
    )


def attach(link: Link) -> Attachment:
    """Return the journal's state when it may be used.

    Raises:
        JournalClosed: nobody has compared Redis with PostgreSQL since the server started.
    """
    found = look(link)
    if not found.is_open:
        raise JournalClosed("the bus is closed: cdb_writer has not compared it with PostgreSQL since Redis started")
    return found
