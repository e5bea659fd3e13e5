"""Puts a backup back: into a new data folder, or into an empty database. Whole or not at all.

Order: the file is whole; its journal is one chain that ends where the manifest says; then it is written (a database: in
one transaction; a folder: beside the target, renamed when all is done); then `claire validate` must hold on it.

What the system did after the backup is lost here, but snapshots of services, or an exchange, may know of it. So the
restored store begins far beyond every epoch that the lost time can have had: no place of then is taken for one of now.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from claire.audit.validate import NothingToValidate, Verdict, validate
from claire.backup.archive import BackupUnusable, Manifest, extract_journal
from claire.data_folder import DataFolder, DataFolderInUse
from claire.embedded import EmbeddedServerFailed
from claire.history.record import HistoryUnusable
from claire.history.source import ChainBroken, DatabaseHistory, FileHistory
from claire.history.transfer import TargetNotEmpty, empty_store, import_history, require_whole
from claire.progress import Tell
from services.cdb_writer.adapters.connection import Connect, connector
from services.cdb_writer.adapters.schema import migrate
from services.cdb_writer.adapters.store import EventStore
from services.common.errors import ClaireError
from services.common.settings import Infrastructure, load_settings

__all__ = ["EPOCHS_LEFT_OUT", "RestoreFailed", "Restored", "check_backup", "restore_database", "restore_folder"]

EPOCHS_LEFT_OUT: Final = 1_000
"""How often Redis may have been restarted between the backup and its restore."""

Stage = Callable[[str, int | None], Tell]
"""Begins a part of the work, with its name and how much there is to do; returns what is told how far it is."""


class RestoreFailed(ClaireError):
    """What was restored is not what was backed up; the text says what differs. Nothing of it is left."""


@dataclass(frozen=True)
class Restored:
    """What stands now.

    Attributes:
        manifest: of the backup.
        verdict: of `claire validate` on the restored store; None when it was not asked for or had nothing to compare.
        moved: where the folder went that was there before.
    """

    manifest: Manifest
    verdict: Verdict | None = None
    moved: Path | None = None


def check_backup(path: Path, journal: Path, tip: str, stage: Stage) -> tuple[Manifest, FileHistory]:
    """Read a backup to its end and return its manifest and journal, which stands in `journal` then.

    Raises:
        BackupUnusable: it was cut or changed, or does not end at `tip` (hexadecimal, empty: not said).
    """
    manifest = extract_journal(path, journal)
    if tip and manifest.tip.hash.hex() != tip.lower():
        raise BackupUnusable(f"{path.name} ends at {manifest.tip.hash.hex()}, not at {tip}: this is another history")
    try:
        history = FileHistory(journal)
        head = require_whole(history, stage("checking", history.total))
    except (HistoryUnusable, ChainBroken) as error:
        raise BackupUnusable(f"{path.name}: {error}; take an older backup") from error
    if head != manifest.tip:
        raise BackupUnusable(
            f"{path.name}: the chain ends at {head.epoch}-{head.seq} {head.hash.hex()[:16]}, the manifest says "
            f"{manifest.tip.epoch}-{manifest.tip.seq} {manifest.tip.hash.hex()[:16]}; take an older backup"
        )
    return manifest, history


def restore_folder(
    path: Path, folder: Path, *, replace: bool, check: bool, tip: str, moment: datetime, stage: Stage
) -> Restored:
    """Make a data folder out of a backup, for `claire up` to go on from.

    All is done in a folder beside it, which gets the name when it is whole: killed at any moment, the target is what it
    was.

    Args:
        path: the backup.
        folder: the data folder to make.
        replace: move a folder that is there already aside (it is never deleted).
        check: run `claire validate` on the result, which must hold.
        tip: where the chain must end, as it was written down elsewhere; empty: not said.
        moment: now, for the name of what is moved aside.
        stage: begins a part of the work.

    Raises:
        BackupUnusable, RestoreFailed: what is wrong with the backup.
        TargetNotEmpty: something is there and `replace` was not said.
        DataFolderInUse: a pipeline runs on the folder, or another restore is at work.
    """
    target = DataFolder(folder)
    _require_free(target, replace=replace)
    draft = DataFolder(target.path.parent / f".{target.path.name}.restoring")
    draft.acquire()
    try:
        _clear(draft)
        manifest, history = check_backup(path, draft.path / "journal.jsonl.zst", tip, stage)
        draft.make()
        with draft.postgres() as server:
            infra = load_settings(Infrastructure, server.environment)
            verdict = _restore(history, manifest, connector(infra, name="claire"), stage, check=check, jump=True)
        (draft.path / "journal.jsonl.zst").unlink()
        moved = _make_way(target, moment, replace=replace)
        draft.path.rename(target.path)
    except BaseException:
        shutil.rmtree(draft.path, ignore_errors=True)
        raise
    finally:
        draft.release()
    return Restored(manifest, verdict, moved)


def _require_free(target: DataFolder, *, replace: bool) -> None:
    if target.in_use():
        raise DataFolderInUse(f"{target.path} is in use by process {target.holder()}; stop that one first")
    if not replace and target.path.exists() and (not target.path.is_dir() or any(target.path.iterdir())):
        raise TargetNotEmpty(
            f"{target.path} is not empty; choose another --data-dir, or say --replace: it is moved aside then, not "
            "deleted"
        )


def _clear(draft: DataFolder) -> None:
    """Remove what a restore that was killed has left, its server first."""
    if draft.exists:
        try:
            with draft.postgres():
                pass
        except EmbeddedServerFailed:
            pass  # half a cluster: nothing runs on it
    for place in draft.path.iterdir():
        if place.is_dir():
            shutil.rmtree(place)
        elif place.name != "claire.lock":
            place.unlink()


def _make_way(target: DataFolder, moment: datetime, *, replace: bool) -> Path | None:
    _require_free(target, replace=replace)  # the work took a while
    if not target.path.exists():
        return None
    if target.path.is_dir() and not any(target.path.iterdir()):
        target.path.rmdir()
        return None
    aside = target.path.with_name(f"{target.path.name}.before-{moment:%Y%m%dT%H%M%SZ}")
    target.path.rename(aside)
    return aside


def restore_database(
    path: Path, connect: Connect, *, jump: Callable[[Manifest], bool], check: bool, tip: str, stage: Stage
) -> Restored:
    """Write a backup into an empty database, in one transaction; no writer may be at work.

    Args:
        path: the backup.
        connect: opens connections to the database, as its owner.
        jump: whether epochs are left out (see above); not when Redis still holds the journal that went on.
        check: run `claire validate` on the result, which must hold.
        tip: where the chain must end, as it was written down elsewhere; empty: not said.
        stage: begins a part of the work.

    Raises:
        BackupUnusable, RestoreFailed: what is wrong with the backup.
        TargetNotEmpty: something is recorded there.
        LeaseHeld: a writer works on the database.
    """
    with tempfile.TemporaryDirectory(prefix="claire-restore-") as folder:
        manifest, history = check_backup(path, Path(folder) / "journal.jsonl.zst", tip, stage)
        verdict = _restore(history, manifest, connect, stage, check=check, jump=jump(manifest))
    return Restored(manifest, verdict)


def _restore(
    history: FileHistory, manifest: Manifest, connect: Connect, stage: Stage, *, check: bool, jump: bool
) -> Verdict | None:
    migrate(connect)
    store = EventStore(connect)
    store.open()
    try:
        import_history(history, store, stage("restoring", manifest.tip.seq), epochs=_epochs(manifest, jump=jump))
        try:
            _require_anchors(store, manifest)
            return _validated(connect, manifest, stage) if check else None
        except BaseException:
            empty_store(store)
            raise
    finally:
        store.close()


def _epochs(manifest: Manifest, *, jump: bool) -> Mapping[int, int]:
    epochs = dict(manifest.epochs)
    if jump:
        epochs[max(epochs, default=manifest.tip.epoch) + EPOCHS_LEFT_OUT] = manifest.tip.seq + 1
    return epochs


def _require_anchors(store: EventStore, manifest: Manifest) -> None:
    with store.database as database, database.cursor() as cur:
        cur.execute("SELECT seq, hash FROM event_store.chain_anchor")
        found = {int(seq): bytes(digest).hex() for seq, digest in cur.fetchall()}
    for seq, digest in manifest.anchors.items():
        if found.get(seq) != digest:
            raise RestoreFailed(f"the anchor at event {seq} is {found.get(seq)}, {digest} was backed up")


def _validated(connect: Connect, manifest: Manifest, stage: Stage) -> Verdict | None:
    database = connect()
    try:
        verdict = validate(
            DatabaseHistory(database, "the restored store"),
            tip=manifest.tip.hash.hex(),
            tell=stage("validating", manifest.tip.seq),
        )
    except NothingToValidate:
        return None  # clock and market data alone: the chain holds, and nothing was ever decided
    finally:
        database.close()
    if not verdict.ok:
        first = verdict.differences[0]
        hint = "" if not verdict.notes else f" ({verdict.notes[-1]})"
        raise RestoreFailed(
            f"claire validate does not hold on what was restored: event {first.n}, {first.field}: {first.meaning}"
            f"{hint}; nothing is left of it. --no-validate restores what was recorded as it is"
        )
    return verdict
