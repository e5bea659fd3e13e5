"""What must happen before the bus opens: Redis compared with the archive, and a plan. Nothing here does anything.

Redis keeps the newest entries, the archive (PostgreSQL) what the writer has stored. After Redis lost power its tail may
be gone; with `appendfsync everysec` also after a mere kill, since Redis answers before it writes while a sync of a slow
disk is running. Redis ahead of the archive is normal. Redis behind it gets the missing events back with
their own ids. Two different events with one number are a contradiction that no plan can mend.

Every opening begins a new epoch, also when nothing seems to be missing: events that services had handled and the
archive had not stored yet may be lost without a trace, and only the new epoch tells their places from new entries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from services.common.errors import StoreError
from services.common.journal.entry import Cause, Entry, JournalId
from services.common.journal.lineage import Epochs

__all__ = ["RECOVERY_COPY_MAX", "ArchiveFacts", "RecoveryPlan", "RedisFacts", "high_water_field", "plan_recovery"]

RECOVERY_COPY_MAX: Final = 50_000
"""At most so many events are copied back into an empty stream; older ones are read from the archive."""


@dataclass(frozen=True)
class RedisFacts:
    """The journal as Redis has it.

    Attributes:
        head: id of the last entry ever appended, None when the stream was never written.
        epochs: epoch to the number of its first entry.
        entry: the entry at the lower of both heads, None when the stream does not have it (trimmed).
        first: number of the oldest entry present, None when the stream is empty.
    """

    head: JournalId | None
    epochs: Mapping[int, int]
    entry: Entry | None = None
    first: int | None = None


@dataclass(frozen=True)
class ArchiveFacts:
    """The journal as the archive has it.

    Attributes:
        head: id of the last archived event, None when there is none.
        epochs: epoch to the number of its first event.
        entry: the event at the lower of both heads, None when there is none.
    """

    head: JournalId | None
    epochs: Mapping[int, int]
    entry: Entry | None = None


@dataclass(frozen=True)
class RecoveryPlan:
    """What is to be done, in this order.

    Attributes:
        clear: the stream is dropped first (it ends so far back that it could not be continued without a hole).
        marks: high-water marks and last ids are restored from the whole archive, since not all events are copied.
        copy_after, copy_to: events with numbers in (copy_after, copy_to] are copied back, each with its marks.
        epoch: in which new entries are written.
        head: number of the last entry before the new epoch.
        epochs: all epochs, the new one included.
    """

    clear: bool
    marks: bool
    copy_after: int
    copy_to: int
    epoch: int
    head: int
    epochs: dict[int, int] = field(default_factory=dict)

    @property
    def missing(self) -> int:
        """How many events are copied back."""
        return self.copy_to - self.copy_after


def plan_recovery(
    redis: RedisFacts, archive: ArchiveFacts | None, *, copy_max: int = RECOVERY_COPY_MAX
) -> RecoveryPlan:
    """Compare Redis with the archive (None: there is none) and return what to do.

    Raises:
        StoreError: they hold different events under one number, or different epochs; or the archive ends before the
            oldest entry that Redis has left.
    """
    redis_n = redis.head.n if redis.head else 0
    archive_n = archive.head.n if archive and archive.head else 0
    epochs = dict(redis.epochs)
    if archive is not None:
        epochs = _merge_epochs(redis.epochs, archive.epochs)
        _require_same_entry(redis, archive)
        _require_no_other_line(redis, archive)
        _require_no_hole(redis, archive_n)
    head = max(redis_n, archive_n)
    epoch = max(epochs, default=0) + 1
    epochs[epoch] = head + 1
    afresh = archive_n > 0 and (redis_n == 0 or archive_n - redis_n > copy_max)
    return RecoveryPlan(
        clear=afresh and redis_n > 0,
        marks=afresh,
        copy_after=max(0, archive_n - copy_max) if afresh else redis_n,
        copy_to=head,
        epoch=epoch,
        head=head,
        epochs=epochs,
    )


def _merge_epochs(redis: Mapping[int, int], archive: Mapping[int, int]) -> dict[int, int]:
    for epoch in redis.keys() & archive.keys():
        if redis[epoch] != archive[epoch]:
            raise StoreError(f"epoch {epoch} begins at {redis[epoch]} in Redis and at {archive[epoch]} in PostgreSQL")
    return {**archive, **redis}


def _require_no_other_line(redis: RedisFacts, archive: ArchiveFacts) -> None:
    """An epoch is durable in the archive before Redis writes in it, and no rollback keeps entries of a lost epoch.

    So an epoch that Redis does not know begins beyond its head. Otherwise the archive was restored from a backup, and
    Redis went on from that place in its own way. A Redis without any epoch has never been opened: what it holds is the
    part that an interrupted recovery brought back.
    """
    if not redis.epochs:
        return
    head = redis.head.n if redis.head else 0
    for epoch in archive.epochs.keys() - redis.epochs.keys():
        if archive.epochs[epoch] <= head:
            raise StoreError(
                f"PostgreSQL begins epoch {epoch} at {archive.epochs[epoch]}, and Redis, which ends at {head}, does "
                "not know it: the database was restored from a backup and Redis went on from there in its own way; "
                "empty Redis, or restore the backup again with this Redis running (runbook disaster-recovery.md)"
            )


def _require_no_hole(redis: RedisFacts, archive_n: int) -> None:
    if redis.first is not None and redis.first > archive_n + 1:
        raise StoreError(
            f"the archive ends at {archive_n} and the oldest entry in Redis is {redis.first}: the events between are "
            "gone; restore PostgreSQL from a newer backup"
        )


def _require_same_entry(redis: RedisFacts, archive: ArchiveFacts) -> None:
    """The event at the lower head must be one and the same on both sides."""
    if redis.head is None or archive.head is None:
        return
    lower = min(redis.head.n, archive.head.n)
    ours = redis.head if redis.head.n == lower else Epochs(redis.epochs).id_of(lower)
    theirs = archive.head if archive.head.n == lower else Epochs(archive.epochs).id_of(lower)
    if ours != theirs:
        raise StoreError(f"number {lower} is {ours} in Redis and {theirs} in PostgreSQL: they are of two journals")
    if redis.entry and archive.entry and redis.entry != archive.entry:
        raise StoreError(f"entry {ours} differs between Redis and PostgreSQL: {redis.entry.data!r:.200} and "
                         f"{archive.entry.data!r:.200}")  # fmt: skip


def high_water_field(entry: Entry) -> tuple[str, int] | None:
    """Return the high-water mark that an entry stands for: its field and number; None for operator commands."""
    if not entry.cause:
        return None
    cause = Cause.parse(entry.cause)
    return (f"{entry.producer}/{cause.source}" if cause.source else entry.producer), cause.number
