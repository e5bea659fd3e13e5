"""What a decision looks at: settings, state and time, and the portfolio at worst as they give it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from services.cdb_risk.finding import wire
from services.cdb_risk.market import InstrumentMarket, Quote
from services.cdb_risk.protective import closing_side, is_dust, sellable
from services.cdb_risk.settings import RiskSettings
from services.cdb_risk.state import RiskState
from services.common.decimals import ZERO, divide
from services.common.events import LayerVerdict, PortfolioView, Side, Sizing
from services.common.instruments import PERPETUAL
from services.common.portfolio import Position

__all__ = ["Outcome", "Situation"]


@dataclass(frozen=True)
class Outcome:
    """A decision before it becomes an event.

    Attributes:
        side: of the order.
        quantity: base units to order; 0 when refused.
        price: protection price; None for MARKET.
        reference_price: mid at the decision; None when unknown.
        time_in_force: IOC takes, GTC rests.
    """

    approved: bool
    reason: str
    side: Side
    layers: tuple[LayerVerdict, ...]
    sizing: Sizing
    quantity: Decimal
    price: Decimal | None
    reference_price: Decimal | None
    time_in_force: Literal["IOC", "GTC"] = "IOC"


@dataclass(slots=True)
class Situation:
    """Everything that a decision may look at. Not `frozen`: that would triple what it costs."""

    settings: RiskSettings
    state: RiskState
    now: int

    def market(self, key: str) -> InstrumentMarket | None:
        """Return what is known of an instrument's market."""
        return self.state.market.get(key)

    def quote(self, key: str) -> Quote | None:
        """Return the last valid quote of an instrument."""
        market = self.state.market.get(key)
        return None if market is None else market.quote

    def limit_reference(self, key: str) -> Decimal | None:
        """Return what the exchange measures limit prices from: the mark of a perpetual, else the last price."""
        if key.startswith(PERPETUAL):
            mark = self.state.account.portfolio.marks.get(key)
            return None if mark is None else mark.price
        market = self.state.market.get(key)
        return None if market is None else market.last_price

    def held(self, key: str) -> Decimal:
        """Return the base units held of an instrument, signed."""
        position = self.state.account.portfolio.positions.get(key)
        return ZERO if position is None else position.quantity

    def is_dust(self, key: str, quantity: Decimal | None = None) -> bool:
        """Whether a holding (by default what is held) is too small for the exchange; without a price, in lots alone."""
        spec = self.settings.spec(key)
        held = abs(self.held(key)) if quantity is None else quantity
        if spec is None:
            return False
        quote = self.quote(key)
        if quote is None:
            return sellable(held, spec) < spec.min_quantity
        return is_dust(held, quote.bid, spec)

    def closing_side(self, key: str) -> Side | None:
        """Return the side that closes what is held or being entered; None when there is neither."""
        held = closing_side(self.held(key))
        entering = self.state.reservations.entry_side(key)
        return held if held is not None or entering is None else "SELL" if entering == "BUY" else "BUY"

    def open_positions(self) -> dict[str, Position]:
        """Return the positions that are more than dust."""
        positions = self.state.account.portfolio.positions
        return {key: p for key, p in positions.items() if p.quantity and not self.is_dust(key)}

    def occupied(self) -> list[str]:
        """Return the instruments that are held (more than dust) or being entered."""
        return list(dict.fromkeys([*self.open_positions(), *self.state.reservations.entered_keys()]))

    def notional(self, key: str) -> Decimal | None:
        """Return (|position| + pending entries) at mark, in quote currency; None when there is something unmarked."""
        quantity = abs(self.held(key)) + self.state.reservations.pending_increasing(key)
        if not quantity:
            return ZERO
        mark = self.state.account.portfolio.marks.get(key)
        return None if mark is None else quantity * mark.price

    def exposure(self) -> Decimal | None:
        """Return the worst-case notional of all instruments together; None when one cannot be valued."""
        total = ZERO
        keys = [*self.state.account.portfolio.positions, *(o.key for o in self.state.reservations.orders.values())]
        for key in dict.fromkeys(keys):
            notional = self.notional(key)
            if notional is None:
                return None
            total += notional
        return total

    def capital(self) -> Decimal | None:
        """Return the equity that sizes and caps are taken of: in shadow and live mode at most LIVE_CAPITAL_USDT."""
        equity = self.state.account.equity
        return None if equity is None else self.settings.capital(equity)

    def free_cash(self) -> Decimal | None:
        """Return the cash that pending entries cannot still spend or lock as margin; None when one is unmarked."""
        portfolio = self.state.account.portfolio
        free = portfolio.cash
        for order in self.state.reservations.orders.values():
            if order.purpose == "entry":
                mark = portfolio.marks.get(order.key)
                if mark is None:
                    return None
                free -= divide(order.remaining * mark.price, Decimal(order.leverage))
        return free

    def stale_marks(self) -> list[str]:
        """Return the held instruments (more than dust) without a fresh mark."""
        account = self.state.account
        positions = account.portfolio.positions
        dust = frozenset(key for key, p in positions.items() if p.quantity and self.is_dust(key))
        return account.stale_marks(self.now, dust)

    def view(self, key: str) -> PortfolioView:
        """Return the portfolio as a decision on this instrument sees it."""
        account = self.state.account
        return PortfolioView.make(
            equity=wire(account.equity),
            cash=wire(account.portfolio.cash),
            exposure=wire(self.exposure()),
            daily_pnl=wire(account.daily_pnl),
            drawdown=wire(account.drawdown),
            position=wire(self.held(key)),
            position_notional=wire(self.notional(key)),
            trading_state=self.state.trading.mode,
        )
