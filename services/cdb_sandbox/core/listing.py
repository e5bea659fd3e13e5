"""What is traded: the grids of an instrument, its fees and the filters that exchangeInfo publishes."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from services.common.decimals import ZERO
from services.common.instruments import DEFAULT_INSTRUMENTS, PERPETUAL, InstrumentSpec, instrument_key
from services.common.mexc.symbols import exchange_symbol

__all__ = ["DEFAULT_LISTINGS", "FeeAsset", "Listing", "decimals_of"]

FeeAsset = Literal["received", "quote", "MX"]
"""What a spot fee is taken in: what the fill brought (base on a buy), always quote, or MX (deduction switched on)."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """One instrument as this exchange lists it.

    Attributes:
        maker_fee: share of the notional; on perpetuals the API schedule, not what contract/detail shows.
        fee_asset: of spot fees; perpetuals pay in the settlement coin.
        status: spot `1` online, `2` paused, `3` offline.
        side_type: spot 1 all, 2 buy only, 3 sell only, 4 closed.
        api_allowed: whether orders by API are taken.
        price_band: a buy may lie no further above the last price, a sell no further below (a fraction); None: none.
        max_open_orders: of one account.
    """

    spec: InstrumentSpec
    maker_fee: Decimal
    taker_fee: Decimal
    fee_asset: FeeAsset = "received"
    status: Literal["1", "2", "3"] = "1"
    side_type: Literal[1, 2, 3, 4] = 1
    api_allowed: bool = True
    price_band: Decimal | None = None
    max_open_orders: int = 500
    key: str = field(init=False)
    name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", instrument_key(self.spec.venue, self.spec.symbol))
        object.__setattr__(self, "name", exchange_symbol(self.spec.venue, self.spec.symbol))

    @property
    def is_perpetual(self) -> bool:
        """Whether quantities are contracts and positions have margin."""
        return self.spec.venue == PERPETUAL

    @property
    def tick(self) -> Decimal:
        """Smallest price step."""
        return self.spec.tick_size

    @property
    def lot(self) -> Decimal:
        """Smallest step of an order's quantity in the exchange's own unit: base on spot, contracts on perpetuals."""
        return Decimal(1) if self.is_perpetual else self.spec.lot_size

    @property
    def unit_value(self) -> Decimal:
        """Base units of one unit of quantity: 1 on spot, the contract size on perpetuals."""
        return self.spec.contract_size if self.is_perpetual else Decimal(1)

    def notional(self, price: Decimal, quantity: Decimal) -> Decimal:
        """Return the quote value of a quantity in the exchange's own unit."""
        return price * quantity * self.unit_value


def decimals_of(step: Decimal) -> int:
    """Return the decimals of a grid: 2 for 0.01, 0 for 1."""
    exponent = step.normalize().as_tuple().exponent
    return max(0, -int(exponent))


def _listing(spec: InstrumentSpec) -> Listing:
    if spec.venue == PERPETUAL:
        return Listing(spec=spec, maker_fee=Decimal("0.0006"), taker_fee=Decimal("0.0008"), max_open_orders=200)
    return Listing(spec=spec, maker_fee=ZERO, taker_fee=Decimal("0.0005"))


DEFAULT_LISTINGS = tuple(_listing(spec) for spec in DEFAULT_INSTRUMENTS)
"""The six instruments that Claire knows, at the fees of 2026-06."""
