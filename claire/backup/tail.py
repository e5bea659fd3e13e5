"""The tail of the journal: what Redis holds beyond what the writer has stored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from redis.exceptions import RedisError

from claire.statistics.numbers import counted
from services.cdb_writer.chain import ChainHead
from services.common.errors import ClaireError, JournalError
from services.common.journal import keys
from services.common.journal.entry import Entry, JournalId
from services.common.journal.link import Link
from services.common.journal.stream_reader import decode_entry
from services.common.settings import Infrastructure

__all__ = ["Tail", "read_tail"]

PAGE: Final = 1_000
MOST_ENTRIES: Final = 200_000


@dataclass(frozen=True)
class Tail:
    """Entries that follow the stored ones, whole publishes, and how they came or why there are none."""

    entries: list[Entry] = field(default_factory=list)
    words: str = "Redis held nothing beyond the database"


def read_tail(infra: Infrastructure, stored: ChainHead) -> Tail:
    """Read what follows the last stored event, up to the journal's head of this moment.

    What cannot be read leaves the tail empty: a backup without it holds, it only ends earlier.

    Args:
        infra: where Redis is; a user who may read is enough.
        stored: the last event that the database holds.
    """
    link = Link(infra, name="claire-backup")
    try:
        head = int(link.call("HGET", keys.BUS, "head") or 0)
        if head <= stored.seq:
            return Tail()
        if head - stored.seq > MOST_ENTRIES:
            return Tail(words=f"not in it: {head - stored.seq} entries wait for the database; back up when it has them")
        return _read(link, stored, head)
    except (RedisError, OSError) as error:
        return Tail(words=f"not in it: Redis does not answer ({error})")
    except (JournalError, ClaireError, ValueError) as error:
        return Tail(words=f"not in it: {error}")
    finally:
        link.close()


def _read(link: Link, stored: ChainHead, head: int) -> Tail:
    entries: list[Entry] = []
    place = JournalId(stored.epoch, stored.seq)
    while place.n < head:  # publishes are atomic, so the head is always the end of one
        page = link.call("XRANGE", keys.JOURNAL, f"({place}", "+", "COUNT", min(PAGE, head - place.n))
        for entry in (decode_entry(*item) for item in page):
            if entry.id.n != place.n + 1:
                return Tail(words=f"not in it: entry {place.n + 1} is gone from Redis")
            entries.append(entry)
            place = entry.id
        if not page:
            return Tail(words=f"not in it: the stream ends at {place.n}, its head says {head}")
    return Tail(entries, f"{counted(len(entries), 'entry', 'entries')} that only Redis held")
