"""`claire parity`: what the paper exchange makes of a recorded run's orders, and why it earned something else."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction

import typer
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from claire.commands_history import DEFAULT_FOLDER, AsJson, DataDir, Dsn, ExportDir, Journal
from claire.explain.wording import price, quantity, short
from claire.options import refusing
from claire.parity.attribution import Execution, as_decimal
from claire.parity.compare import ParityResult
from claire.statistics.numbers import counted
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
_RARE = frozenset({"funding", "liquidation"})
_SHOWN = 10
_CENTS = Decimal("0.0001")


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
        history.require_beginning()
        result = Parity().observe_all(history.entries())
    if as_json:
        print_json(result.as_json())
        return
    console = Console()
    for part in render(result):
        console.print(part)
    for coin, amount in result.other_fees.items():
        console.print(
            f"not counted: fees of {amount:f} {coin}, whose price is not recorded", style="yellow", soft_wrap=True
        )


def render(result: ParityResult) -> list[RenderableType]:
    """Return what is shown: the parts, and the orders that differ most with what was said of them."""
    figures = result.as_json()
    modes = ", ".join(result.modes) or "no results"
    parts = Table(title=f"run {result.run_id} ({modes}) against paper, {counted(len(result.orders), 'order')}, USDT")
    for heading in ("what", "", "USDT"):
        parts.add_column(heading, justify="right" if heading == "USDT" else "left", overflow="fold")
    parts.add_row("paper", f"profit on paper, {_filled(each.paper for each in result.orders)}", _usdt(result.paper_pnl))
    for name, amount in figures["parts"].items():
        if amount or name not in _RARE:
            parts.add_row(name, _MEANING[name], _usdt(amount))
    parts.add_row(
        "real", f"profit as recorded, {_filled(each.real for each in result.orders)}", _usdt(figures["real_pnl"]),
        style="bold",
    )  # fmt: skip
    parts.add_row("difference", "real less paper: the sum of the parts", _usdt(figures["difference"]))
    by_difference = sorted(result.orders, key=lambda compared: -abs(compared.parts.total))
    differing = [each for each in by_difference if each.parts.total or _outcome(each.real) != _outcome(each.paper)]
    if not differing:
        return [parts, Text("every order fared alike in both")]
    orders = Table(title="orders that differ most, real less paper")
    for heading in ("order", "side", "real", "paper", "USDT"):
        orders.add_column(heading, justify="right" if heading == "USDT" else "left", overflow="fold")
    for compared in differing[:_SHOWN]:
        order = compared.order
        orders.add_row(
            f"{short(order.order_id.removeprefix('ord-'))} {order.symbol}",
            f"{order.side} {order.purpose}",
            _outcome(compared.real),
            _outcome(compared.paper),
            _usdt(compared.parts.total),
        )
    return [parts, orders]


def _usdt(amount: Decimal | Fraction) -> str:
    return f"{as_decimal(Fraction(amount)):+,.4f}"


def _filled(executions: Iterable[Execution]) -> str:
    outcomes = list(executions)
    filled = counted(sum(bool(each.quantity) for each in outcomes), "order")
    return f"{filled} filled, {sum(each.rejected for each in outcomes)} refused"


def _outcome(execution: Execution) -> str:
    """Return what became of an order, in one line: what filled at which price, and the code of why not all."""
    code = (execution.reason or "").partition(":")[0]
    why = f" ({code})" if code and execution.status != "FILLED" else ""
    if not execution.quantity:
        return f"{execution.status or 'nothing told'}{why}"
    average = price(as_decimal(execution.paid / execution.quantity).quantize(_CENTS))
    return f"{quantity(as_decimal(execution.quantity))} at {average}{why}"
