"""`claire report`: the page of a run, from its journal, its database or its `report.json`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from claire.commands_history import DEFAULT_FOLDER, DataDir, Dsn, ExportDir
from claire.options import refusing

__all__ = ["register", "report"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(report)


def report(
    *,
    file: Annotated[
        Path | None, typer.Argument(help="A report.json of run-paper; or use --journal, --data-dir or --dsn.")
    ] = None,
    journal: Annotated[Path | None, typer.Option("--journal", help="A journal file.")] = None,
    data_dir: DataDir = DEFAULT_FOLDER,
    dsn: Dsn = "",
    export_dir: ExportDir = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="The page to write; report.html beside its source unless given.")
    ] = None,
) -> None:
    """Draw a run as one self-contained HTML page: equity, prices with trades and refusals, statistics."""
    from claire.report.page import render

    with refusing():
        found = _read(file) if file is not None else _observe(journal, data_dir, dsn, export_dir)
        target = output or _beside(file or journal, data_dir, dsn)
        _write(target, render(found))
    Console().print(f"{target} ({target.stat().st_size:,} bytes)", highlight=False, soft_wrap=True)


def _beside(source: Path | None, data_dir: Path, dsn: str) -> Path:
    folder = source.parent if source is not None else Path() if dsn else data_dir
    return folder / "report.html"


def _read(file: Path) -> Mapping[str, Any]:
    from claire.history.record import HistoryUnusable
    from services.common.codec import decode
    from services.common.errors import ContractViolation

    try:
        found = decode(file.read_bytes())
    except OSError as error:
        raise HistoryUnusable(f"{file}: cannot be read ({error.strerror})") from error
    except ContractViolation as error:
        raise HistoryUnusable(
            f"{file}: {error}; a report.json of claire run-paper is meant, a journal is given with --journal"
        ) from error
    if not isinstance(found, dict) or not {"charts", "statistics", "period"} <= found.keys():
        raise HistoryUnusable(f"{file} is no report.json of claire run-paper; a journal is given with --journal")
    return found


def _write(target: Path, page: str) -> None:
    from claire.history.record import HistoryUnusable

    try:
        target.write_text(page, encoding="utf-8")
    except OSError as error:
        raise HistoryUnusable(f"--output {target}: cannot be written ({error.strerror})") from error


def _observe(journal: Path | None, data_dir: Path, dsn: str, export_dir: Path | None) -> Mapping[str, Any]:
    from claire.history.source import open_history
    from claire.progress import progress_bar
    from claire.report.data import report_data
    from claire.statistics.observe import observe

    with (
        open_history(journal, data_dir, dsn, export_dir) as history,
        progress_bar(Console(stderr=True), "reading", history.total) as tell,
    ):
        statistics, tip = observe(history, tell)
        title = f"run {statistics.run_id}" if statistics.run_id else history.where
        return report_data(statistics, title=title, chain_tip=tip, manifest={"history": history.where})
