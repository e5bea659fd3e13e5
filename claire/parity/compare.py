"""A recorded run and its orders on the paper exchange, side by side.

The paper exchange gets what execution got: market data, decisions, orders, the clock and the operator, but nothing of
what the exchange answered. Each order meets the position that the recorded run had (`holdings.py`), so that one order
is compared with one order, and not with what another one has left behind.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from claire.parity.attribution import Execution, Parts, as_decimal, attribute
from claire.parity.holdings import Holdings
from services.cdb_execution.machine import ExecutionMachine
from services.common import channels
from services.common.codec import decode
from services.common.decimals import ZERO
from services.common.events import Control, Event, MarketData, Order, OrderResult
from services.common.instruments import instrument_key
from services.common.journal.entry import Entry
from services.common.mexc.symbols import perpetual_symbol
from services.common.portfolio import mid_price

__all__ = ["Compared", "Parity", "ParityResult"]

_PASSED_OVER: Final = frozenset({"resolve_order"})
"""What an operator said of a real order says nothing of the one on paper."""


@dataclass
class _Quote:
    mid: Decimal
    bid: Decimal
    ask: Decimal


@dataclass
class _World:
    """What one world made of all orders."""

    executions: dict[str, Execution] = field(default_factory=dict)
    other_fees: dict[str, Decimal] = field(default_factory=dict)
    funding: Decimal = ZERO
    liquidations: list[tuple[str, Decimal, Decimal, Decimal]] = field(default_factory=list)
    seen: dict[str, Decimal] = field(default_factory=dict)


@dataclass(frozen=True)
class Compared:
    """One order in both worlds."""

    order: Order
    real: Execution
    paper: Execution
    final: Decimal
    parts: Parts

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "order_id": self.order.order_id,
            "symbol": self.order.symbol,
            "side": self.order.side,
            "purpose": self.order.purpose,
            "quantity": self.order.quantity,
            "real": _shown(self.real, self.final),
            "paper": _shown(self.paper, self.final),
            "parts": self.parts.shown(),
        }


@dataclass(frozen=True)
class ParityResult:
    """The whole run.

    Attributes:
        modes: how the recorded run traded.
        real_pnl, paper_pnl: of all orders, valued at the last mids, quote currency.
        parts: the difference, by what made it; without fees in third coins.
        other_fees: of the recorded run, by coin: no price of them is recorded.
    """

    run_id: str | None
    modes: tuple[str, ...]
    orders: list[Compared]
    real_pnl: Fraction
    paper_pnl: Fraction
    parts: Parts
    other_fees: dict[str, Decimal]

    def as_json(self) -> dict[str, Any]:
        """Return plain values; the parts add up to the difference."""
        shown = self.parts.shown()
        total = shown.pop("total")
        paper_pnl = as_decimal(self.paper_pnl)
        return {
            "run_id": self.run_id,
            "modes": list(self.modes),
            "orders": len(self.orders),
            "real_pnl": paper_pnl + total,
            "paper_pnl": paper_pnl,
            "difference": total,
            "parts": shown,
            "other_fees": self.other_fees,
            "by_order": [compared.as_json() for compared in self.orders],
        }


class Parity:
    """Folds a journal once, in both worlds; the last run counts."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._machine = ExecutionMachine()
        self._begin(None)

    def _begin(self, run_id: str | None) -> None:
        self._run_id = run_id
        self._orders: dict[str, Order] = {}
        self._decided: dict[str, Decimal] = {}
        self._quotes: dict[str, _Quote] = {}
        self._modes: dict[str, None] = {}
        self._real, self._paper = _World(), _World()
        self._holdings = Holdings()

    def observe_all(self, entries: Iterable[Entry]) -> ParityResult:
        """Fold all entries and return the comparison."""
        for entry in entries:
            self.observe(entry)
        return self.result()

    def observe(self, entry: Entry) -> None:
        """Fold one entry."""
        event = entry.event
        if isinstance(event, Control) and event.action == "started" and event.producer == channels.WS:
            if event.run_id != self._run_id:
                self._begin(event.run_id)
        elif isinstance(event, Order):
            self._holdings.settle(event, self._machine.state)
            self._on_order(event)
        elif isinstance(event, MarketData):
            self._see(event)
        elif entry.producer == channels.EXECUTION:
            if isinstance(event, OrderResult):
                self._modes[event.mode] = None
            self._take(self._real, event)
        for output in self._on_paper(entry, event):
            self._take(self._paper, output)

    def _on_order(self, order: Order) -> None:
        if order.order_id not in self._orders:
            self._holdings.ordered(order)
        self._orders.setdefault(order.order_id, order)
        decided = order.reference_price or order.price
        if decided is not None:
            self._decided.setdefault(order.order_id, decided)

    def _see(self, event: MarketData) -> None:
        if event.bid is not None and event.ask is not None and ZERO < event.bid < event.ask:
            key = instrument_key(event.venue, event.symbol)
            self._quotes[key] = _Quote(mid_price(event.bid, event.ask), event.bid, event.ask)

    def _on_paper(self, entry: Entry, event: Event) -> list[Event]:
        if isinstance(event, Control) and event.action == "config" and event.service == channels.EXECUTION:
            return self._machine.handle(Entry.of(entry.id, entry.producer, entry.cause, _as_paper(event)))
        if entry.producer == channels.EXECUTION or (isinstance(event, Control) and event.action in _PASSED_OVER):
            return []
        return self._machine.handle(entry)

    def _take(self, world: _World, event: Event) -> None:
        if isinstance(event, OrderResult):
            self._take_result(world, event)
        elif isinstance(event, Control) and event.action == "funding":
            world.funding += event.details["amount"]
        elif isinstance(event, Control) and event.action == "liquidation":
            details = event.details
            key = instrument_key(details["venue"], details["symbol"])
            world.liquidations.append((key, details["quantity"], details["entry"], details["margin"]))
            if world is self._real:
                self._holdings.liquidated(key)

    def _take_result(self, world: _World, result: OrderResult) -> None:
        order = self._orders.get(result.order_id)
        if order is None:
            return
        execution = world.executions.setdefault(result.order_id, Execution())
        execution.status, execution.reason = result.status, result.reason or execution.reason
        execution.rejected = execution.rejected or result.status == "REJECTED"
        added = result.filled_quantity - world.seen.get(result.order_id, ZERO)
        if world is self._real:
            self._holdings.told(order, result, added)
        if added <= ZERO or result.last_price is None:
            return
        world.seen[result.order_id] = result.filled_quantity
        # A MARKET order of an old journal does not say what it was decided at: its first fill stands for that.
        decided = self._decided.setdefault(order.order_id, result.last_price)
        quote = self._quotes.get(instrument_key(order.venue, order.symbol))
        buys = order.side == "BUY"
        execution.fill(
            1 if buys else -1,
            added,
            result.last_price,
            decided=decided,
            mid=decided if quote is None else quote.mid,
            touch=decided if quote is None else quote.ask if buys else quote.bid,
        )
        self._charge(world, execution, result)

    def _charge(self, world: _World, execution: Execution, result: OrderResult) -> None:
        fee = result.fee or ZERO
        base, _, quote = perpetual_symbol(result.symbol).partition("_")
        if result.fee_currency in {None, quote}:
            execution.fees += Fraction(fee)
        elif result.fee_currency == base:
            execution.coin_fees += Fraction(fee)
        else:
            coin = str(result.fee_currency)
            world.other_fees[coin] = world.other_fees.get(coin, ZERO) + fee

    def result(self) -> ParityResult:
        """Return the comparison of what was folded."""
        real, paper = self._real, self._paper
        parts, compared = Parts(), []
        real_pnl = paper_pnl = Fraction()
        for order_id, order in self._orders.items():
            mine, papers = (world.executions.get(order_id, Execution()) for world in (real, paper))
            decided = self._decided.get(order_id, ZERO)
            final = self._final(instrument_key(order.venue, order.symbol), decided)
            direction = 1 if order.side == "BUY" else -1
            found = attribute(direction, decided, final, mine, papers)
            real_pnl += mine.profit(direction, final)
            paper_pnl += papers.profit(direction, final)
            parts.add(found)
            compared.append(Compared(order, mine, papers, final, found))
        parts.funding = Fraction(real.funding) - Fraction(paper.funding)
        lost = [self._lost(world) for world in (real, paper)]
        parts.liquidation = lost[0] - lost[1]
        return ParityResult(
            run_id=self._run_id,
            modes=tuple(self._modes),
            orders=compared,
            real_pnl=real_pnl + Fraction(real.funding) + lost[0],
            paper_pnl=paper_pnl + Fraction(paper.funding) + lost[1],
            parts=parts,
            other_fees=dict(real.other_fees),
        )

    def _final(self, key: str, otherwise: Decimal) -> Decimal:
        quote = self._quotes.get(key)
        return otherwise if quote is None else quote.mid

    def _lost(self, world: _World) -> Fraction:
        """Return what liquidations took beyond what the position's value at the end says."""
        return sum(
            (
                -Fraction(margin) - Fraction(quantity) * (Fraction(self._final(key, entry)) - Fraction(entry))
                for key, quantity, entry, margin in world.liquidations
            ),
            Fraction(),
        )


def _as_paper(event: Control) -> Control:
    fields = decode(event.data)
    fields["details"]["settings"]["TRADING_MODE"] = "paper"
    return Control.parse(fields)


def _shown(execution: Execution, final: Decimal) -> dict[str, Any]:
    average = as_decimal(execution.paid / execution.quantity) if execution.quantity else None
    return {
        "status": execution.status,
        "quantity": as_decimal(execution.quantity),
        "average_price": average,
        "fees": as_decimal(execution.costs(final)["fees"]),
        "reason": execution.reason,
    }
