"""`claire explain` and `claire trace`: why something happened, why it did not, and what would be otherwise.

Exit codes: 0 answered; 1 nothing has this id, or what is recorded contradicts itself; 2 used wrongly.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from claire.commands_history import DEFAULT_FOLDER, AsJson, DataDir, Dsn, ExportDir, Journal, refusing

if TYPE_CHECKING:
    from claire.explain.lookup import Lookup

__all__ = ["explain", "register", "trace"]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(explain)
    app.command()(trace)


@contextmanager
def _looking(journal: Path | None, data_dir: Path, dsn: str, export_dir: Path | None) -> Iterator[Lookup]:
    """Open the history, with progress on standard error."""
    from claire.explain.lookup import lookup_of
    from claire.history.source import open_history
    from claire.progress import progress_bar
    from services.common.decimals import use_fixed_context

    use_fixed_context()
    with (
        refusing(),
        open_history(journal, data_dir, dsn, export_dir) as history,
        progress_bar(Console(stderr=True), "reading", history.total) as tell,
    ):
        yield lookup_of(history, tell)


def explain(
    id_: Annotated[
        str, typer.Argument(metavar="ID", help="A signal, decision, order, fill (the beginning is enough) or a symbol.")
    ],
    *,
    journal: Journal = None,
    data_dir: DataDir = DEFAULT_FOLDER,
    dsn: Dsn = "",
    export_dir: ExportDir = None,
    as_json: AsJson = False,
) -> None:
    """Tell the story of a signal, decision, refusal, order, fill or position: every number with its unit and limit."""
    from claire.explain.holding_screen import render_holding
    from claire.explain.position import as_instrument, holding_of
    from claire.explain.screen import render_story
    from claire.explain.story import story_of
    from claire.up import print_json

    console = Console()
    with _looking(journal, data_dir, dsn, export_dir) as lookup:
        instrument = as_instrument(id_)
        if instrument is not None:
            holding = holding_of(lookup, *instrument)
            found, picture = holding.as_dict(), render_holding(holding)
        else:
            story = story_of(lookup, lookup.find(id_))
            found, picture = story.as_dict(), render_story(story, console.width)
    if as_json:
        print_json(found)
    else:
        console.print(picture, highlight=False)


def trace(
    id_: Annotated[str, typer.Argument(metavar="CORRELATION_ID", help="A chain, or any event, order or fill in it.")],
    *,
    journal: Journal = None,
    data_dir: DataDir = DEFAULT_FOLDER,
    dsn: Dsn = "",
    export_dir: ExportDir = None,
    as_json: AsJson = False,
) -> None:
    """Print the tree of events that one of them began, each under its cause, with times."""
    from claire.explain.trace import render_trace, trace_of
    from claire.up import print_json

    with _looking(journal, data_dir, dsn, export_dir) as lookup:
        roots = trace_of(lookup, id_)
    if as_json:
        print_json({"correlation_id": roots[0].event.correlation_id or roots[0].event.event_id,
                    "roots": [root.as_dict() for root in roots]})  # fmt: skip
    else:
        Console().print(render_trace(roots), highlight=False)
