"""What a paper run leaves behind: a result as a dictionary, and files in a folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from claire.history.journal_file import JournalWriter
from claire.paper.run import PaperRun, Progress, Sink, run_paper
from claire.paper.spec import PaperSpec
from claire.report import render, report_data
from claire.statistics import write_equity_csv, write_trades_csv
from claire.up import to_json
from services.common.errors import InputUnusable

__all__ = ["OutputUnusable", "report_of", "result_of", "run_and_write"]


class OutputUnusable(InputUnusable):
    """The folder for the results cannot be made or written."""


def run_and_write(
    spec: PaperSpec,
    folder: Path | None,
    progress: Callable[[Progress], None] | None = None,
    sinks: Sequence[Sink] = (),
) -> dict[str, Any]:
    """Run a spec; into a folder, if one is given, write the journal, `report.html|json`, `equity.csv`, `trades.csv`.

    Args:
        spec: what to play.
        folder: made if it is not there.
        progress: called now and then.
        sinks: each takes every entry.

    Raises:
        OutputUnusable: the folder cannot be written.
        FeedInputInvalid, SettingsInvalid: see :func:`claire.paper.run.run_paper`.
    """
    if folder is None:
        return result_of(spec, run_paper(spec, progress=progress, sinks=sinks))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with JournalWriter(folder / "journal.jsonl.zst") as journal:
            run = run_paper(spec, progress=progress, sinks=[journal.write, *sinks])
        report = report_of(spec, run)
        write_equity_csv(run.statistics, folder / "equity.csv")
        write_trades_csv(run.statistics, folder / "trades.csv")
        (folder / "report.json").write_text(to_json(report) + "\n", encoding="utf-8")
        (folder / "report.html").write_text(render(report), encoding="utf-8")
    except OSError as error:
        raise OutputUnusable(f"--output-dir {folder}: cannot be written ({error.strerror})") from error
    return result_of(spec, run)


def report_of(spec: PaperSpec, run: PaperRun) -> dict[str, Any]:
    """Return what `report.json` has of a run: the result, and what the page shows."""
    return {
        **result_of(spec, run),
        **report_data(run.statistics, title=spec.title, chain_tip=run.chain_tip, manifest=run.inputs),
    }


def result_of(spec: PaperSpec, run: PaperRun) -> dict[str, Any]:
    """Return what `--json` says of a run."""
    return {
        "run_id": run.run_id,
        "title": spec.title,
        "period": run.statistics.period,
        "events": run.events,
        "statistics": run.statistics.as_json(),
        "portfolio": run.portfolio,
        "chain_tip": run.chain_tip,
        "settings": run.settings,
    }
