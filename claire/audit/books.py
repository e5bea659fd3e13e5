"""The books counted a second time, from the fills alone and with other arithmetic than the ledger's.

Positions are sums of fills. On spot, cash is what the run began with, less what was bought, plus what was sold, less
fees; a perpetual locks its margin instead, gives it back with what was won or lost, and pays or receives funding. Both
are compared with what risk believed at each decision. Fractions are exact; the ledger counts in 28 digits.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from claire.audit.difference import Difference
from services.common import channels
from services.common.account_facts import opening_capital, read_adjustment
from services.common.currencies import fee_kind
from services.common.events import Control, Event, Order, OrderResult, RiskDecision
from services.common.instruments import PERPETUAL, instrument_key
from services.common.journal.entry import Cause, Entry

__all__ = ["Books"]

PRECISION: Final = Fraction(1, 10**9)
"""Numbers in decisions are rounded to 12 decimals, and a ledger's products to 28 digits."""

REMEMBERED: Final = 10_000
"""Fills of which the state before is kept: a decision is recorded somewhat after the entry that it looked at."""


NOTHING: Final = Fraction(0)


@dataclass(frozen=True)
class _Contract:
    """What a perpetual position has cost, and the margin locked for it; quote currency."""

    cost: Fraction = NOTHING
    margin: Fraction = NOTHING


@dataclass(frozen=True)
class _State:
    """Cash in quote currency (None: not known yet), and base units by instrument, signed."""

    cash: Fraction | None
    held: Mapping[str, Fraction] = field(default_factory=dict)
    contracts: Mapping[str, _Contract] = field(default_factory=dict)

    def paid(self, amount: Fraction) -> Fraction | None:
        return None if self.cash is None else self.cash - amount


