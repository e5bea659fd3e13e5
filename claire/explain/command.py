"""`claire explain` and `claire trace`: why something happened, why it did not, and what would be otherwise.

Exit codes: 0 answered; 1 nothing has this id, or what is recorded contradicts itself; 2 used wrongly.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.text import Text

from claire.commands_history import DEFAULT_FOLDER, AsJson, DataDir, Dsn, ExportDir, Journal
from claire.options import refuse, refusing
from services.common.errors import SettingsInvalid

if TYPE_CHECKING:
    from claire.explain.lookup import Lookup

__all__ = ["explain", "parse_changes", "register", "trace"]


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
        str,
        typer.Argument(metavar="ID", help="A signal, decision, order, fill (the beginning is enough) or a symbol."),
    ] = "",
    *,
    why_not: Annotated[
        tuple[str, str] | None,
        typer.Option("--why-not", metavar="SYMBOL TIME", help="Why there was no trade at this time (UTC)."),
    ] = None,
    if_: Annotated[
        list[str] | None,
        typer.Option("--if", metavar="NAME=VALUE", help="Decide again under another setting; repeatable."),
    ] = None,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="With --if: the setting from the start of the run, not here alone.")
    ] = False,
    journal: Journal = None,
    data_dir: DataDir = DEFAULT_FOLDER,
    dsn: Dsn = "",
    export_dir: ExportDir = None,
    as_json: AsJson = False,
) -> None:
    """Tell the story of a signal, decision, refusal, order, fill or position: every number with its unit and limit.

    Or, with --why-not, of a trade that never was; or, with --if, what another setting would have changed.
    """
    from claire.up import print_json

    if bool(id_) == (why_not is not None):
        refuse("give an ID, or --why-not SYMBOL TIME, for example: claire explain --why-not BTCUSDT 2021-05-19T13:05")
    if from_start and not if_:
        refuse("--from-start belongs to --if NAME=VALUE")
    console = Console()
    with _looking(journal, data_dir, dsn, export_dir) as lookup:
        changes = parse_changes(if_ or [])
        if why_not is not None:
            found, picture = _why_not(lookup, *why_not, changes, from_start=from_start, width=console.width)
        else:
            found, picture = _story(lookup, id_, changes, from_start=from_start, width=console.width)
    if as_json:
        print_json(found)
    else:
        console.print(picture, highlight=False)


def parse_changes(pairs: list[str]) -> dict[str, str]:
    """Return the settings of `--if NAME=VALUE` options.

    Raises:
        SettingsInvalid: not NAME=VALUE, or no decision depends on the name; with the nearest one.
    """
    from claire.explain.redecide import changed_services

    changes = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not value:
            raise SettingsInvalid(f"--if {pair}: NAME=VALUE is meant, for example --if MAX_POSITION_PCT=0.05")
        changes[name] = value
    changed_services(changes)
    return changes


def _story(
    lookup: Lookup, id_: str, changes: dict[str, str], *, from_start: bool, width: int
) -> tuple[dict[str, Any], RenderableType]:
    from claire.explain.holding_screen import render_holding
    from claire.explain.position import as_instrument, holding_of
    from claire.explain.redecide import redecide
    from claire.explain.redecision_screen import render_redecision
    from claire.explain.screen import render_story, story_head
    from claire.explain.story import story_of

    instrument = as_instrument(id_)
    if instrument is not None:
        holding = holding_of(lookup, *instrument)
        if not changes:
            return holding.as_dict(), render_holding(holding)
        story = holding.entry
    else:
        story = story_of(lookup, lookup.find(id_))
    if not changes:
        return story.as_dict(), render_story(story, width)
    again = redecide(lookup, story, changes, from_start=from_start)
    return {**story.as_dict(), "if": again.as_dict()}, Group(*story_head(story), Text(), render_redecision(again))


def _why_not(
    lookup: Lookup, name: str, time: str, changes: dict[str, str], *, from_start: bool, width: int
) -> tuple[dict[str, Any], RenderableType]:
    from claire.explain.bar_again import evaluate_again, render_bar_again
    from claire.explain.position import as_instrument
    from claire.explain.redecide import redecide
    from claire.explain.redecision_screen import render_redecision
    from claire.explain.why_not import why_not as answer
    from claire.explain.why_not_screen import render_why_not
    from claire.options import parse_moment

    instrument = as_instrument(name)
    if instrument is None:
        raise SettingsInvalid(f"--why-not {name}: an instrument is meant, for example BTCUSDT or mexc_spot:BTCUSDT")
    found = answer(lookup, *instrument, parse_moment("--why-not", time))
    if not changes:
        return found.as_dict(), render_why_not(found, width)
    if found.signal is None:
        bar = evaluate_again(lookup, found, changes, from_start=from_start)
        return {**found.as_dict(), "if": bar.as_dict()}, Group(
            render_why_not(found, width), Text(), render_bar_again(bar)
        )
    again = redecide(lookup, found.signal, changes, from_start=from_start)
    return {**found.as_dict(), "if": again.as_dict()}, Group(
        render_why_not(found, width), Text(), render_redecision(again)
    )


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
    from claire.explain.lookup import chain_id
    from claire.explain.trace import render_trace, trace_of
    from claire.up import print_json

    with _looking(journal, data_dir, dsn, export_dir) as lookup:
        roots = trace_of(lookup, id_)
    if as_json:
        print_json({"correlation_id": chain_id(roots[0].event),
                    "roots": [root.as_dict() for root in roots]})  # fmt: skip
    else:
        Console().print(render_trace(roots), highlight=False)
