"""`claire lookahead`: does any decision know what comes later?

Exit codes: 0 none does; 1 one does, and it is named; 2 used wrongly, or the input cannot be used.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.text import Text

from claire.options import parse_settings, refuse, refusing

if TYPE_CHECKING:
    from claire.lookahead import LookaheadResult

__all__ = ["lookahead", "register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(lookahead)


def lookahead(
    *,
    input_: Annotated[
        list[Path] | None, typer.Option("--input", help="A recording (ticks or candles, CSV or CSV.gz); repeatable.")
    ] = None,
    scenario: Annotated[str, typer.Option("--scenario", help="A bundled recording, as crash-2021-05-19.")] = "",
    journal: Annotated[
        Path | None, typer.Option("--journal", help="A journal file: what came from outside is played again.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting; repeatable.")
    ] = None,
    symbol_map: Annotated[
        list[str] | None, typer.Option("--symbol-map", metavar="A=B", help="Play symbol A of a file as B.")
    ] = None,
    warmup_min: Annotated[
        int | None, typer.Option("--warmup-min", min=0, help="Minutes that only fill the strategy's windows.")
    ] = None,
    points: Annotated[int, typer.Option("--points", min=1, max=1_000, help="At how many points to cut.")] = 25,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON on standard output.")] = False,
) -> None:
    """Cut the input at many points and prove that no earlier decision changes, to the byte."""
    from claire.history.source import FileHistory
    from claire.lookahead import check_lookahead, play_journal, play_spec
    from claire.paper.journal_feed import JOURNAL_SUFFIXES
    from claire.paper.scenarios import find_scenario
    from claire.paper.spec import PaperSpec
    from claire.progress import progress_bar
    from claire.stack import known_settings
    from claire.up import print_json

    if input_ and len(input_) == 1 and input_[0].name.endswith(JOURNAL_SUFFIXES):
        journal = input_[0]
        input_ = None
    if sum((bool(input_), bool(scenario), journal is not None)) != 1:
        refuse("give one of --input FILE, --scenario NAME and --journal FILE")
    with refusing(), progress_bar(Console(stderr=True), "runs", points + 1) as tell:
        if journal is not None:
            play = play_journal(FileHistory(journal))
        else:
            named = find_scenario(scenario) if scenario else None
            mapped = {"RECORDED_SYMBOL_MAP": ",".join(symbol_map)} if symbol_map else {}
            spec = PaperSpec(
                inputs=named.inputs if named else tuple(input_ or ()),
                settings={
                    **{name: os.environ[name] for name in sorted(known_settings()) if name in os.environ},
                    **(named.settings if named else {}),
                    **mapped,
                    **parse_settings(set_ or []),
                    "TRADING_MODE": "paper",
                },
                warmup_min=named.warmup_min if named and warmup_min is None else warmup_min,
            )
            play = play_spec(spec)
        result = check_lookahead(play, points, tell)
    if as_json:
        print_json(result.as_dict())
    else:
        Console().print(_picture(result), highlight=False)
    raise typer.Exit(0 if result.finding is None else 1)


def _picture(result: LookaheadResult) -> RenderableType:
    finding = result.finding
    counted = (
        f"{result.decisions:,} signals, decisions, orders and results among {result.entries:,} events; "
        f"{result.compared:,} events compared over {len(result.cuts)} cuts"
    )
    if finding is None:
        return Group(Text("No decision looks ahead.", style="bold green"), Text(counted))
    entry = finding.entry
    return Group(
        Text(
            f"A decision looks ahead: {entry.event.type} {entry.event.event_id} (entry {finding.n})", style="bold red"
        ),
        Text(f"it changes when the input ends before {result.as_dict()['finding']['cut_at']}"),
        *(
            Text(f"{name}: " + ("nothing" if side is None else side.data.decode()))
            for name, side in (("cut", finding.cut), ("whole", finding.whole))
        ),
        Text(counted, style="dim"),
    )
