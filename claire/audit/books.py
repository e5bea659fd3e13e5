"""The books counted a second time, from the fills alone and with other arithmetic than the ledger's.

Positions are sums of fills, and nothing after a liquidation; cash is what the run began with, less what was bought,
plus what was sold, less fees. Both are compared with what risk believed at each decision.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from claire.audit.difference import Difference
from services.common import channels
from services.common.events import Control, Event, OrderResult, RiskDecision
from services.common.instruments import instrument_key
from services.common.journal.entry import Cause, Entry

__all__ = ["Books"]

PRECISION: Final = Fraction(1, 10**9)
"""Numbers in decisions are rounded to 12 decimals, and a ledger's products to 28 digits."""

REMEMBERED: Final = 10_000
"""Fills of which the state before is kept: a decision is recorded somewhat after the entry that it looked at."""

SPOT: Final = "mexc_spot"


@dataclass
class _State:
    """What is held: cash in quote currency (None: not comparable), base units by instrument."""

    cash: Fraction | None
    held: dict[str, Fraction] = field(default_factory=dict)


class Books:
    """Cash and positions of the run going on, as they were after each of the last fills.

    Attributes:
        fills: how many were booked.
        compared: how many decisions were compared.
        not_compared: why cash was not, when it was not.
    """

    def __init__(self) -> None:
        """Begin before the first entry."""
        self.fills = 0
        self.compared = 0
        self.not_compared: str | None = None
        self._equity: Fraction | None = None
        self._run_id: str | None = None
        self._filled: dict[str, Fraction] = {}
        self._changed_at: list[int] = [0]
        self._states: list[_State] = [_State(None)]

    @property
    def cash(self) -> Fraction | None:
        """Quote currency; None before risk said what the account holds."""
        return self._states[-1].cash

    @property
    def held(self) -> dict[str, Fraction]:
        """Base units by instrument, those that are not 0."""
        return {key: quantity for key, quantity in self._states[-1].held.items() if quantity}

    def check(self, entry: Entry, cause: Cause | None) -> Difference | None:
        """Book what an entry says, or compare what it believes."""
        event: Event = entry.event
        if isinstance(event, Control):
            self._on_control(entry, event)
        elif isinstance(event, OrderResult) and event.producer == channels.EXECUTION:
            self._on_result(entry, event)
        elif isinstance(event, RiskDecision) and cause is not None and not cause.source:
            return self._compare(entry, event, cause)
        return None

    def _change(self, entry: Entry, state: _State) -> None:
        self._changed_at.append(entry.id.n)
        self._states.append(state)
        if len(self._states) > REMEMBERED:
            del self._states[: REMEMBERED // 2], self._changed_at[: REMEMBERED // 2]

    def _on_control(self, entry: Entry, event: Control) -> None:
        if event.action == "config" and event.producer == event.service == channels.RISK:
            equity = event.details["settings"].get("ACCOUNT_EQUITY")
            self._equity = None if equity is None else Fraction(equity)
            if self._states[-1].cash is None and self._run_id is not None and not self._filled:
                self._change(entry, _State(self._equity))
        elif event.action == "started" and event.producer == channels.WS and event.run_id != self._run_id:
            self._run_id = event.run_id
            self._filled.clear()
            self._change(entry, _State(self._equity))
        elif event.action == "liquidation" and event.producer == channels.EXECUTION:
            before = self._states[-1]
            key = instrument_key(str(event.details.get("venue")), str(event.details.get("symbol")))
            self._change(entry, _State(before.cash, {**before.held, key: Fraction(0)}))

    def _on_result(self, entry: Entry, result: OrderResult) -> None:
        quantity = Fraction(result.filled_quantity) - self._filled.get(result.order_id, Fraction(0))
        if quantity <= 0 or result.last_price is None:
            return
        self.fills += 1
        self._filled[result.order_id] = Fraction(result.filled_quantity)
        before = self._states[-1]
        key = instrument_key(result.venue, result.symbol)
        price, fee = Fraction(result.last_price), Fraction(result.fee or 0)
        sign = 1 if result.side == "BUY" else -1
        in_base = result.fee_currency is not None and result.symbol.startswith(result.fee_currency)
        moved = sign * quantity - (fee if in_base else 0)
        paid = sign * quantity * price + (0 if in_base else fee)
        if result.venue != SPOT:
            self.not_compared = f"{result.venue}: margin and funding are counted by the ledger alone"
        cash = None if before.cash is None or result.venue != SPOT else before.cash - paid
        self._change(entry, _State(cash, {**before.held, key: before.held.get(key, Fraction(0)) + moved}))

    def _compare(self, entry: Entry, decision: RiskDecision, cause: Cause) -> Difference | None:
        """A decision sees all up to and including its cause."""
        place = bisect_right(self._changed_at, cause.number) - 1
        if place < 0:
            return None
        state = self._states[place]
        key = instrument_key(decision.venue, decision.symbol)
        self.compared += 1
        held = state.held.get(key, Fraction(0))
        return _differs(
            entry, "portfolio.position", decision.portfolio.position, held, "positions are the sums of their fills"
        ) or _differs(
            entry, "portfolio.cash", decision.portfolio.cash, state.cash, "cash is what there was, less what was paid"
        )

    def differences_from(self, cash: Decimal, positions: dict[str, Decimal]) -> list[tuple[str, Any, Any]]:
        """Return where another ledger's end differs from this one: what, its value, ours."""
        found: list[tuple[str, Any, Any]] = []
        if self.cash is not None and abs(Fraction(cash) - self.cash) > PRECISION:
            found.append(("cash", cash, _decimal(self.cash)))
        for key in sorted({*positions, *self.held}):
            theirs, ours = positions.get(key, Decimal(0)), self.held.get(key, Fraction(0))
            if abs(Fraction(theirs) - ours) > PRECISION:
                found.append((key, theirs, _decimal(ours)))
        return found


def _differs(
    entry: Entry, name: str, believed: Decimal | None, counted: Fraction | None, meaning: str
) -> Difference | None:
    if believed is None or counted is None or abs(Fraction(believed) - counted) <= PRECISION:
        return None
    return Difference.at("books", entry, name, believed, _decimal(counted), meaning=meaning)


def _decimal(value: Fraction) -> Decimal:
    return round(Decimal(value.numerator) / Decimal(value.denominator), 12).normalize()