class Books:
    """Cash and positions of the run going on, as they were after each of the last fills.

    Attributes:
        fills: how many were booked.
        compared: how many decisions were compared.
        facts: how many funding payments and liquidations were booked.
    """

    def __init__(self) -> None:
        """Begin before the first entry."""
        self.fills = 0
        self.compared = 0
        self.facts = 0
        self._equity: Fraction | None = None
        self._run_id: str | None = None
        self._filled: dict[str, Fraction] = {}
        self._leverage: dict[str, int] = {}
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
        elif isinstance(event, Order):
            self._leverage[event.order_id] = event.leverage
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
            self._equity = _configured(event.details["settings"])
            if self._states[-1].cash is None and self._run_id is not None and not self._filled:
                self._change(entry, _State(self._equity))
        elif event.action == "started" and event.producer == channels.WS and event.run_id != self._run_id:
            self._run_id = event.run_id
            self._filled.clear()
            self._leverage.clear()
            self._change(entry, _State(self._equity))
        elif event.producer == channels.EXECUTION and event.action in {"funding", "liquidation"}:
            self._on_fact(entry, event)
        elif event.producer == channels.EXECUTION and event.action == "adjustment":
            self._on_adjustment(entry, event)
        elif event.producer == channels.EXECUTION and (capital := opening_capital(event)) is not None:
            self._change(entry, _State(Fraction(capital)))

    def _on_fact(self, entry: Entry, event: Control) -> None:
        before, details = self._states[-1], event.details
        key = instrument_key(str(details["venue"]), str(details["symbol"]))
        self.facts += 1
        if event.action == "funding":
            self._change(entry, replace(before, cash=before.paid(-Fraction(details["amount"]))))
            return
        held, contracts = {**before.held, key: NOTHING}, {**before.contracts, key: _Contract()}
        self._change(entry, replace(before, held=held, contracts=contracts))

    def _on_adjustment(self, entry: Entry, event: Control) -> None:
        said, before = read_adjustment(event), self._states[-1]
        held, contracts, cash = dict(before.held), dict(before.contracts), before.paid(-Fraction(said.cash))
        for moved in said.positions:
            key, change = instrument_key(said.venue, moved.symbol), Fraction(moved.change)
            was = held.get(key, NOTHING)
            if said.venue == PERPETUAL:
                against = min(abs(change), abs(was)) if was * change < 0 else NOTHING
                sign = 1 if change > 0 else -1
                for part in (against, abs(change) - against):
                    if part:
                        contract = contracts.get(key, _Contract())
                        now = held.get(key, NOTHING)
                        contracts[key], paid = _traded(
                            contract, now, sign * part, Fraction(moved.price), moved.leverage
                        )
                        held[key] = now + sign * part
                        cash = None if cash is None else cash - paid
            else:
                held[key] = was + change
        self._change(entry, _State(cash, held, contracts))

    def _on_result(self, entry: Entry, result: OrderResult) -> None:
        quantity = Fraction(result.filled_quantity) - self._filled.get(result.order_id, NOTHING)
        if quantity <= 0 or result.last_price is None:
            return
        self.fills += 1
        self._filled[result.order_id] = Fraction(result.filled_quantity)
        before = self._states[-1]
        key = instrument_key(result.venue, result.symbol)
        price, fee = Fraction(result.last_price), Fraction(result.fee or 0)
        signed = quantity if result.side == "BUY" else -quantity
        held, contracts = before.held.get(key, NOTHING), before.contracts
        kind = fee_kind(result.symbol, result.fee_currency)
        in_base, in_quote = kind == "base", kind == "quote"
        if result.venue == PERPETUAL:
            leverage = self._leverage.get(result.order_id, 1)
            contract, paid = _traded(contracts.get(key, _Contract()), held, signed, price, leverage)
            contracts = {**contracts, key: contract}
        else:
            paid = signed * price
        moved = signed - (fee if in_base else NOTHING)
        cash = before.paid(paid + (fee if in_quote else NOTHING))
        self._change(entry, _State(cash, {**before.held, key: held + moved}, contracts))

    def _compare(self, entry: Entry, decision: RiskDecision, cause: Cause) -> Difference | None:
        """A decision sees all up to and including its cause."""
        place = bisect_right(self._changed_at, cause.number) - 1
        if place < 0:
            return None
        state = self._states[place]
        key = instrument_key(decision.venue, decision.symbol)
        self.compared += 1
        held = state.held.get(key, NOTHING)
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
            theirs, ours = positions.get(key, Decimal(0)), self.held.get(key, NOTHING)
            if abs(Fraction(theirs) - ours) > PRECISION:
                found.append((key, theirs, _decimal(ours)))
        return found


def _configured(settings: Mapping[str, Any]) -> Fraction | None:
    """Return the cash that a run begins with by risk's settings; None on live, where the exchange says it."""
    equity, mode = settings.get("ACCOUNT_EQUITY"), settings.get("TRADING_MODE", "paper")
    if equity is None or mode == "live":
        return None
    return Fraction(equity if mode == "paper" else min(equity, settings["LIVE_CAPITAL_USDT"]))


def _traded(
    contract: _Contract, held: Fraction, signed: Fraction, price: Fraction, leverage: int
) -> tuple[_Contract, Fraction]:
    """Return a perpetual after a fill, and what was paid: margin locked, or margin and profit given back."""
    if held * signed >= 0:
        margin = abs(signed) * price / leverage
        return _Contract(contract.cost + signed * price, contract.margin + margin), margin
    share = abs(signed / held)
    left = _Contract(contract.cost * (1 - share), contract.margin * (1 - share))
    won = -signed * price - contract.cost * share
    return left, -(contract.margin * share + won)


def _differs(
    entry: Entry, name: str, believed: Decimal | None, counted: Fraction | None, meaning: str
) -> Difference | None:
    if believed is None or counted is None or abs(Fraction(believed) - counted) <= PRECISION:
        return None
    return Difference.at("books", entry, name, believed, _decimal(counted), meaning=meaning)


def _decimal(value: Fraction) -> Decimal:
    return round(Decimal(value.numerator) / Decimal(value.denominator), 12).normalize()
