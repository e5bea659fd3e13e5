"""A perpetual account in one-way mode: cash, one net position per contract, isolated margin.

With q signed contracts of size s, entry e, margin M and mu = maintenance rate + liquidation fee rate, a position is
liquidated at the mark (e - M/(q s)) / (1 - mu) for a long and (e + M/(|q| s)) / (1 + mu) for a short.
"""

from __future__ import annotations

from decimal import Decimal

from services.cdb_sandbox.core.facts import AssetChanged, PositionChanged, PositionState
from services.cdb_sandbox.core.listing import Listing
from services.cdb_sandbox.core.records import Records
from services.common.decimals import ONE, ZERO, divide
from services.common.errors import SandboxRefusal
from services.common.perpetuals import maintenance_fraction

__all__ = ["Margin", "Position"]


class Position:
    """One contract's net position; `quantity` is signed contracts, 0 while flat."""

    def __init__(self, listing: Listing, position_id: int, leverage: int, now_ms: int) -> None:
        self.listing = listing
        self.position_id = position_id
        self.leverage = leverage
        self.quantity = ZERO
        self.entry = ZERO
        self.margin = ZERO
        self.realised = ZERO
        self.funding = ZERO
        self.fee = ZERO
        self.closed = ZERO
        self.closed_notional = ZERO
        self.opened_ms = self.updated_ms = now_ms
        self.version = 0

    @property
    def base(self) -> Decimal:
        """Signed quantity in base units."""
        return self.quantity * self.listing.spec.contract_size

    @property
    def liquidation_price(self) -> Decimal:
        """The mark that takes it over; 0 while flat and for a long that never is."""
        if not self.quantity:
            return ZERO
        mu = maintenance_fraction(self.base, self.listing.spec)
        keeps = ONE - mu if self.quantity > ZERO else ONE + mu
        return max(ZERO, divide(self.entry * self.base - self.margin, self.base * keeps))

    def unrealised(self, mark: Decimal) -> Decimal:
        """Return what closing at the mark would bring."""
        return (mark - self.entry) * self.base

    def is_liquidated(self, mark: Decimal) -> bool:
        """Whether the mark has reached the liquidation price."""
        if not self.quantity:
            return False
        price = self.liquidation_price
        return mark <= price if self.quantity > ZERO else mark >= price

    def state(self, account: str) -> PositionState:
        """Return it as it stands now."""
        return PositionState(
            position_id=self.position_id,
            account=account,
            symbol=self.listing.spec.symbol,
            name=self.listing.name,
            quantity=self.quantity,
            entry=self.entry,
            margin=self.margin,
            leverage=self.leverage,
            liquidation_price=self.liquidation_price,
            realised=self.realised,
            funding=self.funding,
            fee=self.fee,
            closed=self.closed,
            close_average=divide(self.closed_notional, self.closed) if self.closed else ZERO,
            opened_ms=self.opened_ms,
            updated_ms=self.updated_ms,
            version=self.version,
        )


