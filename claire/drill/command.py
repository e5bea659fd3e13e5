"""`claire drill breaker|halt|daily-loss`: does what shall protect the money really do so, with what is held now?

Exit codes: 0 every promise held; 1 one did not; 2 used wrongly, or there is nothing that could be copied.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from claire.options import refusing

if TYPE_CHECKING:
    from claire.drill.scenarios import Drill
    from claire.drill.source import Start

__all__ = ["DrillName", "drill", "register"]


class DrillName(StrEnum):
    """What is tripped."""

    breaker = "breaker"
    halt = "halt"
    daily_loss = "daily-loss"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(drill)


def drill(
    *,
    name: Annotated[DrillName, typer.Argument(help="What is tripped.")],
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Copy what is recorded in this data folder (running or not).")
    ] = None,
    dsn: Annotated[str, typer.Option("--dsn", help="Copy what is in this database (Docker: env).")] = "",
    journal: Annotated[Path | None, typer.Option("--journal", help="Copy what is in this journal file.")] = None,
    export_dir: Annotated[
        Path | None,
        typer.Option("--export-dir", help="Folder of market data past retention (EVENT_EXPORT_DIR unless given)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
) -> None:
    """Trip the circuit breaker (or a halt, or the daily loss limit) on a copy, and look at every promise about it.

    The copy lives in this process: the recorded journal is only read, and nothing of the original changes. Without any
    source the bundled sample is taken.
    """
    from claire.drill.desk import Desk
    from claire.drill.scenarios import DRILLS
    from claire.up import print_json

    console = Console(stderr=as_json)
    with refusing():
        start = _start(data_dir, dsn, journal, export_dir, console)
    found = DRILLS[name.value](Desk(start.machines, start.place))
    if as_json:
        print_json(as_record(found, start.where))
    else:
        console.print(render(found, start.where))
    raise typer.Exit(0 if found.passed else 1)


def _start(data_dir: Path | None, dsn: str, journal: Path | None, export_dir: Path | None, console: Console) -> Start:
    from claire.drill.source import from_history, from_sample
    from claire.history.source import open_history

    with ExitStack() as stack:
        progress = _progress(stack, console)
        if data_dir is None and journal is None and not dsn:
            return from_sample(progress)
        history = stack.enter_context(open_history(journal, data_dir or Path(), dsn, export_dir))
        return from_history(history, progress)


def _progress(stack: ExitStack, console: Console) -> Callable[[int, int | None], None]:
    columns = (TextColumn("taking a copy"), BarColumn(), MofNCompleteColumn())
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    stack.enter_context(bar)
    task = bar.add_task("", total=None)

    def show(done: int, total: int | None) -> None:
        bar.update(task, completed=done, total=total)

    return show


def as_record(found: Drill, where: str) -> dict[str, Any]:
    """Return a drill for machines."""
    return {
        "drill": found.name,
        "passed": found.passed,
        "copy_of": where,
        "set_aside": dict(found.set_aside),
        "story": list(found.story),
        "checks": [{"promise": c.promise, "held": c.held, "seen": c.seen} for c in found.checks],
    }


def render(found: Drill, where: str) -> Group:
    """Return a drill for a person."""
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column()
    for check in found.checks:
        mark = Text("✓" if check.held else "✗", style="bold green" if check.held else "bold red")
        table.add_row(
            mark, Text.assemble((check.promise, "" if check.held else "bold red"), ("\n" + check.seen, "dim"))
        )
    held = sum(check.held for check in found.checks)
    aside = ", ".join(f"{name}={_shown(value)}" for name, value in found.set_aside.items())
    verdict = ("passed", "bold green") if found.passed else ("FAILED", "bold red")
    return Group(
        Text.assemble((f"drill {found.name}", "bold"), f" on a copy of {where}; nothing of the original changes"),
        Text(f"in the copy: {aside}", style="dim"),
        *(Text(f"· {line}") for line in found.story),
        Text(),
        table,
        Text(),
        Text.assemble(verdict, f": {held} of {len(found.checks)} promises held"),
    )


def _shown(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)
