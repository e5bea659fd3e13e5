"""Commands: `claire backup` and `claire restore`.

Exit codes: 0 done; 1 what was found there is wrong (a broken chain, a target that is not empty, a restore that does not
hold); 2 used wrongly, or what was given cannot be used (no database, a backup that was cut or changed).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from rich.console import Console

__all__ = ["register"]

DEFAULT_FOLDER = Path("data/paper")

DataDir = Annotated[Path, typer.Option("--data-dir", help="Data folder of claire up.")]
Dsn = Annotated[
    str, typer.Option("--dsn", help="Connection string of a database instead; `env` takes POSTGRES_* (Docker).")
]
AsJson = Annotated[bool, typer.Option("--json", help="The result as JSON on standard output.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(backup)
    app.command()(restore)


def backup(
    *,
    output: Annotated[
        Path | None, typer.Option("--output", help="Folder of the backups (default: BACKUP_DIR, else data/backups).")
    ] = None,
    keep: Annotated[int, typer.Option("--keep", help="How many backups of this history stay; 0: all.", min=0)] = 0,
    data_dir: DataDir = DEFAULT_FOLDER,
    dsn: Dsn = "",
    export_dir: Annotated[
        Path | None,
        typer.Option("--export-dir", help="Folder of market data past retention; EVENT_EXPORT_DIR unless given."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write everything that was recorded into one file, while the system trades: database, and the tail in Redis."""
    from claire.backup.make import make_backup
    from claire.backup.place import backup_folder, redis_of_environment, redis_of_folder, tail_of
    from claire.data_folder import DataFolder
    from claire.history.source import DatabaseHistory, open_history
    from claire.options import refusing
    from claire.progress import progress_bar
    from claire.up import print_json

    moment = datetime.now(UTC)
    with refusing(), ExitStack() as opened:
        running = DataFolder(data_dir).in_use()
        history = opened.enter_context(open_history(None, data_dir, dsn, export_dir))
        assert isinstance(history, DatabaseHistory)
        infra = (
            redis_of_environment(os.environ)
            if dsn
            else opened.enter_context(redis_of_folder(data_dir, running=running))
        )
        tell = opened.enter_context(progress_bar(Console(stderr=True), "backing up", history.total))
        made = make_backup(history, tail_of(infra), backup_folder(output, os.environ), moment, keep=keep, tell=tell)
    found: dict[str, Any] = {
        "file": str(made.path),
        "bytes": made.path.stat().st_size,
        "events": made.manifest.tip.seq,
        "chain_tip": made.manifest.tip.hash.hex(),
        "tail": made.manifest.tail,
        "removed": [str(path) for path in made.removed],
    }
    if as_json:
        print_json(found)
        return
    text = (
        f"{found['events']:,} events to {made.path} ({found['bytes']:,} bytes); tail: {made.manifest.tail}\n"
        f"chain tip {found['chain_tip']}: note it elsewhere, claire restore --tip compares it"
    )
    Console().print(text, highlight=False, soft_wrap=True, markup=False)


def restore(
    *,
    file: Annotated[Path, typer.Argument(help="A file that claire backup has written.")],
    data_dir: DataDir = DEFAULT_FOLDER,
    dsn: Dsn = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="A data folder that is there already is moved aside (never deleted).")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only read the backup to its end: is it whole, and does its chain hold?")
    ] = False,
    validate: Annotated[
        bool, typer.Option("--validate/--no-validate", help="Derive every decision again before the result counts.")
    ] = True,
    tip: Annotated[
        str, typer.Option("--tip", help="Where the chain must end (64 hex digits), as it was written down elsewhere.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Put a backup back, whole or not at all: into a new data folder, or an empty database (Docker)."""
    from claire.backup.place import redis_of_environment, went_on_elsewhere
    from claire.backup.restore import check_backup, restore_database, restore_folder
    from claire.open_store import connect_elsewhere
    from claire.options import refuse, refusing
    from claire.up import print_json

    moment = datetime.now(UTC)
    if dsn and replace:
        refuse("--replace is for a data folder; a database must be empty (drop it and create it anew)")
    with refusing(), _stages() as stage:
        if check:
            with TemporaryDirectory(prefix="claire-check-") as folder:
                manifest, _ = check_backup(file, Path(folder) / "journal.jsonl.zst", tip, stage)
            _show(print_json if as_json else None, {**manifest.as_dict(), "ok": True}, f"{file} is whole")
            return
        if dsn:
            infra = redis_of_environment(os.environ)
            done = restore_database(
                file,
                connect_elsewhere(dsn, os.environ),
                jump=lambda manifest: went_on_elsewhere(infra, manifest),
                check=validate,
                tip=tip,
                stage=stage,
            )
        else:
            done = restore_folder(file, data_dir, replace=replace, check=validate, tip=tip, moment=moment, stage=stage)
    manifest = done.manifest
    found: dict[str, Any] = {
        "target": "the database" if dsn else str(data_dir),
        "created_at": manifest.created_at,
        "events": manifest.tip.seq,
        "chain_tip": manifest.tip.hash.hex(),
        "validated": done.verdict is not None,
        "moved_aside": None if done.moved is None else str(done.moved),
    }
    aside = "" if done.moved is None else f"; what was there is in {done.moved}"
    held = "every decision follows again" if done.verdict is not None else "claire validate was not run or had nothing"
    text = (
        f"{found['target']} holds {found['events']:,} events, as of {manifest.created_at}; {held}{aside}\n"
        f"chain tip {found['chain_tip']}"
    )
    _show(print_json if as_json else None, found, text)


def _show(as_json: Any, value: dict[str, Any], text: str) -> None:
    if as_json is not None:
        as_json(value)
    else:
        Console().print(text, highlight=False, soft_wrap=True, markup=False)


@contextmanager
def _stages() -> Iterator[Any]:
    """Give what begins a part of the work with a bar of its own, ending the one before."""
    from claire.progress import Tell, progress_bar

    console = Console(stderr=True)
    with ExitStack() as bars:

        def stage(text: str, total: int | None) -> Tell:
            bars.close()
            return bars.enter_context(progress_bar(console, text, total))

        yield stage
