"""The history of a pipeline, wherever it is: a journal file, or the event store of a data folder or any database.

Entries come in the one order of the journal, one after the other, in constant memory, and each is checked against the
hash chain before it is handed out.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg2
from psycopg2.extensions import connection

from claire.database import open_database
from claire.history.journal_file import JournalFile
from claire.history.manifest import Footer, Manifest
from claire.history.record import HistoryUnusable, Record
from claire.history.span import WHOLE, Span
from services.cdb_writer.adapters.reading import read_all
from services.cdb_writer.chain import ChainHead, column_fault, link
from services.cdb_writer.envelope import read_envelope
from services.common import channels
from services.common.errors import ClaireError, ContractViolation, StoreError
from services.common.journal.archive import NO_STORE_YET
from services.common.journal.entry import Entry

__all__ = ["ChainBroken", "DatabaseHistory", "FileHistory", "History", "export_folder", "follow", "open_history"]


class ChainBroken(ClaireError):
    """An event is not what was hashed, is missing, or stands where it does not belong.

    Attributes:
        n: journal number of the first bad event.
        event_id: of the event found there; None when there is none, or it cannot be read.
        field: what differs.
        recorded: what stands there.
        derived: what belongs there.
    """

    def __init__(self, n: int, field: str, recorded: str, derived: str, entry: Entry | None = None) -> None:
        self.n = n
        self.field = field
        self.recorded = recorded
        self.derived = derived
        self.event_id = None if entry is None else _event_id(entry)
        who = "" if self.event_id is None else f" ({self.event_id})"
        super().__init__(f"the chain is broken at event {n}{who}: {field}: recorded {recorded}, derived {derived}")


def _event_id(entry: Entry) -> str | None:
    try:
        return read_envelope(entry.channel, entry.data).event_id
    except ContractViolation:
        return None


class History(ABC):
    """A whole history, or a part of one that was exported.

    Attributes:
        where: what it is called in messages.
        after: the chain before its first entry.
        manifest: what the first line of a file says, None for anything else.
        total: how many entries it has, None when that is not known before the end.
        tip: where the chain must end; of a file it is known when its last line was read.
        anchors: the chain at closed days, by journal number.
    """

    where: str
    after: ChainHead
    manifest: Manifest | None = None
    total: int | None = None
    tip: ChainHead | None = None
    anchors: Mapping[int, ChainHead]

    @abstractmethod
    def records(self, after: int = 0) -> Iterator[Record]:
        """Yield what is recorded after a journal number, unchecked.

        Raises:
            HistoryUnusable: something cannot be read; it is named.
        """

    @abstractmethod
    def _head_at(self, n: int) -> ChainHead | None:
        """Return the chain at an entry if that can be told without walking there."""

    @abstractmethod
    def _first_at(self, since: str) -> int:
        """Return a journal number at or before the first event of cdb_ws at a time; 0 when that cannot be told."""

    def require_beginning(self, known: int = 0) -> None:
        """Make sure that machines can be followed through it.

        Args:
            known: the last entry that all of them have folded; 0 for new ones.

        Raises:
            HistoryUnusable: it begins later.
        """
        if self.after.seq > known:
            raise HistoryUnusable(
                f"{self.where} begins after event {self.after.seq}, and machines can only be followed from the "
                "beginning: export it without --from"
            )

    def steps(self, span: Span = WHOLE) -> Iterator[tuple[ChainHead, Entry, ChainHead]]:
        """Yield the entries of a span, each with the chain before and at it.

        Raises:
            HistoryUnusable: something cannot be read; it is named.
            ChainBroken: an entry is not what was hashed, or does not follow the one before it.
        """
        first = span.first or 0
        if span.since is not None:
            first = max(first, self._first_at(span.since))
        begun = span.since is None
        for before, entry, head in self._walk(max(first - 1, 0)):
            begun = begun or span.reaches(entry)
            if begun and span.passed(entry):
                return
            if begun and head.seq >= first:
                yield before, entry, head

    def links(self, span: Span = WHOLE) -> Iterator[tuple[Entry, ChainHead]]:
        """Yield the entries of a span, each with the chain at it; see :meth:`steps`."""
        for _, entry, head in self.steps(span):
            yield entry, head

    def entries(self, span: Span = WHOLE) -> Iterator[Entry]:
        """Yield the entries of a span; see :meth:`steps`."""
        for _, entry, _ in self.steps(span):
            yield entry

    def _walk(self, after: int) -> Iterator[tuple[ChainHead, Entry, ChainHead]]:
        head = self._head_at(after) or self.after
        for record in self.records(head.seq):
            before, head = head, follow(head, record)
            yield before, record.entry, head
        if self.tip is not None and self.tip != head:
            raise ChainBroken(
                min(head.seq, self.tip.seq) + (head.seq != self.tip.seq),
                "end of the chain",
                f"{self.tip.epoch}-{self.tip.seq} {self.tip.hash.hex()[:16]}",
                f"{head.epoch}-{head.seq} {head.hash.hex()[:16]}",
            )


def follow(head: ChainHead, record: Record) -> ChainHead:
    """Return the chain after a record.

    Raises:
        ChainBroken: the record does not follow, or is not what was hashed.
    """
    entry = record.entry
    n, epoch = entry.id.n, entry.id.epoch
    if n != head.seq + 1:
        raise ChainBroken(min(n, head.seq + 1), "n", str(n), str(head.seq + 1), entry)
    if epoch < head.epoch:
        raise ChainBroken(n, "epoch", str(epoch), f"at least {head.epoch}", entry)
    digest = link(head.hash, entry)
    if not digest.startswith(record.check):
        raise ChainBroken(n, "hash", record.check.hex()[:16], digest.hex()[:16], entry)
    if record.row is not None:
        reason = column_fault(record.row)
        if reason is not None:
            raise ChainBroken(n, "columns", reason, "columns as the data say", entry)
    return ChainHead(n, epoch, digest)


class FileHistory(History):
    """A journal file.

    Attributes:
        first_line: its bytes; empty when there is none.
        footer: what the last line says; None before it was read, and without one.
    """

    def __init__(self, path: Path) -> None:
        """Look at the file.

        Raises:
            HistoryUnusable: there is none, or it is no journal.
        """
        self._file = JournalFile(path)
        self.where = path.name
        self.after = self._file.after
        self.manifest = self._file.manifest
        self.first_line = self._file.first_line
        self.footer: Footer | None = None
        self.total = None if self.manifest is None else self.manifest.entries
        self.anchors = {}

    def records(self, after: int = 0) -> Iterator[Record]:
        """Yield what stands in the file; a file is always read from its first line."""
        for record in self._file.records():
            if isinstance(record, Footer):
                self.footer, self.tip = record, record.head
            elif record.entry.id.n > after or after == 0:
                yield record

    def _head_at(self, n: int) -> ChainHead | None:  # noqa: ARG002 -- a file is read from its beginning
        return None

    def _first_at(self, since: str) -> int:  # noqa: ARG002 -- as above
        return 0


class DatabaseHistory(History):
    """The event store in PostgreSQL as it is at this moment, with market data past retention read from their files."""

    def __init__(self, database: connection, where: str, export_folder: Path | None = None) -> None:
        """Look at the store; nothing is changed in it.

        Args:
            database: a connection that nothing else is done with meanwhile.
            where: what it is called in messages.
            export_folder: where the writer put market data past retention (`EVENT_EXPORT_DIR`).

        Raises:
            HistoryUnusable: the database has no event store, or its cursor is gone.
        """
        self.where = where
        self.after = ChainHead()
        self.database = database
        self._folder = export_folder
        database.rollback()
        database.set_session(isolation_level="REPEATABLE READ", readonly=True)
        try:
            with database, database.cursor() as cur:
                cur.execute("SET TIME ZONE 'UTC'")
            # All that follows is one transaction: events, cursor and tables are seen as they were at one moment.
            with database.cursor() as cur:
                cur.execute("SELECT seq, epoch, chain_head FROM event_store.cursor")
                heads = _heads(cur.fetchall())
                cur.execute("SELECT seq, epoch, hash FROM event_store.chain_anchor ORDER BY seq")
                self.anchors = {head.seq: head for head in _heads(cur.fetchall())}
        except NO_STORE_YET as error:
            raise HistoryUnusable(
                f"{where} has no event store yet; start the pipeline once (claire up) or claire import a journal"
            ) from error
        if not heads:
            raise HistoryUnusable(f"{where}: event_store.cursor is empty; restore the database from a backup")
        self.tip = heads[0]
        self.total = self.tip.seq

    def records(self, after: int = 0) -> Iterator[Record]:
        """Yield what stands in the database and in the files of exported market data."""
        assert self.tip is not None
        before = after
        try:
            for row in read_all(self.database, self._folder, after):
                if row.seq > before + 1:
                    self._require_no_export(before + 1, row.seq - 1)
                before = row.seq
                yield Record(row.entry, row.hash, row)
            if before < self.tip.seq:
                self._require_no_export(before + 1, self.tip.seq)
        except StoreError as error:
            raise HistoryUnusable(f"{self.where}: {error}; restore the file from a backup") from error

    def _require_no_export(self, first: int, last: int) -> None:
        """Name the file when missing events have been moved to one."""
        with self.database.cursor() as cur:
            cur.execute(
                "SELECT to_char(day, 'YYYY-MM-DD'), file FROM event_store.exports WHERE dropped_at IS NOT NULL "
                "AND first_seq <= %s AND last_seq >= %s ORDER BY first_seq LIMIT 1",
                (last, first),
            )
            moved = cur.fetchone()
        if moved is None:
            return
        day, name = moved
        place = "no --export-dir was given" if self._folder is None else f"it is not in {self._folder}"
        raise HistoryUnusable(
            f"{self.where}: events {first} to {last} (market data of {day}) were moved to {name}, and {place}; "
            "give the folder of EVENT_EXPORT_DIR with --export-dir"
        )

    def _head_at(self, n: int) -> ChainHead | None:
        with self.database.cursor() as cur:
            cur.execute("SELECT seq, epoch, hash FROM event_store.events WHERE seq = %s", (n,))
            row = cur.fetchone()
        return None if row is None else ChainHead(row[0], row[1], bytes(row[2]))

    def _first_at(self, since: str) -> int:
        """Return the place of the last exported or stored event of cdb_ws before the time."""
        with self.database.cursor() as cur:
            cur.execute(
                "SELECT min(first) FROM (SELECT min(seq) AS first FROM event_store.events "
                "WHERE producer = %s AND day >= %s::date AND timestamp >= %s::timestamptz "
                "UNION ALL SELECT min(first_seq) FROM event_store.exports "
                "WHERE dropped_at IS NOT NULL AND day >= %s::date) AS found",
                (channels.WS, since[:10], since, since[:10]),
            )
            row = cur.fetchone()
        assert self.tip is not None
        return self.tip.seq + 1 if row is None or row[0] is None else int(row[0])


def export_folder(given: Path | None) -> Path | None:
    """Return the folder of market data past retention: what was given, else `EVENT_EXPORT_DIR`."""
    moved = os.environ.get("EVENT_EXPORT_DIR", "")
    return given or (Path(moved) if moved else None)


def _heads(rows: Iterable[tuple[int, int, memoryview]]) -> list[ChainHead]:
    return [ChainHead(seq, epoch, bytes(digest)) for seq, epoch, digest in rows]


@contextmanager
def open_history(
    journal: Path | None, data_dir: Path, dsn: str = "", export_dir: Path | None = None
) -> Iterator[History]:
    """Open the history that a command's options name: the file if one is given, else the database.

    Args:
        journal: a journal file.
        data_dir: data folder of `claire up`; its server is started for the moment unless it is running.
        dsn: connection string to use instead of the folder; `env` takes POSTGRES_HOST and so on.
        export_dir: folder of market data past retention; `EVENT_EXPORT_DIR` unless given.

    Raises:
        HistoryUnusable: there is no history there.
        DatabaseUnreachable: there is no database there.
    """
    if journal is not None:
        yield FileHistory(journal)
        return
    folder = export_folder(export_dir)
    with open_database(data_dir, dsn, os.environ) as database:
        try:
            yield DatabaseHistory(database, "the database" if dsn else str(data_dir), folder)
        except psycopg2.OperationalError as error:
            raise HistoryUnusable(f"the database went away: {str(error).strip()}; try again") from error
