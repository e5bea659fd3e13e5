"""`claire parity`: what the paper exchange makes of a recorded run's orders, and why it earned something else."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.table import Table

from claire.commands_history import DEFAULT_FOLDER, AsJson, DataDir, Dsn, ExportDir, Journal, refusing
from claire.parity.compare import ParityResult
from services.common.decimals import use_fixed_context

__all__ = ["parity", "register_parity"]

_MEANING = {
    "spread": "half the spread at the fill",
    "latency": "the market between decision and fill",
    "slippage": "beyond the touch",
    "fees": "on what both filled",
    "partials": "filled by one alone",
    "rejects": "refused by one alone",
    "funding": "settlements of perpetuals",
    "liquidation": "margin lost beyond the position's value",
}
_SHOWN = 10


def register_parity(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(parity)


def parity(
    *,
    journal: Journal = None,
    data_dir: DataDir = DEFAULT_FOLDER,
    dsn: Dsn = "",
    export_dir: ExportDir = None,
    as_json: AsJson = False,
) -> None:
    """Send a recorded run's orders through the paper exchange and split the difference in profit into its parts."""
    from claire.history.source import open_history
    from claire.parity.compare import Parity
    from claire.up import print_json

    use_fixed_context()
    with refusing(), open_history(journal, data_dir, dsn, export_dir) as history:
        result = Parity().observe_all(history.entries())
    if as_json:
        print_json(result.as_json())
        return
    console = Console()
    for table in render(result):
        console.print(table)
    for coin, amount in result.other_fees.items():
        console.print(f"not counted: fees of {amount:f} {coin}, whose price is not recorded", style="yellow")


def render(result: ParityResult) -> list[Table]:
    """Return what is shown: the parts, and the orders that differ most."""
    figures = result.as_json()
    modes = ", ".join(result.modes) or "no results"
    parts = Table(title=f"run {result.run_id} ({modes}) against paper, {len(result.orders)} orders, USDT")
    for heading in ("what", "", "USDT"):
        parts.add_column(heading, justify="right" if heading == "USDT" else "left")
    parts.add_row("paper", "profit on paper", f"{figures['paper_pnl']:+.6f}")
    for name, amount in figures["parts"].items():
        parts.add_row(name, _MEANING[name], f"{amount:+.6f}")
    parts.add_row("real", "profit as recorded", f"{figures['real_pnl']:+.6f}", style="bold")
    orders = Table(title="orders that differ most")
    for heading in ("order", "symbol", "side", "real", "paper", "difference"):
        orders.add_column(heading, justify="right" if heading in {"real", "paper", "difference"} else "left")
    by_difference = sorted(result.orders, key=lambda compared: -abs(compared.parts.total))
    for compared in by_difference[:_SHOWN]:
        shown = compared.as_json()
        orders.add_row(
            compared.order.client_order_id,
            compared.order.symbol,
            f"{compared.order.side} ({compared.order.purpose})",
            *(
                f"{each['quantity']:f} at {each['average_price']:f}" if each["quantity"] else str(each["status"] or "-")
                for each in (shown["real"], shown["paper"])
            ),
            f"{shown['parts']['total']:+.6f}",
        )
    return [parts, orders]
