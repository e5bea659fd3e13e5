"""Commands on the history: export, import, rebuild and validate.

Exit codes: 0 done, and all holds; 1 something is wrong with what is recorded, or with the target; 2 used wrongly, or
what was given cannot be used.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from claire.options import refusing

__all__ = ["register"]

DEFAULT_FOLDER = Path("data/paper")

DataDir = Annotated[Path, typer.Option("--data-dir", help="Data folder of claire up.")]
Dsn = Annotated[str, typer.Option("--dsn", help="Connection string of a database instead of a data folder (Docker).")]
ExportDir = Annotated[
    Path | None,
    typer.Option("--export-dir", help="Folder of market data past retention; EVENT_EXPORT_DIR unless given."),
]
Journal = Annotated[
    Path | None, typer.Option("--journal", help="A journal file (claire export, run-paper) instead of a database.")
]
Begin = Annotated[str, typer.Option("--from", help="A journal number, a day or a UTC time; it is included.")]
End = Annotated[str, typer.Option("--to", help="A journal number, a day or a UTC time; it is included.")]
AsJson = Annotated[bool, typer.Option("--json", help="The result as JSON on standard output.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(name="export")(export_journal)
    app.command(name="import")(import_journal)
    app.command()(rebuild)
    app.command()(validate)


def export_journal(
    *,
    output: Annotated[Path, typer.Option("--output", help="The file to write: journal.jsonl.zst.")],
    begin: Begin = "",
    end: End = "",
    data_dir: DataDir = DEFAULT_FOLDER,
    dsn: Dsn = "",
    export_dir: ExportDir = None,
    as_json: AsJson = False,
) -> None:
    """Write the event store to a file: every event with its exact bytes, and the hash chain over them."""
    from claire.history.source import open_history
    from claire.history.span import Span
    from claire.history.transfer import export_history
    from claire.progress import progress_bar
    from claire.up import print_json

    errors = Console(stderr=True)
    with refusing():
        span = Span.parse(begin, end)
        with (
            open_history(None, data_dir, dsn, export_dir) as history,
            progress_bar(errors, "exporting", history.total) as tell,
        ):
            footer = export_history(history, output, span, tell)
    found = {
        "file": str(output),
        "entries": footer.entries,
        "last": f"{footer.head.epoch}-{footer.head.seq}",
        "chain_tip": footer.head.hash.hex(),
        "events": dict(footer.events),
        "bytes": output.stat().st_size,
    }
    if as_json:
        print_json(found)
    else:
        Console().print(
            f"{footer.entries:,} events to {output} ({found['bytes']:,} bytes), chain tip {found['chain_tip']}",
            highlight=False,
            soft_wrap=True,
        )


def import_journal(
    *,
    file: Annotated[Path, typer.Argument(help="A journal file that claire export or run-paper has written.")],
    data_dir: DataDir,
    as_json: AsJson = False,
) -> None:
    """Make a data folder out of a journal file: event store, the five tables, and all that claire up goes on from."""
    from claire.data_folder import DataFolder
    from claire.history.source import FileHistory
    from claire.history.transfer import TargetNotEmpty, import_history, require_whole
    from claire.open_store import open_store
    from claire.progress import progress_bar
    from claire.up import print_json

    errors = Console(stderr=True)
    with refusing():
        history = FileHistory(file)
        traces = DataFolder(data_dir).traces_of_a_run()
        if traces:
            raise TargetNotEmpty(f"{data_dir} holds {traces} of another pipeline; choose another --data-dir")
        with progress_bar(errors, "checking", history.total) as tell:
            head = require_whole(history, tell)
        with (
            open_store(data_dir, "", os.environ, make=True) as store,
            progress_bar(errors, "importing", head.seq) as tell,
        ):
            import_history(history, store, tell)
    found = {"data_dir": str(data_dir), "entries": head.seq, "chain_tip": head.hash.hex()}
    if as_json:
        print_json(found)
    else:
        text = f"{head.seq:,} events to {data_dir}, chain tip {head.hash.hex()}"
        Console().print(text, highlight=False, soft_wrap=True)


def rebuild(
    *,
    data_dir: DataDir = DEFAULT_FOLDER,
    dsn: Dsn = "",
    export_dir: ExportDir = None,
    as_json: AsJson = False,
) -> None:
    """Build the five tables anew from the events: they hold nothing that the events do not say."""
    from claire.history.source import export_folder
    from claire.open_store import open_store
    from claire.progress import progress_bar
    from claire.up import print_json
    from services.cdb_writer.adapters.rebuild import rebuild as rebuild_tables
    from services.cdb_writer.adapters.store import read_cursor

    errors = Console(stderr=True)
    with refusing(), open_store(data_dir, dsn, os.environ) as store:
        total = read_cursor(store.database).head.seq
        with progress_bar(errors, "rebuilding", total) as tell:
            folded = rebuild_tables(store, export_folder(export_dir), tell)
    if as_json:
        print_json({"events": folded})
    else:
        Console().print(f"the five tables were built anew from {folded:,} events", highlight=False)


def validate(
    *,
    journal: Journal = None,
    data_dir: DataDir = DEFAULT_FOLDER,
    dsn: Dsn = "",
    export_dir: ExportDir = None,
    complete: Annotated[
        bool, typer.Option("--complete", help="The run has ended: what a machine has still to say counts as missing.")
    ] = False,
    tip: Annotated[
        str, typer.Option("--tip", help="Where the chain must end (64 hex digits), as it was written down elsewhere.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Check a history: hash chain, every decision derived again byte for byte, causes, orders, books and tables."""
    from claire.audit.screen import render_verdict
    from claire.audit.validate import validate as validate_history
    from claire.history.source import open_history
    from claire.progress import progress_bar
    from claire.up import print_json

    errors = Console(stderr=True)
    with (
        refusing(),
        open_history(journal, data_dir, dsn, export_dir) as history,
        progress_bar(errors, "validating", history.total) as tell,
    ):
        verdict = validate_history(history, complete=complete, tip=tip or None, tell=tell)
    if as_json:
        print_json(verdict.as_dict())
    else:
        Console().print(render_verdict(verdict), crop=False)
    raise typer.Exit(0 if verdict.ok else 1)
