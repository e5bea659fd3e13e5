"""The `claire` command: the operator's way in.

Exit codes: see claire.options; a command with others says them itself.
"""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import typer
from rich.console import Console

from claire.backup.command import register as register_backup
from claire.command_group import CommandGroup
from claire.commands_history import register as register_history
from claire.dead_letters_command import register as register_dead_letters
from claire.doctor.command import register as register_doctor
from claire.doctor.mend_command import register as register_mend
from claire.drill.command import register as register_drill
from claire.explain.command import register as register_explain
from claire.lookahead_command import register as register_lookahead
from claire.operator_commands import register as register_operator_commands
from claire.options import FIRST_PORT, parse_settings, refuse, refusing
from claire.page.command import register as register_page
from claire.paper.command import run_paper_command
from claire.parity.command import register_parity
from claire.profiles import PROFILES_HELP, Profile, profile_settings
from claire.record_command import register as register_record
from claire.replay.command import replay
from claire.report.command import register as register_report
from claire.sandbox_command import register as register_sandbox
from claire.scenarios.command import register as register_scenarios
from claire.status_command import register as register_status_command
from services.common.errors import SettingsInvalid
from services.common.runtime.build import code_version

__all__ = ["app", "main"]

app = typer.Typer(
    name="claire",
    cls=CommandGroup,
    help="Claire de Binare: momentum trading that explains and replays every decision.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

DEFAULT_FOLDER = Path("data/paper")
DataDir = Annotated[Path, typer.Option("--data-dir", help="Folder of databases, snapshots and logs; it survives.")]


class Feed(StrEnum):
    """Where market data come from."""

    recorded = "recorded"
    external = "external"
    raw = "raw"
    mexc_spot = "mexc_spot"
    mexc_perpetual = "mexc_perpetual"


@app.callback(invoke_without_command=True)
def top(*, version: Annotated[bool, typer.Option("--version", help="Say which code this is.")] = False) -> None:
    """Claire de Binare: momentum trading that explains and replays every decision."""
    if version:
        Console().print(code_version(), highlight=False)
        raise typer.Exit


def _feed_settings(feed: Feed | None, files: list[Path]) -> dict[str, str]:
    if feed is None:
        feed = Feed.recorded if files else Feed.mexc_spot
    if feed not in {Feed.recorded, Feed.raw} and files:
        refuse(f"--file belongs to --feed recorded and raw; the feed {feed.value} plays no files")
    if feed is Feed.recorded and not files:
        refuse("--feed recorded needs --file, for example --file backoffice/data/crash-2021-05-19_xbtusd_1m.csv.gz")
    if feed is Feed.raw and not files:
        refuse("--feed raw needs --file: what claire record has written")
    for file in files:
        if not file.is_file():
            refuse(f"--file {file}: there is no such file")
    venue = {"VENUE": feed.value} if feed in {Feed.mexc_spot, Feed.mexc_perpetual} else {}
    return {**venue, "FEED": feed.value, "FEED_FILES": ",".join(str(file.resolve()) for file in files)}


@app.command()
def up(
    *,
    feed: Annotated[
        Feed | None,
        typer.Option(
            metavar="FEED",
            help="Live: mexc_spot (default), mexc_perpetual; of files: recorded, raw; external: the clock alone.",
        ),
    ] = None,
    file: Annotated[
        list[Path] | None,
        typer.Option("--file", help="A recording (ticks or candles, CSV or CSV.gz); several are merged."),
    ] = None,
    speed: Annotated[str, typer.Option(help="Feed seconds per second, or max.")] = "1",
    turnstile: Annotated[
        bool, typer.Option("--turnstile/--no-turnstile", help="One entry at a time in a fixed order: repeatable.")
    ] = False,
    exit_when_done: Annotated[
        bool, typer.Option("--exit-when-done", help="Stop with a summary when the recording has ended.")
    ] = False,
    data_dir: DataDir = DEFAULT_FOLDER,
    profile: Annotated[Profile | None, typer.Option("--profile", metavar="PROFILE", help=PROFILES_HELP)] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting; repeatable.")
    ] = None,
    run_id: Annotated[str, typer.Option("--run-id", help="Name of the run to begin or to go on with.")] = "",
    new_run: Annotated[bool, typer.Option("--new-run", help="Begin a new run in the same database.")] = False,
    warmup_min: Annotated[
        int | None, typer.Option("--warmup-min", help="Minutes of the recording that only warm the strategy up.")
    ] = None,
    symbol_map: Annotated[
        list[str] | None, typer.Option("--symbol-map", metavar="A=B", help="Play symbol A of a file as B.")
    ] = None,
    first_port: Annotated[int, FIRST_PORT] = 8000,
    redis_port: Annotated[
        int | None,
        typer.Option(
            "--redis-port",
            metavar="PORT",
            help="Let Valkey listen on 127.0.0.1 at this port, not on a UNIX socket.",
            min=1,
            max=65_535,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The final summary as JSON on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Nothing but the final summary and errors.")] = False,
) -> None:
    """Run the whole pipeline here, without Docker: Valkey, PostgreSQL and the services."""
    from claire.stack import StackOptions
    from claire.up import UpOptions, run_up

    with refusing():
        chosen = parse_settings(set_ or [])
    given = {
        **profile_settings(profile),
        **chosen,
        **_feed_settings(feed, file or []),
        "PLAYBACK_SPEED": speed,
        "TURNSTILE": "true" if turnstile else "false",
        # a service that is started again must not begin yet another run, so a new run has its name from here
        "RUN_ID": run_id or (uuid4().hex if new_run else ""),
        "NEW_RUN": "",
        "LOG_FORMAT": "json",
    }
    if warmup_min is not None:
        given["RECORDED_WARMUP_MIN"] = str(warmup_min)
    if symbol_map:
        given["RECORDED_SYMBOL_MAP"] = ",".join(symbol_map)
    names = ", ".join(path.name for path in file or []) or given["FEED"]
    options = UpOptions(
        StackOptions(data_dir, given, first_port, redis_port),
        f"Claire de Binare: {names}",
        exit_when_done=exit_when_done,
        as_json=as_json,
        quiet=quiet,
    )
    with refusing():
        try:
            code = run_up(options, Console(stderr=as_json))
        except SettingsInvalid as invalid:
            refuse(f"settings are wrong:\n{invalid}")
    raise typer.Exit(code)


app.command("run-paper")(run_paper_command)
register_scenarios(app)
register_operator_commands(app)
register_status_command(app)
register_page(app)
register_drill(app)
register_record(app)


@app.command()
def stats(
    *,
    data_dir: DataDir = DEFAULT_FOLDER,
    dsn: Annotated[
        str, typer.Option("--dsn", help="Connection string of a database instead of a data folder (Docker).")
    ] = "",
    statistics: Annotated[
        bool, typer.Option("--statistics", help="And the statistics of the last run: all its events are read.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
) -> None:
    """Show what is stored: rows of each table, the portfolio, events by type; and what trading has come to."""
    from claire.database import open_database
    from claire.screen import render_stats
    from claire.statistics.observe import statistics_of
    from claire.statistics.screen import render_statistics
    from claire.stats import collect
    from claire.up import print_json

    with refusing(), open_database(data_dir, dsn, os.environ) as connection:
        found = collect(connection)
        figures = statistics_of(connection, dsn or str(data_dir)) if statistics else None
    if as_json:
        print_json(found if figures is None else {**found, "statistics": figures.as_json()})
    else:
        Console().print(render_stats(found))
        if figures is not None:
            Console().print(render_statistics(figures))


register_history(app)
register_backup(app)
register_doctor(app)
register_mend(app)
register_dead_letters(app)
app.command()(replay)
register_parity(app)
register_report(app)
register_explain(app)
register_lookahead(app)
register_sandbox(app)


def main() -> None:
    """Be the `claire` command."""
    sys.exit(app(standalone_mode=True))
