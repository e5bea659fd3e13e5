"""Round trips: what a position won or lost from flat to flat, and how far it went on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from services.common.decimals import ZERO, divide
from services.common.instruments import DEFAULT_INSTRUMENTS, InstrumentSpec, instrument_key
from services.common.timestamps import MINUTE_US

__all__ = ["Fill", "RoundTrip", "RoundTrips"]

_SPECS = {instrument_key(spec.venue, spec.symbol): spec for spec in DEFAULT_INSTRUMENTS}


@dataclass(frozen=True)
class Fill:
    """One execution; money in quote currency.

    Attributes:
        quantity: base units, above 0.
        mid: at the decision, the base of slippage; the fill's own price where the order names none.
        fee: a fee in base coin is valued at the fill's price.
        base_fee: base units of such a fee, taken from what was bought.
        slippage: paid (negative: gained) against the mid.
        round_trip: number of the round trip that it belongs to, from 1.
    """

    timestamp: int
    venue: str
    symbol: str
    side: str
    purpose: str
    quantity: Decimal
    price: Decimal
    mid: Decimal
    fee: Decimal
    base_fee: Decimal
    slippage: Decimal
    liquidity: str | None
    order_id: str
    signal_id: str | None
    trade_id: str | None
    round_trip: int = 0

    @property
    def key(self) -> str:
        """Key of the instrument."""
        return instrument_key(self.venue, self.symbol)

    @property
    def signed(self) -> Decimal:
        """Base units, negative when sold."""
        return self.quantity if self.side == "BUY" else -self.quantity


@dataclass(frozen=True)
class RoundTrip:
    """A position from its first fill until it was flat again (or dust); money in quote currency.

    Attributes:
        number: from 1, in the order of opening.
        direction: long or short.
        quantity: base units of all entry fills.
        entry_price, exit_price: averages over their fills.
        gross: price result with slippage, before fees and funding.
        net: gross - fees + funding.
        adverse, favourable: worst and best open result before fees, of all marks and fills on the way.
        exit_purpose: purpose of the order that closed it.
    """

    number: int
    venue: str
    symbol: str
    direction: str
    opened_at: int
    closed_at: int
    quantity: Decimal
    entry_price: Decimal
    exit_price: Decimal
    gross: Decimal
    fees: Decimal
    funding: Decimal
    slippage: Decimal
    adverse: Decimal
    favourable: Decimal
    exit_purpose: str
    signal_id: str | None

    @property
    def net(self) -> Decimal:
        """What it won or lost, all costs included."""
        return self.gross - self.fees + self.funding

    @property
    def notional(self) -> Decimal:
        """Value of the entry fills."""
        return self.quantity * self.entry_price

    @property
    def net_pct(self) -> Decimal:
        """Net over the entry's value, a fraction."""
        return divide(self.net, self.notional)

    @property
    def minutes(self) -> Decimal:
        """How long it was held."""
        return divide(Decimal(self.closed_at - self.opened_at), Decimal(MINUTE_US), 6)


@dataclass
class _Open:
    number: int
    venue: str
    symbol: str
    direction: int
    opened_at: int
    signal_id: str | None
    carried: Decimal  # value of dust that was there before
    cash: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO
    slippage: Decimal = ZERO
    entered: Decimal = ZERO
    entered_value: Decimal = ZERO
    left: Decimal = ZERO
    left_value: Decimal = ZERO
    adverse: Decimal = ZERO
    favourable: Decimal = ZERO

    def look(self, result: Decimal) -> None:
        self.adverse = min(self.adverse, result)
        self.favourable = max(self.favourable, result)


