"""Reads the total order from the stream, and over a hole from the archive; never continues over a gap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from services.common.errors import JournalClosed, JournalHole, StateMismatch
from services.common.journal import keys
from services.common.journal.archive import EventArchive
from services.common.journal.attachment import Attachment
from services.common.journal.entry import Entry, JournalId
from services.common.journal.link import CALL_TIMEOUT_SEC, Link

__all__ = ["await_entries", "decode_entry", "read_after", "read_head"]


def decode_entry(entry_id: bytes, fields: Sequence[bytes]) -> Entry:
    """Return a stream entry as Redis gives it: an id and a flat list of names and values.

    Raises:
        JournalHole: not an entry of the journal; somebody has written into the stream past the publish script.
    """
    values = dict(zip(fields[::2], fields[1::2], strict=True))
    missing = [name.decode() for name in (b"channel", b"producer", b"cause", b"data") if name not in values]
    if missing:
        raise JournalHole(
            f"entry {entry_id.decode()} of the stream is not one of the journal (no {', '.join(missing)}): somebody "
            "has written into it past the publish script, and nothing is handled from here on; see the runbook redis.md"
        )
    return Entry(
        id=JournalId.parse(entry_id),
        channel=values[b"channel"].decode(),
        producer=values[b"producer"].decode(),
        cause=values[b"cause"].decode(),
        data=values[b"data"],
    )


def read_head(link: Link, attachment: Attachment) -> int:
    """Return the number of the last entry.

    Raises:
        JournalClosed: the journal was closed or went on in another epoch since the connection attached.
    """
    epoch, head = link.call("HMGET", keys.BUS, "epoch", "head")
    if epoch is None or int(epoch) != attachment.epoch:
        link.close()
        raise JournalClosed("the journal was closed or reopened under this connection")
    return int(head)


def read_after(
    link: Link, attachment: Attachment, after: int, count: int, archive: EventArchive | None
) -> tuple[list[Entry], int]:
    """Return the next entries after number `after`, contiguous, and the head's number at that moment.

    The entries reach the head only together with everything that the last publish has appended.

    Raises:
        JournalHole: the next entry is neither in the stream nor in the archive.
        StateMismatch: the journal ends before `after`.
        JournalClosed: as :func:`read_head`.
    """
    head = read_head(link, attachment)
    if after > head:
        raise StateMismatch(f"number {after} is beyond the journal's head {head}: Redis lost a tail")
    if after == head:
        return [], head
    page = link.call("XRANGE", keys.JOURNAL, f"({attachment.epochs.id_of(after)}", "+", "COUNT", count)
    entries = _contiguous(after, [decode_entry(entry_id, fields) for entry_id, fields in page])
    if entries:
        # a full page may end in the middle of what one publish has appended meanwhile: that is not the head
        return entries, read_head(link, attachment) if len(page) == count else max(head, entries[-1].id.n)
    first_present = JournalId.parse(page[0][0]).n if page else head + 1
    if archive is not None:
        entries = _contiguous(after, archive.read(after, min(count, first_present - 1 - after)))
        if entries:
            return entries, head
    raise JournalHole(
        f"events {after + 1} to {first_present - 1} are gone from the stream and from the archive; "
        "restore PostgreSQL from a backup, or start on a new data directory"
    )


def await_entries(
    link: Link, attachment: Attachment, after: int, count: int, *, block_ms: int, archive: EventArchive | None
) -> list[Entry]:
    """Return what :func:`read_after` would, waiting up to `block_ms` for a first entry."""
    last = attachment.epochs.id_of(after)
    command = ("XREAD", "COUNT", count, "BLOCK", max(1, block_ms), "STREAMS", keys.JOURNAL, str(last))
    reply: Any = link.call(*command, timeout_sec=block_ms / 1000 + CALL_TIMEOUT_SEC)
    page = reply[0][1] if reply else []
    entries = _contiguous(after, [decode_entry(entry_id, fields) for entry_id, fields in page])
    if entries:
        return entries
    return read_after(link, attachment, after, count, archive)[0]


def _contiguous(after: int, entries: Sequence[Entry]) -> list[Entry]:
    for place, entry in enumerate(entries):
        if entry.id.n != after + 1 + place:
            return list(entries[:place])
    return list(entries)
