"""What `claire up` shows: a live screen on a terminal, plain lines elsewhere, and the tables at the end."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC
from decimal import Decimal
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from claire.charts import line_chart, sparkline
from claire.statistics.numbers import counted, percent
from claire.watch import Happening, RunView
from services.common.timestamps import format_timestamp

__all__ = ["PlainScreen", "Screen", "TerminalScreen", "money_rows", "render_stats", "render_summary"]

STYLES = {
    "signal": "cyan",
    "approved": "green",
    "refused": "yellow",
    "fill": "bold green",
    "order": "magenta",
    "alert": "bold red",
    "control": "dim",
    "process": "bold blue",
}
SHOWN_LINES = 14
PROGRESS_EVERY_SEC = 5.0


class Screen:
    """What a run is shown on; `tell` may be called from any thread.

    Attributes:
        page: address of the status page, empty while there is none.
    """

    page: str = ""

    def start(self) -> None:
        """Begin."""

    def tell(self, happening: Happening) -> None:
        """Show one line."""
        raise NotImplementedError

    def update(self, view: RunView, health: Mapping[str, str], equity: Sequence[float], elapsed_sec: float) -> None:
        """Show the state of the moment."""
        raise NotImplementedError

    def stop(self) -> None:
        """End."""


class PlainScreen(Screen):
    """One line a happening, and one of progress every few seconds: for logs and pipes."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        """Write to `console`, or nothing at all."""
        self._console = console
        self._quiet = quiet
        self._lock = threading.Lock()
        self._progress_at = 0.0

    def tell(self, happening: Happening) -> None:
        """Write one line."""
        if self._quiet:
            return
        style = STYLES.get(happening.kind, "")
        line = Text.assemble(f"{happening.time or '-':<19} ", (f"{happening.kind:<9}", style), f" {happening.text}")
        with self._lock:
            self._console.print(line, soft_wrap=True)

    def update(self, view: RunView, health: Mapping[str, str], equity: Sequence[float], elapsed_sec: float) -> None:
        """Write a line of progress when it is time for one."""
        if self._quiet or elapsed_sec - self._progress_at < PROGRESS_EVERY_SEC:
            return
        self._progress_at = elapsed_sec
        with view.lock:
            now = "no clock yet" if view.now is None else format_timestamp(view.now)[:19].replace("T", " ")
            shown = ((view.counts["ticks"], "tick"), (view.counts["signal"], "signal"), (view.counts["fill"], "fill"))
            counts = ", ".join(counted(count, name) for count, name in shown)
        money = f", equity {equity[-1]:,.2f}" if equity else ""
        sick = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in _sick(health).items())
        self.tell(Happening("process", "", f"at {now}: {counts}{money}" + (f"; {sick}" if sick else "")))


def _sick(health: Mapping[str, str]) -> dict[str, list[str]]:
    """Return who is not well, each reason once."""
    found: dict[str, list[str]] = {}
    for service, reason in health.items():
        if reason:
            found.setdefault(reason, []).append(service)
    return found


class TerminalScreen(Screen):
    """One screen that is drawn again a few times a second."""

    def __init__(self, console: Console, title: str) -> None:
        """Draw on `console`."""
        self._console = console
        self._title = title
        self._lines: list[Happening] = []
        self._lock = threading.Lock()
        self._live = Live(console=console, refresh_per_second=4, transient=True)

    def start(self) -> None:
        """Take over the screen."""
        self._live.start()

    def stop(self) -> None:
        """Give the screen back."""
        self._live.stop()

    def tell(self, happening: Happening) -> None:
        """Keep the line for the next drawing."""
        with self._lock:
            self._lines.append(happening)
            del self._lines[:-SHOWN_LINES]

    def update(self, view: RunView, health: Mapping[str, str], equity: Sequence[float], elapsed_sec: float) -> None:
        """Draw."""
        with view.lock:
            self._live.update(self._picture(view, health, equity, elapsed_sec))

    def _picture(
        self, view: RunView, health: Mapping[str, str], equity: Sequence[float], elapsed_sec: float
    ) -> RenderableType:
        now = "waiting for the clock" if view.now is None else format_timestamp(view.now)[:19].replace("T", " ")
        facts = Table.grid(padding=(0, 2))
        facts.add_row("clock", now, "running", f"{elapsed_sec:,.0f} s")
        facts.add_row("ticks", f"{view.counts['ticks']:,}", "journal", f"{view.head:,} entries")
        facts.add_row("signals", str(view.counts["signal"]), "fills", str(view.counts["fill"]))
        facts.add_row("approved", str(view.counts["approved"]), "refused", str(view.counts["refused"]))
        prices = "  ".join(f"{symbol} {price:,.2f}" for symbol, price in sorted(view.prices.items()))
        services = Text("  ").join(
            Text.assemble(("● ", "red" if reason else "green"), service) for service, reason in health.items()
        )
        sick = [Text(f"{service}: {reason}", style="red") for service, reason in health.items() if reason]
        money = f"equity {equity[-1]:,.2f} USDT  {sparkline(equity)}" if equity else "equity: nothing stored yet"
        lines = Table.grid(padding=(0, 1))
        with self._lock:
            for line in self._lines:
                lines.add_row(
                    Text(line.time or "", style="dim"),
                    Text(line.kind, style=STYLES.get(line.kind, "")),
                    Text(line.text, overflow="ellipsis", no_wrap=True),
                )
        return Panel(
            Group(facts, Text(prices), Text(money, style="bold"), Text(), lines, Text(), services, *sick),
            title=self._title,
            subtitle=f"{self.page}  Ctrl-C stops".strip(),
        )


def _number(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, Decimal):
        return f"{value:,.2f}" if abs(value) >= 1 or not value else f"{round(value, 6).normalize():f}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD, padding=0)
    shown = [[_number(value) for value in row] for row in rows]
    for place, column in enumerate(columns):
        numbers = [line[place] for row, line in zip(rows, shown, strict=True) if isinstance(row[place], int | Decimal)]
        table.add_column(
            column,
            justify="left" if place == 0 else "right",
            no_wrap=True,
            min_width=max(map(len, numbers), default=None),  # half a number is a wrong number
        )
    for line in shown:
        table.add_row(*line)
    return table


MONEY_NAMES: Final = {
    "equity": "equity",
    "cash": "cash",
    "realized_pnl": "realized PnL, before fees",
    "unrealized_pnl": "unrealized PnL, before fees",
    "fees": "fees",
    "daily_pnl": "PnL of the day, after fees",
}


def money_rows(portfolio: Mapping[str, Any], names: Iterable[str]) -> list[tuple[str, str]]:
    """Return figures of a portfolio with their names in words, in USDT with two decimals."""
    figures = ((MONEY_NAMES[name], portfolio[name]) for name in names)
    return [(label, "unknown" if value is None else f"{value:,.2f}") for label, value in figures]


def render_stats(stats: Mapping[str, Any]) -> RenderableType:
    """Return what `claire stats` shows."""
    portfolio = stats["portfolio"]
    names = ("equity", "cash", "realized_pnl", "unrealized_pnl", "fees", "daily_pnl")
    columns = ("symbol", "side", "size", "entry_price", "current_price", "unrealized_pnl")
    headings = ("symbol", "side", "size", "entry", "mark", "gross PnL")
    at = portfolio["timestamp"]
    as_of = "" if at is None else f" at {at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    parts: list[RenderableType] = [
        _table("tables", ("table", "rows"), list(stats["tables"].items())),
        _table(f"portfolio{as_of} (USDT)", ("", "value"), money_rows(portfolio, names)),
    ]
    if portfolio["positions"]:
        rows = [[position[column] for column in columns] for position in portfolio["positions"]]
        parts.append(_table("open positions", headings, rows))
    parts.append(_table("events", ("type", "count"), list(stats["events"].items())))
    return Group(*parts)


def render_summary(summary: Mapping[str, Any], curve: Sequence[float]) -> RenderableType:
    """Return what stands at the end of a run."""
    refused = [
        (decision["reason"], decision["purpose"], decision["count"])
        for decision in summary["decisions"]
        if not decision["approved"]
    ]
    columns = ("symbol", "side", "purpose", "size", "price", "fees", "realized_pnl")
    trades = [
        [f"{trade['timestamp']:%m-%d %H:%M:%S}", *(trade[column] for column in columns)] for trade in summary["trades"]
    ]
    portfolio = summary["portfolio"]
    names = ("equity", "cash", "realized_pnl", "unrealized_pnl", "fees")
    tables: list[tuple[str, Sequence[str], Sequence[Sequence[Any]]]] = [
        ("events", ("type", "count"), list(summary["events"].items())),
        ("signals", ("intent", "count"), list(summary["signals"].items())),
        ("refused", ("reason", "purpose", "count"), refused),
        ("orders", ("status", "count"), list(summary["orders"].items())),
        ("trades (UTC)", ("time", *columns[:-1], "gross PnL"), trades),
        ("alerts", ("level", "code", "count"), [list(alert.values()) for alert in summary["alerts"]]),
        (
            "portfolio (USDT)",
            ("", "value"),
            [*money_rows(portfolio, names), ("maximum drawdown", percent(portfolio["max_drawdown_pct"]))],
        ),
    ]
    parts: list[RenderableType] = [_table(title, headings, rows) for title, headings, rows in tables if rows]
    if curve:
        parts.append(Text("\nequity curve (USDT)", style="italic"))
        parts.extend(Text(line, style="green") for line in line_chart(curve))
    return Group(*parts)
