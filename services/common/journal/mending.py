"""The way back when somebody has written into the stream past the publish script: what he added is taken out again."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.common.errors import StoreError
from services.common.journal import keys
from services.common.journal.link import Link
from services.common.journal.scripts import MEND

__all__ = ["Mended", "mend_journal"]

COPY = "journal:mended"


@dataclass(frozen=True)
class Mended:
    """What was done.

    Attributes:
        end: id of the journal's last entry.
        removed: what stood beyond it, by id: names and values as they were.
    """

    end: str
    removed: dict[str, list[bytes]] = field(default_factory=dict)


def mend_journal(link: Link) -> Mended:
    """Take out of the stream what stands beyond the journal's head; nothing happens to a journal that is whole.

    What a publish has appended is never touched: it moves the head in the same step. In one step of Redis, so it may be
    done while services run; it copies the stream, so Redis needs that much memory for a moment. The link's user must
    be `service`.

    Raises:
        StoreError: the journal was never used, or its own last entry is missing: that is for cdb_writer to recover.
    """
    status, end, count, *rest = link.run(MEND, (keys.JOURNAL, COPY, keys.BUS, keys.EPOCHS))
    if status == b"mended":
        return Mended(end.decode(), {entry_id.decode(): fields for entry_id, fields in rest[0]})
    if status == b"whole":
        return Mended(end.decode())
    if status == b"unknown":
        raise StoreError("nothing was ever published on this Redis: there is nothing to mend")
    raise StoreError(
        f"the stream lacks its own last entry {end.decode()} ({count} others stand beyond it); delete the stream (DEL "
        "journal, HSET bus head 0) and restart Redis: cdb_writer brings back what PostgreSQL has"
    )
