"""A bar for long work: on a terminal it moves, elsewhere nothing is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["Tell", "progress_bar"]

Tell = Callable[[int], None]
"""Says how far the work is, in the unit of the total; cheap enough to be called for each event."""

EVERY = 2_000


@contextmanager
def progress_bar(console: Console, text: str, total: int | None) -> Iterator[Tell]:
    """Show how far some work is.

    Args:
        console: where; it should be standard error when standard output is for machines.
        text: what is being done.
        total: how much there is to do, None when unknown.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bar = Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal)
    with bar:
        task = bar.add_task(text, total=total)
        shown = 0

        def tell(done: int) -> None:
            nonlocal shown
            if done - shown >= EVERY or done == total:
                bar.update(task, completed=done)
                shown = done

        yield tell
