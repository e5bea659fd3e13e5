"""`claire run-paper`: a recording through the whole pipeline in one process, and what came of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from claire.options import parse_moment, parse_settings, refusing
from claire.profiles import PROFILES_HELP, Profile, profile_settings
from services.common.errors import SettingsInvalid
from services.common.timestamps import DAY_US, format_timestamp

__all__ = ["run_paper_command"]


def run_paper_command(
    *,
    input_: Annotated[
        list[Path] | None,
        typer.Option(
            "--input", help="A recording (ticks or candles, CSV or CSV.gz; several are merged), or one journal file."
        ),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Play what this data folder of claire up has recorded.")
    ] = None,
    dsn: Annotated[str, typer.Option("--dsn", help="Play what this database has recorded (env: POSTGRES_*).")] = "",
    scenario: Annotated[
        str, typer.Option("--scenario", help="A bundled recording with its settings, as crash-2021-05-19.")
    ] = "",
    from_: Annotated[str, typer.Option("--from", help="Play from this day or time (UTC).")] = "",
    to: Annotated[str, typer.Option("--to", help="Play up to this day or time (UTC), itself not included.")] = "",
    days: Annotated[int | None, typer.Option("--days", min=1, help="Play so many days from --from.")] = None,
    strategy: Annotated[str, typer.Option("--strategy", help="The strategy; there is momentum_v1.")] = "momentum_v1",
    profile: Annotated[Profile | None, typer.Option("--profile", metavar="PROFILE", help=PROFILES_HELP)] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting; repeatable.")
    ] = None,
    symbol_map: Annotated[
        list[str] | None, typer.Option("--symbol-map", metavar="A=B", help="Play symbol A of a file as B.")
    ] = None,
    warmup_min: Annotated[
        int | None,
        typer.Option("--warmup-min", min=0, help="Minutes before the period that only fill the strategy's windows."),
    ] = None,
    run_id: Annotated[str, typer.Option("--run-id", help="Name of the run; else derived.")] = "",
    output_dir: Annotated[
        Path | None, typer.Option("--output-dir", help="Folder for journal, report and tables.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON on standard output.")] = False,
) -> None:
    """Trade a recording on paper in this process: the same decisions as the services, as fast as it goes.

    Equal inputs and settings give equal journals, byte for byte: compare the chain tips.
    """
    from claire.paper.output import run_and_write
    from claire.paper.scenarios import find_scenario
    from claire.paper.spec import PaperSpec, Period
    from claire.stack import known_settings
    from claire.up import print_json

    with refusing():
        if strategy != "momentum_v1":
            raise SettingsInvalid(f"--strategy {strategy}: there is no such strategy; momentum_v1 is the one there is")
        if scenario and input_:
            raise SettingsInvalid("--scenario has its own recording; leave --input out")
        named = find_scenario(scenario) if scenario else None
        inputs = named.inputs if named else tuple(input_ or ())
        if not inputs and data_dir is None and not dsn:
            raise SettingsInvalid(
                "nothing to play: give --input FILE, or --scenario crash-2021-05-19 for a bundled recording"
            )
        spec = PaperSpec(
            inputs=inputs,
            settings={
                **{name: os.environ[name] for name in sorted(known_settings()) if name in os.environ},
                **(named.settings if named else {}),
                **profile_settings(profile),
                **({"RECORDED_SYMBOL_MAP": ",".join(symbol_map)} if symbol_map else {}),
                **parse_settings(set_ or []),
                "TRADING_MODE": "paper",
            },
            period=_period(Period, from_, to, days),
            warmup_min=named.warmup_min if named and warmup_min is None and not from_ else warmup_min,
            run_id=run_id,
            data_dir=data_dir,
            dsn=dsn,
            title=named.title if named else ", ".join(path.name for path in inputs) or str(data_dir or "database"),
        )
        with _Bar(spec.title, quiet=as_json) as bar:
            result = run_and_write(spec, output_dir, bar.show)
    if as_json:
        print_json(result)
    else:
        console = Console()
        console.print(_summary(result))
        console.print(f"chain tip {result['chain_tip']}", style="dim", highlight=False, soft_wrap=True)
        if output_dir is not None:
            console.print(f"written to {output_dir}", style="dim", highlight=False, soft_wrap=True)


def _period(make: Any, from_: str, to: str, days: int | None) -> Any:
    start_us = parse_moment("--from", from_) if from_ else None
    end_us = parse_moment("--to", to) if to else None
    if days is not None:
        if to:
            raise SettingsInvalid("--days and --to both say where it ends; give one of them")
        if start_us is None:
            raise SettingsInvalid("--days needs --from, the day from which they count")
        end_us = start_us + days * DAY_US
    return make(start_us, end_us)


class _Bar:
    """Progress on standard error, if that is a terminal."""

    def __init__(self, title: str, *, quiet: bool) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[now]}"),
            TimeElapsedColumn(),
            console=console,
            disable=quiet or not console.is_terminal,
            transient=True,
        )
        self._task: TaskID = self._progress.add_task(title, total=None, now="")

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, at: Any) -> None:
        """Show how far the run is."""
        total = None if at.end_us is None else at.end_us - at.start_us
        now = f"{format_timestamp(at.now_us)[:16].replace('T', ' ')} UTC, {at.entries:,} events"
        self._progress.update(self._task, total=total, completed=at.now_us - at.start_us, now=now)


def _summary(result: dict[str, Any]) -> Table:
    from claire.screen import money_rows
    from claire.statistics.numbers import percent

    table = Table(title=result["title"] or result["run_id"], show_header=False, title_justify="left")
    portfolio, events = result["portfolio"], result["events"]
    table.add_column(style="dim")
    table.add_column(justify="right", overflow="fold")
    table.add_row("period", f"{result['period']['from'][:16]} to {result['period']['to'][:16]} UTC")
    names, figures = ("equity", "cash", "realized_pnl", "unrealized_pnl", "fees"), result["statistics"]
    for label, value in money_rows(portfolio, names):
        table.add_row(label, f"{value} USDT")
    net = figures["net_pnl"]
    table.add_row("net PnL, after fees", "unknown" if net is None else f"{net:,.2f} USDT")
    table.add_row("return", percent(figures["return_pct"]))
    table.add_row("maximum drawdown", percent(figures["max_drawdown_pct"]))
    table.add_row("round trips", f"{figures['round_trips']:,}, {figures['wins']:,} won")
    table.add_row("entries refused", f"{figures['entries_refused']:,} of {figures['entries_decided']:,}")
    for name in ("signal", "risk_decision", "order", "order_result", "alert"):
        table.add_row(f"{name.replace('_', ' ')}s", f"{events.get(name, 0):,}")
    table.add_row("events in all", f"{sum(events.values()):,}")
    return table
