"""`claire explain` and `claire trace`: why something happened, why it did not, and what would be otherwise.

Exit codes: 0 answered; 1 what is recorded contradicts itself, or no event has this id; 2 used wrongly.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from claire.commands_history import DEFAULT_FOLDER, AsJson, DataDir, Dsn, ExportDir, Journal, refusing

__all__ = ["explain", "register"]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(explain)


def explain(
    id_: Annotated[str, typer.Argument(metavar="ID", help="An event, order or fill, or the beginning of its id.")],
    *,
    journal: Journal = None,
    data_dir: DataDir = DEFAULT_FOLDER,
    dsn: Dsn = "",
    export_dir: ExportDir = None,
    as_json: AsJson = False,
) -> None:
    """Tell the story of a signal, decision, order or fill."""
    from claire.explain.lookup import lookup_of
    from claire.explain.screen import render_story
    from claire.explain.story import story_of
    from claire.history.source import open_history
    from claire.progress import progress_bar
    from claire.up import print_json
    from services.common.decimals import use_fixed_context

    use_fixed_context()
    console = Console()
    with (
        refusing(),
        open_history(journal, data_dir, dsn, export_dir) as history,
        progress_bar(Console(stderr=True), "reading", history.total) as tell,
    ):
        lookup = lookup_of(history, tell)
        story = story_of(lookup, lookup.find(id_))
    if as_json:
        print_json(story.as_dict())
    else:
        console.print(render_story(story, console.width), highlight=False)


_ = Path
