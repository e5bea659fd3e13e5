"""`claire run-scenarios`: a matrix of paper runs in parallel, and how they compare."""

from __future__ import annotations

import time
from collections.abc import Generator
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from claire.options import refuse, refusing

__all__ = ["register"]

INTERRUPTED = 130


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("run-scenarios")(run_scenarios)


def run_scenarios(
    *,
    config: Annotated[Path, typer.Option("--config", help="The scenario file, as backoffice/scenarios/example.yaml.")],
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", help="Folder for results, comparison and a folder for each scenario.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=0, help="Processes at a time; 0: one after the other in this one.")
    ] = None,
    scheduler: Annotated[
        str, typer.Option("--scheduler", help="Address of a Dask scheduler, as tcp://127.0.0.1:8786.")
    ] = "",
    keep_journals: Annotated[
        bool, typer.Option("--keep-journals", help="Keep journal, report (HTML) and tables of each scenario, too.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="So many scenarios are meant.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The results as JSON on standard output.")] = False,
) -> None:
    """Run a matrix of periods, parameters, profiles and stressed markets in parallel, and compare them.

    Exit codes: 0 all ran, 1 some failed (the others count), 2 used wrongly or the file has mistakes, 130 interrupted.
    """
    from claire.scenarios.page import render_comparison
    from claire.scenarios.plan import MOST, read_plan
    from claire.scenarios.results import Results
    from claire.scenarios.screen import render_table
    from claire.up import print_json

    if scheduler and workers is not None:
        refuse("--scheduler has its own workers; leave --workers out")
    if keep_journals and output_dir is None:
        refuse("--keep-journals needs --output-dir, the folder to keep them in")
    begun = time.perf_counter()
    interrupted = False
    with refusing():
        plan = read_plan(config, most=None if yes else MOST)
        results = Results(plan, output_dir)
        with _Bar(plan.title, len(plan.scenarios), quiet=as_json) as bar:
            outcomes = _outcomes(plan.scenarios, workers, scheduler, keep_journals=keep_journals, bar=bar)
            try:
                for outcome in outcomes:
                    result = results.take(outcome)
                    bar.done(f"{result.scenario.name}: {result.reason}" if result.reason else "")
            except KeyboardInterrupt:
                interrupted = True
            finally:
                outcomes.close()
        timing = {
            "wall_sec": Decimal(f"{time.perf_counter() - begun:.3f}"),
            "where": scheduler or f"{_workers(workers)} processes",
        }
        results.write(timing, render_comparison(plan.title, results.all, linked=keep_journals))
    if as_json:
        print_json(results.as_json(timing))
    else:
        console = Console()
        console.print(render_table(plan.title, results.all, width=console.width))
        if output_dir is not None:
            console.print(f"written to {output_dir / 'comparison.html'}", style="dim", highlight=False, soft_wrap=True)
    if interrupted:
        refuse("interrupted: what had come to its end is kept", INTERRUPTED)
    raise typer.Exit(1 if results.failed else 0)


def _workers(workers: int | None) -> int:
    from claire.scenarios.local import default_workers

    return default_workers() if workers is None else workers


def _outcomes(scenarios: Any, workers: int | None, scheduler: str, *, keep_journals: bool, bar: _Bar) -> Generator[Any]:
    """Yield outcomes from where they are to be made."""
    from claire.scenarios.cluster import run_on_cluster
    from claire.scenarios.local import run_here, run_in_processes

    if scheduler:
        yield from run_on_cluster(scenarios, scheduler=scheduler, keep_journals=keep_journals)
    elif workers == 0:
        yield from run_here(scenarios, keep_journals=keep_journals, watch=bar.under_way)
    else:
        yield from run_in_processes(
            scenarios, workers=_workers(workers), keep_journals=keep_journals, watch=bar.under_way
        )


class _Bar:
    """Progress on standard error, if that is a terminal."""

    def __init__(self, title: str, total: int, *, quiet: bool) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            console=console,
            disable=quiet or not console.is_terminal,
            transient=True,
        )
        self._total, self._ended = total, 0
        self._task = self._progress.add_task(title, total=total, count=f"0 of {total}")

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def done(self, failure: str) -> None:
        """Count a scenario that has ended."""
        self._ended += 1
        self._progress.update(self._task, completed=self._ended, count=f"{self._ended} of {self._total}")
        if failure:
            self._progress.console.print(failure, style="red", markup=False, highlight=False)

    def under_way(self, share: float) -> None:
        """Take the sum of what is done of the scenarios that are under way."""
        self._progress.update(self._task, completed=min(self._ended + share, self._total))
