"""A history from one place to another: out of a database into a file, and back into an empty database, without loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Final

from claire.history.journal_file import JournalWriter
from claire.history.manifest import Footer
from claire.history.record import HistoryUnusable
from claire.history.source import History
from claire.history.span import WHOLE, Span
from claire.progress import Tell
from services.cdb_writer.adapters.store import EventStore, read_cursor
from services.cdb_writer.chain import ChainHead
from services.cdb_writer.recorder import Batch, Recorder
from services.cdb_writer.rows import TABLES
from services.cdb_writer.service import fold_clock
from services.common.codec import encode_state
from services.common.errors import StoreError
from services.common.runtime.run_clock import RunClock

__all__ = ["TargetNotEmpty", "empty_store", "export_history", "import_history", "require_empty", "require_whole"]

EVENTS_A_STEP: Final = 5_000

_FILLED: Final = ("event_store.events", "event_store.runs", "event_store.exports", *(table.table for table in TABLES))


class TargetNotEmpty(StoreError):
    """A journal can only be imported where nothing was recorded yet."""


def export_history(history: History, path: Path, span: Span = WHOLE, tell: Tell = lambda _: None) -> Footer:
    """Write a history, or a part of it, to a journal file.

    Raises:
        HistoryUnusable: there is nothing in that range, or something cannot be read or written.
        ChainBroken: an event is not what was hashed; no file is left.
    """
    steps = history.steps(span)
    first = next(steps, None)
    if first is None:
        raise HistoryUnusable(f"{history.where}: nothing is recorded in that range; nothing was exported")
    before, entry, _ = first
    writer = JournalWriter(path, after=before)
    try:
        writer.write(entry)
        for _, entry, head in steps:
            writer.write(entry)
            tell(head.seq - before.seq)
        return writer.finish()
    except BaseException as error:
        writer.abandon()
        if isinstance(error, OSError):
            raise HistoryUnusable(f"{path} cannot be written: {error.strerror}; choose another --output") from error
        raise


def require_empty(store: EventStore) -> None:
    """Make sure that nothing was ever recorded in a store.

    Raises:
        TargetNotEmpty: something was; it is named.
    """
    cursor = read_cursor(store.database)
    found = [f"{cursor.head.seq} events"] if cursor.head != ChainHead() or cursor.state is not None else []
    with store.database as database, database.cursor() as cur:
        for table in _FILLED:
            cur.execute(f"SELECT count(*) FROM {table}")  # noqa: S608 -- our own names
            row = cur.fetchone()
            if row is not None and row[0]:
                found.append(f"{row[0]} rows in {table}")
    if found:
        raise TargetNotEmpty(
            f"the target holds {', '.join(found)}; a journal can only be imported into an empty event store: "
            "choose another --data-dir"
        )


def require_whole(history: History, tell: Tell = lambda _: None) -> ChainHead:
    """Read a history to its end and return the end of the chain: nothing shall be written of one that is broken.

    Raises:
        HistoryUnusable: it does not begin at its beginning, has no events, or cannot be read.
        ChainBroken: an event is not what was hashed.
    """
    if history.after != ChainHead():
        raise HistoryUnusable(
            f"{history.where} begins after event {history.after.seq}; a whole one is needed: export it without --from"
        )
    head = ChainHead()
    for _, head in history.links():
        tell(head.seq)
    if not head.seq:
        raise HistoryUnusable(f"{history.where} has no events; there is nothing to import")
    return head


def import_history(
    history: History,
    store: EventStore,
    tell: Tell = lambda _: None,
    *,
    epochs: Mapping[int, int] | None = None,
) -> None:
    """Write a whole history into an empty store, as the writer would have: in one transaction, so all or nothing.

    Args:
        history: what to import; whole.
        store: where to; open, so that no writer is at work.
        tell: told of events written.
        epochs: epochs to know beside those of the events: epoch to its first number.

    Raises:
        TargetNotEmpty: something was recorded there before.
        HistoryUnusable: it cannot be read.
        ChainBroken: an event is not what was hashed.
        ContractViolation, IllegalTransition: an event cannot be folded into the tables.
    """
    require_empty(store)
    store.write_whole(_batches(history, tell), epochs)


def _batches(history: History, tell: Tell) -> Iterator[tuple[Batch, bytes]]:
    recorder, clock = Recorder(ChainHead(), None), RunClock()
    entries = history.entries()
    while page := list(islice(entries, EVENTS_A_STEP)):
        batch = recorder.fold(page)
        fold_clock(clock, page, batch)
        yield batch, encode_state(clock.dump())
        tell(batch.after.seq)


def empty_store(store: EventStore) -> None:
    """Take back what `import_history` has written."""
    store.database.rollback()
    with store.database as database, database.cursor() as cur:
        cur.execute("ALTER TABLE event_store.events DISABLE TRIGGER events_are_not_truncated")
        cur.execute(f"TRUNCATE {', '.join(_FILLED)}, event_store.epochs, event_store.chain_anchor")
        cur.execute("ALTER TABLE event_store.events ENABLE TRIGGER events_are_not_truncated")
        cur.execute(
            "UPDATE event_store.cursor SET seq = 0, epoch = 0, chain_head = %s, state = NULL, clock = NULL",
            (ChainHead().hash,),
        )