class Margin:
    """The perpetual account of one customer, settled in one currency.

    Attributes:
        hedged: in hedge mode, of which there is nothing here but that it is told and refuses every order.
    """

    def __init__(self, account: str, cash: Decimal, records: Records, currency: str = "USDT") -> None:
        self.account = account
        self.currency = currency
        self.available = cash
        self.frozen = ZERO
        self.positions: dict[str, Position] = {}
        self.closed: list[PositionState] = []
        self.funding_records: list[dict[str, object]] = []
        self.leverages: dict[str, int] = {}
        self.hedged = False
        self._records = records

    @property
    def position_margin(self) -> Decimal:
        """Margin of all positions."""
        return sum((position.margin for position in self.positions.values()), ZERO)

    def leverage_of(self, listing: Listing) -> int:
        """Return the leverage set for a contract; 20 is the exchange's own default."""
        return self.leverages.get(listing.key, 20)

    def position(self, listing: Listing) -> Position | None:
        """Return the open position of a contract."""
        return self.positions.get(listing.key)

    def freeze(self, amount: Decimal, now_ms: int) -> None:
        """Set cash aside for an opening order.

        Raises:
            SandboxRefusal: 2005, there is not so much.
        """
        if amount > self.available:
            raise SandboxRefusal(2005, "Balance insufficient", status=200)
        self.move(now_ms, available=-amount, frozen=amount)

    def move(self, now_ms: int, *, available: Decimal = ZERO, frozen: Decimal = ZERO) -> None:
        """Change the cash and tell it."""
        self.available += available
        self.frozen += frozen
        self._records.tell(
            AssetChanged(
                account=self.account,
                currency=self.currency,
                available=self.available,
                frozen=self.frozen,
                position_margin=self.position_margin,
                time_ms=now_ms,
            )
        )

    def open(self, listing: Listing, quantity: Decimal, price: Decimal, leverage: int, now_ms: int) -> Decimal:
        """Add signed contracts to a position, or begin one, and return the margin that it takes from the cash."""
        position = self.positions.get(listing.key)
        if position is None:
            position = Position(listing, self._records.next_number() + 1_394_650, leverage, now_ms)
            self.positions[listing.key] = position
        notional = listing.notional(price, abs(quantity))
        margin = divide(notional, Decimal(leverage))
        held = listing.notional(position.entry, abs(position.quantity))
        position.quantity += quantity
        position.entry = divide(held + notional, abs(position.base))
        position.margin += margin
        self._changed(position, now_ms)
        return margin

    def reduce(self, listing: Listing, quantity: Decimal, price: Decimal, now_ms: int) -> tuple[Decimal, Decimal]:
        """Close so many contracts (> 0) of a position; return the margin set free and the profit (before fees)."""
        position = self.positions[listing.key]
        share = (
            divide(position.margin * quantity, abs(position.quantity))
            if quantity < abs(position.quantity)
            else position.margin
        )
        sign = 1 if position.quantity > ZERO else -1
        profit = (price - position.entry) * quantity * listing.unit_value * sign
        position.quantity -= sign * quantity
        position.margin -= share
        position.realised += profit
        position.closed += quantity
        position.closed_notional += price * quantity
        self._changed(position, now_ms)
        return share, profit

    def change_margin(self, position: Position, amount: Decimal, mark: Decimal, now_ms: int) -> None:
        """Move cash into a position's margin (negative: out of it).

        Raises:
            SandboxRefusal: 2005, there is not so much cash; 2018, the position needs what is to be taken.
        """
        if amount > self.available:
            raise SandboxRefusal(2005, "Balance insufficient", status=200)
        needed = divide(abs(position.base) * position.entry, Decimal(position.leverage))
        if amount < ZERO and position.margin + min(ZERO, position.unrealised(mark)) + amount < needed:
            raise SandboxRefusal(2018, "The position's margin cannot be reduced so far", status=200)
        position.margin += amount
        self._changed(position, now_ms)
        self.move(now_ms, available=-amount)

    def note_fee(self, listing: Listing, fee: Decimal) -> None:
        """Count a fee in the position's result."""
        position = self.positions.get(listing.key)
        if position is not None:
            position.fee += fee
            position.realised -= fee

    def pay_funding(self, listing: Listing, amount: Decimal, rate: Decimal, now_ms: int) -> None:
        """Book a funding settlement (negative: paid)."""
        position = self.positions[listing.key]
        position.funding += amount
        self.funding_records.append(
            {
                "id": self._records.next_number(),
                "symbol": listing.name,
                "positionType": 1 if position.quantity > ZERO else 2,
                "positionValue": abs(position.base) * position.entry,
                "funding": amount,
                "rate": rate,
                "settleTime": now_ms,
            }
        )
        self._changed(position, now_ms)
        self.move(now_ms, available=amount)

    def _changed(self, position: Position, now_ms: int) -> None:
        position.updated_ms = now_ms
        position.version += 1
        state = position.state(self.account)
        if not position.quantity:
            del self.positions[position.listing.key]
            self.closed.append(state)
        self._records.tell(PositionChanged(position=state))
