"""Makes a backup while the system trades: the store as it was at one moment, and the journal's tail beyond it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Final

from claire.backup.archive import BackupUnusable, Manifest, origin_of, write_archive
from claire.backup.tail import Tail
from claire.history.journal_file import JournalWriter
from claire.history.source import DatabaseHistory
from claire.progress import Tell
from services.cdb_writer.adapters.backup_folder import backup_name, backups
from services.cdb_writer.adapters.schema import stored_revision
from services.cdb_writer.chain import ChainHead
from services.common.errors import InputUnusable
from services.common.runtime.build import code_version
from services.common.runtime.file_lock import try_lock
from services.common.runtime.state_folder import sync_folder

__all__ = ["Backup", "BackupFolderUnusable", "make_backup"]

DRAFT: Final = ".draft"


class BackupFolderUnusable(InputUnusable):
    """Backups cannot be written there, or another one is being written; the text has the fix."""


@dataclass(frozen=True)
class Backup:
    """A finished backup.

    Attributes:
        path: the file.
        manifest: what it says.
        removed: older backups that made room (`--keep`).
    """

    path: Path
    manifest: Manifest
    removed: tuple[Path, ...] = ()


def make_backup(
    history: DatabaseHistory,
    read_tail: Callable[[ChainHead], Tail],
    folder: Path,
    moment: datetime,
    *,
    keep: int = 0,
    tell: Tell = lambda _: None,
) -> Backup:
    """Write a backup; the file gets its name when it is whole and on the disk.

    Every event is checked against the chain on its way, so what is wrong in the database is found now, not at the
    restore.

    Args:
        history: the store, seen as it was at one moment.
        read_tail: reads what Redis holds beyond the event it is given; called before anything else, since the writer
            trims the stream as it goes on.
        folder: where backups are; made when missing.
        moment: now, UTC.
        keep: how many backups of this history stay, this one included; 0: all.
        tell: told of events written.

    Raises:
        BackupFolderUnusable: nothing can be written there, or another backup is being made.
        BackupUnusable: there is nothing to back up.
        HistoryUnusable, ChainBroken: the store cannot be read, or is not what was recorded.
    """
    assert history.tip is not None
    tail = read_tail(history.tip)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("a+b") as lock:
            if not try_lock(lock):
                raise BackupFolderUnusable(f"another backup is being written to {folder}; wait for it")
            for leftover in folder.glob(f".*{DRAFT}*"):  # of a backup that was killed: we have the lock
                leftover.unlink()
            backup = _make(history, tail, folder, moment, tell)
            return Backup(backup.path, backup.manifest, _rotate(folder, keep, backup.manifest.origin))
    except OSError as error:
        raise BackupFolderUnusable(f"{folder} cannot be written: {error.strerror}; choose another --output") from error


def _make(history: DatabaseHistory, tail: Tail, folder: Path, moment: datetime, tell: Tell) -> Backup:
    journal = folder / f".journal{DRAFT}"
    archive = folder / f".archive{DRAFT}"
    assert history.tip is not None
    origin = ""
    try:
        with JournalWriter(journal) as writer:
            for entry in chain(history.entries(), tail.entries):
                head = writer.write(entry)
                if head.seq == 1:
                    origin = head.hash.hex()
                tell(head.seq)
        if not writer.head.seq:
            raise BackupUnusable(f"{history.where}: nothing is recorded there yet; nothing was backed up")
        manifest = Manifest(
            created_at=f"{moment:%Y-%m-%dT%H:%M:%SZ}",
            code_version=code_version(),
            revision=stored_revision(history.database) or "",
            tip=writer.head,
            stored=history.tip,
            tail=tail.words,
            epochs=_epochs(history, tail),
            anchors={seq: head.hash.hex() for seq, head in history.anchors.items()},
            origin=origin,
        )
        manifest = write_archive(archive, manifest, journal)
        path = folder / backup_name(moment, writer.head.seq)
        archive.replace(path)
        sync_folder(folder)
    finally:
        for draft in (journal, archive):
            draft.unlink(missing_ok=True)
    return Backup(path, manifest)


def _epochs(history: DatabaseHistory, tail: Tail) -> dict[int, int]:
    with history.database.cursor() as cur:
        cur.execute("SELECT epoch, first_seq FROM event_store.epochs ORDER BY epoch")
        epochs = {int(epoch): int(first) for epoch, first in cur.fetchall()}
    for entry in tail.entries:
        epochs.setdefault(entry.id.epoch, entry.id.n)
    return epochs


def _rotate(folder: Path, keep: int, origin: str) -> tuple[Path, ...]:
    """Remove all but the newest `keep` backups of one history; the newest always stays, and so do those of others."""
    if keep <= 0 or not origin:
        return ()
    old = tuple([path for _, path in backups(folder) if origin_of(path) == origin][:-keep])
    for path in old:
        path.unlink()
    return old
