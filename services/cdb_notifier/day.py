"""The figures of one UTC day, and the message that tells them."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from services.cdb_notifier.curve import Curve
from services.cdb_notifier.message import Message, Point
from services.cdb_notifier.planner import Counted, clock_text, listed
from services.common.decimals import ZERO, divide, quantise
from services.common.events import OrderResult, RiskDecision

__all__ = ["Day", "summary"]


@dataclass
class Day:
    """What happened on a day.

    Attributes:
        name: as 2021-05-19.
        since: time of the first event counted, microseconds.
        equity: at its start, None when unknown.
        orders: ids of orders with a fill.
        turnover, fees, funding: in quote currency.
        refused: refusals by the name of the layer (or rule) that refused.
    """

    name: str = ""
    since: int = 0
    equity: Decimal | None = None
    orders: dict[str, bool] = field(default_factory=dict)
    fills: int = 0
    buys: int = 0
    turnover: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO
    approved: int = 0
    refused: dict[str, int] = field(default_factory=dict)

    def fill(self, result: OrderResult, value: Decimal) -> None:
        """Count a fill of so much quote currency."""
        self.orders[result.order_id] = True
        self.fills += 1
        self.buys += result.side == "BUY"
        self.turnover += value
        fee = result.fee or ZERO
        in_base = result.fee_currency is not None and result.symbol.startswith(result.fee_currency)
        self.fees += fee * (result.last_price or ZERO) if in_base else fee

    def decide(self, decision: RiskDecision) -> None:
        """Count a decision."""
        if decision.approved:
            self.approved += 1
            return
        for name in decision.reason.split(", "):
            self.refused[name] = self.refused.get(name, 0) + 1


def summary(day: Day, curve: Curve, end: Decimal | None, at: int, *, counted: list[Counted], note: str = "") -> Message:
    """Return the message about a day.

    Args:
        day: its figures.
        curve: its equity.
        end: equity at its end, quote currency; None when unknown.
        at: when it ended, microseconds.
        counted: notices that nobody was told of one by one.
        note: what else belongs to it.
    """
    pnl = None if end is None or day.equity is None else end - day.equity
    share = None if pnl is None or not day.equity or day.equity < 0 else divide(pnl, day.equity)
    result = f"{_money(pnl, '+')} USDT ({_percent(share, '+')})"
    refused = ", ".join(f"{count} {name}" for name, count in sorted(day.refused.items())) or "none"
    lines = [
        f"Day PnL {result}",
        (
            f"Equity {_money(end)} USDT, {_percent(_below(curve, end))} under the peak; worst of the day "
            f"{_percent(curve.worst)}"
        ),
        (
            f"Trades: {day.fills} fills of {len(day.orders)} orders ({day.buys} buys, {day.fills - day.buys} sells), "
            f"turnover {_money(day.turnover)}, fees {_money(day.fees)} USDT"
        ),
        f"Decisions: {day.approved} approved; refused by layer: {refused}",
    ]
    if day.funding:
        lines.append(f"Funding {_money(day.funding, '+')} USDT")
    lines += [f"From {clock_text(day.since)} to {clock_text(at)}", *([note] if note else [])]
    if counted:
        lines += ["", "Not told one by one:", *listed(counted)]
    points = list(curve.points)
    if end is not None:
        points.append(Point(at, end))
    return Message("INFO", f"{day.name}: {result}", "\n".join(lines), at, points if len(points) > 1 else [])


def _below(curve: Curve, equity: Decimal | None) -> Decimal | None:
    peak = curve.peak
    return None if equity is None or peak is None or peak <= 0 else max(ZERO, divide(peak - equity, peak))


def _money(value: Decimal | None, sign: str = "") -> str:
    return "unknown" if value is None else f"{quantise(value, 2):{sign},.2f}"


def _percent(value: Decimal | None, sign: str = "") -> str:
    return "unknown" if value is None else f"{quantise(value * 100, 2):{sign}.2f} %"