class RoundTrips:
    """Folds fills, marks and funding into round trips.

    Attributes:
        closed: finished round trips, in the order of closing.
    """

    def __init__(self) -> None:
        self.closed: list[RoundTrip] = []
        self._open: dict[str, _Open] = {}
        self._held: dict[str, Decimal] = {}
        self._count = 0
        self._specs = _SPECS

    def know(self, instruments: Mapping[str, InstrumentSpec]) -> None:
        """Take over grids as the exchange gave them: they say what is dust."""
        self._specs = {**self._specs, **instruments}

    @property
    def open_count(self) -> int:
        """How many positions are open, dust not counted."""
        return len(self._open)

    def book(self, fill: Fill) -> int:
        """Book a fill and return the number of its round trip."""
        key, price = fill.key, fill.price
        before = self._held.get(key, ZERO)
        trip = self._open.get(key)
        if trip is None:
            self._count += 1
            direction = 1 if fill.signed > 0 else -1
            trip = self._open[key] = _Open(
                self._count, fill.venue, fill.symbol, direction, fill.timestamp, fill.signal_id, before * price
            )
        trip.cash -= (fill.signed - fill.base_fee) * price
        trip.fees += fill.fee
        trip.slippage += fill.slippage
        if fill.signed * trip.direction > 0:
            trip.entered += fill.quantity
            trip.entered_value += fill.quantity * price
        else:
            trip.left += fill.quantity
            trip.left_value += fill.quantity * price
        held = self._held[key] = before + fill.signed - fill.base_fee
        result = trip.cash + held * price - trip.carried
        trip.look(result)
        if trip.left and _is_flat(self._specs.get(key), held, price):
            self._close(key, fill.timestamp, fill.purpose, result)
        return trip.number

    def mark(self, key: str, price: Decimal) -> None:
        """Look at the open result of an instrument at a mark."""
        trip = self._open.get(key)
        if trip is not None:
            trip.look(trip.cash + self._held[key] * price - trip.carried)

    def move(self, key: str, change: Decimal, price: Decimal, timestamp: int) -> None:
        """Book what came or went without a trade, at a price at which it changes no result.

        A round trip of which nothing is left ends there.
        """
        trip, held = self._open.get(key), self._held.get(key, ZERO) + change
        self._held[key] = held
        if trip is None or not change:
            return
        trip.cash -= change * price
        if _is_flat(self._specs.get(key), held, price):
            trip.left += abs(change)
            trip.left_value += abs(change) * price
            self._close(key, timestamp, "adjustment", trip.cash + held * price - trip.carried)

    def fund(self, key: str, amount: Decimal) -> None:
        """Book funding received (negative: paid) by the position that is open."""
        trip = self._open.get(key)
        if trip is not None:
            trip.funding += amount

    def liquidate(self, key: str, timestamp: int, proceeds: Decimal) -> None:
        """Close what the exchange has liquidated.

        Args:
            key: of the instrument.
            timestamp: microseconds.
            proceeds: cash that the position's cost less its lost margin stands for; negative for a short.
        """
        trip = self._open.get(key)
        if trip is None:
            return
        trip.left += abs(self._held[key])
        trip.left_value += abs(proceeds)
        self._held[key] = ZERO
        result = trip.cash + proceeds - trip.carried
        trip.look(result)
        self._close(key, timestamp, "liquidation", result)

    def _close(self, key: str, timestamp: int, purpose: str, gross: Decimal) -> None:
        trip = self._open.pop(key)
        self.closed.append(
            RoundTrip(
                number=trip.number,
                venue=trip.venue,
                symbol=trip.symbol,
                direction="long" if trip.direction > 0 else "short",
                opened_at=trip.opened_at,
                closed_at=timestamp,
                quantity=trip.entered,
                entry_price=divide(trip.entered_value, trip.entered),
                exit_price=divide(trip.left_value, trip.left),
                gross=gross,
                fees=trip.fees,
                funding=trip.funding,
                slippage=trip.slippage,
                adverse=trip.adverse,
                favourable=trip.favourable,
                exit_purpose=purpose,
                signal_id=trip.signal_id,
            )
        )


def _is_flat(spec: InstrumentSpec | None, held: Decimal, price: Decimal) -> bool:
    """Whether nothing is left that the exchange would take: what remains is dust, valued and carried on."""
    if not held or spec is None:
        return not held
    return abs(held) < spec.min_quantity or abs(held) * price < spec.min_notional
