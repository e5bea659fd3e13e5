"""Opens the bus after Redis has started: gathers the facts, carries out the plan of recovery."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from services.common.channels import CONTROL, WS
from services.common.errors import JournalClosed, StoreError
from services.common.journal import keys
from services.common.journal.admission import run_begun
from services.common.journal.archive import EventArchive
from services.common.journal.attachment import Attachment, look
from services.common.journal.entry import Entry, JournalId
from services.common.journal.link import Link
from services.common.journal.recovery import (
    RECOVERY_COPY_MAX,
    ArchiveFacts,
    RecoveryPlan,
    RedisFacts,
    high_water_field,
    plan_recovery,
)
from services.common.journal.scripts import CLEAR, MARKS, OPEN, RESTORE
from services.common.journal.stream_reader import decode_entry
from services.common.settings import Infrastructure

__all__ = ["Opening", "is_open", "open_bus", "recover"]

COPY_BATCH = 500


@dataclass(frozen=True)
class Opening:
    """The open bus.

    Attributes:
        opened: whether this call opened it (False: it was open already).
        epoch: in which new entries are written.
        first_n: number of the epoch's first entry.
        copied: events copied back from the archive.
    """

    opened: bool
    epoch: int
    first_n: int
    copied: int


def is_open(infra: Infrastructure) -> bool:
    """Return whether the bus is open; the writer asks this to notice a restart of Redis."""
    link = Link(infra, name="bus-watch")
    try:
        return look(link).is_open
    finally:
        link.close()


def open_bus(infra: Infrastructure) -> Opening:
    """Open the bus without any archive: for a journal that has no PostgreSQL."""
    return recover(infra, None)


def recover(
    infra: Infrastructure,
    archive: EventArchive | None,
    *,
    copy_max: int = RECOVERY_COPY_MAX,
    progress: Callable[[int], None] | None = None,
) -> Opening:
    """Compare Redis with the archive, bring back what it lost, and open the bus in a new epoch.

    Only one process may do this at a time: the caller holds the writer's PostgreSQL lock. It may be interrupted at any
    point and done again.

    Args:
        infra: where Redis is.
        archive: the event store; None when there is no PostgreSQL.
        copy_max: most events that are copied into an empty stream.
        progress: called with the number of events copied so far.

    Raises:
        StoreError: Redis and the archive contradict each other; the bus stays closed.
        JournalClosed: Redis restarted meanwhile; do it again.
        redis.ConnectionError, redis.TimeoutError: do it again.
    """
    link = Link(infra, name="bus-opening")
    try:
        found = look(link)
        if found.is_open and found.epoch:
            return Opening(opened=False, epoch=found.epoch, first_n=found.epochs.first_n[found.epoch], copied=0)
        plan = plan_recovery(*_facts(link, found, archive), copy_max=copy_max)
        if archive is not None:
            # Durable first: were it lost with Redis, the same epoch would be given twice and lost places look valid.
            archive.record_epoch(plan.epoch, plan.head + 1)
            _bring_back(link, archive, plan, progress)
        _open(link, plan, found.server)
        return Opening(opened=True, epoch=plan.epoch, first_n=plan.head + 1, copied=plan.missing)
    finally:
        link.close()


def _facts(link: Link, found: Attachment, archive: EventArchive | None) -> tuple[RedisFacts, ArchiveFacts | None]:
    head = _last_generated(link)
    if (head.n if head else 0) != found.head:
        raise StoreError(f"the stream ends at {head}, its head says {found.head}: Redis was changed by hand")
    archived = archive.head() if archive else None
    lower = min(head.n, archived.n) if head and archived else 0
    ours = theirs = None
    if archive is not None and head is not None and lower:
        place = str(head if head.n == lower else found.epochs.id_of(lower))
        ours = next((decode_entry(*item) for item in link.call("XRANGE", keys.JOURNAL, place, place)), None)
        theirs = next((entry for entry in archive.read(lower - 1, 1) if entry.id.n == lower), None)
    oldest = link.call("XRANGE", keys.JOURNAL, "-", "+", "COUNT", 1)
    first = JournalId.parse(oldest[0][0]).n if oldest else None
    return (
        RedisFacts(head, found.epochs.first_n, ours, first),
        ArchiveFacts(archived, archive.epochs(), theirs) if archive else None,
    )


def _last_generated(link: Link) -> JournalId | None:
    if not link.call("EXISTS", keys.JOURNAL):
        return None
    flat = link.call("XINFO", "STREAM", keys.JOURNAL)
    facts = dict(zip(flat[::2], flat[1::2], strict=True))
    last = JournalId.parse(facts[b"last-generated-id"])
    return last if last.n else None


def _bring_back(link: Link, archive: EventArchive, plan: RecoveryPlan, progress: Callable[[int], None] | None) -> None:
    if plan.clear:
        link.run(CLEAR, (keys.JOURNAL, keys.BUS))
    if plan.marks:
        marks, last_ids = archive.high_water(), archive.last_ids()
        link.run(
            MARKS,
            (keys.HIGH_WATER, keys.LAST_ID, keys.BUS),
            [
                archive.run_id() or "",
                len(marks),
                *(part for item in marks.items() for part in item),
                *(part for channel, last in last_ids.items() for part in (channel, str(last))),
            ],
        )
    after = plan.copy_after
    while after < plan.copy_to:
        events = archive.read(after, min(COPY_BATCH, plan.copy_to - after))
        if not events or [event.id.n for event in events] != list(range(after + 1, after + 1 + len(events))):
            raise StoreError(f"the archive lacks events after {after}, which Redis has lost as well")
        link.run(
            RESTORE,
            (keys.JOURNAL, keys.HIGH_WATER, keys.LAST_ID, keys.BUS),
            [part for event in events for part in _restored(event)],
        )
        after = events[-1].id.n
        if progress is not None:
            progress(after - plan.copy_after)


def _restored(event: Entry) -> tuple[str | int | bytes, ...]:
    mark = high_water_field(event)
    name, number = mark if mark is not None else ("", 0)
    run_id = run_begun([event.event]) if event.channel == CONTROL and event.producer == WS else ""
    return str(event.id), event.channel, event.producer, event.cause, name, number, run_id, event.data


def _open(link: Link, plan: RecoveryPlan, server: str) -> None:
    epochs = [part for item in plan.epochs.items() for part in item]
    reply = link.run(
        OPEN,
        (keys.BUS, keys.BUS_OPEN, keys.EPOCHS, keys.HIGH_WATER, keys.CURSOR),
        [server, plan.epoch, plan.head, secrets.token_hex(16), *epochs],
    )
    if reply[0] != b"ok":
        raise JournalClosed(reply[1].decode())
