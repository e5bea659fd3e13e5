"""Live trading of a perpetual in one process: the exchange's own wallet, position and settlements beside our books."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from services.cdb_execution.exchange import Balance, FundingPayment, OrderRequest, PositionReport, Trade
from services.common.events import Order
from tests.unit.execution.live_world import ModelExchange, World

__all__ = ["PERP", "PerpetualExchange", "PerpetualWorld"]

PERP = "mexc_perpetual:BTCUSDT"
FEE = Decimal("0.0008")


class PerpetualExchange(ModelExchange):
    """One contract, isolated margin; what it counts it counts by itself."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.wallet = Decimal(10_000)
        self.held, self.entry, self.margin, self.leverage = Decimal(0), Decimal(0), Decimal(0), 1
        self.isolated, self.hedged = True, False
        self.mark = Decimal(40_000)
        self.paid: list[FundingPayment] = []
        self.hidden = Decimal(0)

    def arrive(self, request: OrderRequest) -> None:
        """Fill an order whole at its price."""
        number, price = f"9{len(self.orders) + 1}", request.price or self.mark
        self._report(request, number, "NEW", Decimal(0))
        signed = request.quantity if request.side == "BUY" else -request.quantity
        self.trade(signed, price, request.leverage)
        fee = request.quantity * price * FEE
        self.wallet -= fee
        made = Trade(
            venue="mexc_perpetual", symbol="BTCUSDT", side=request.side, trade_id=f"X{len(self.booked) + 1}",
            exchange_order_id=number, client_order_id=None, quantity=request.quantity, price=price, fee=fee,
            fee_currency="USDT", liquidity="taker", time=self.now,
        )  # fmt: skip
        self.booked.append(made)
        self._report(request, number, "FILLED", request.quantity)

    def trade(self, signed: Decimal, price: Decimal, leverage: int = 1) -> None:
        """Change the position: what opens takes margin, what closes brings its profit."""
        if self.held * signed < 0:
            self.wallet += (self.entry - price) * signed
            self.margin -= self.margin * abs(signed) / abs(self.held)
            self.held += signed
        else:
            self.entry = (self.entry * self.held + price * signed) / (self.held + signed)
            self.held += signed
            self.margin += abs(signed) * price / leverage
            self.leverage = leverage

    def settle(self, rate: str, number: str, *, amount: Decimal | None = None) -> None:
        """Pay or take funding."""
        owed = -self.held * self.mark * Decimal(rate) if amount is None else amount
        self.wallet += owed
        self.paid.append(
            FundingPayment(symbol="BTCUSDT", payment_id=number, amount=owed, rate=Decimal(rate), time=self.now)
        )

    def funding(self, symbol: str, since: int) -> list[FundingPayment]:
        """Return the settlements since a time."""
        self._answerable()
        return [payment for payment in self.paid if payment.time >= since]

    def hedge_mode(self) -> bool:
        """Return what a test has set."""
        return self.hedged

    def balances(self) -> list[Balance]:
        """Return the wallet."""
        equity = self.wallet + self.held * (self.mark - self.entry)
        free = self.wallet - self.margin - self.hidden
        locked = self.margin + self.hidden
        return [Balance(venue="mexc_perpetual", currency="USDT", free=free, locked=locked, equity=equity)]

    def positions(self) -> list[PositionReport]:
        """Return the position."""
        if not self.held:
            return []
        return [
            PositionReport(
                symbol="BTCUSDT",
                quantity=self.held,
                entry_price=self.entry,
                margin=self.margin,
                leverage=self.leverage,
                liquidation_price=None,
                isolated=self.isolated,
            )
        ]


class PerpetualWorld(World):
    """A world whose venue are perpetuals."""

    exchange: PerpetualExchange

    def __init__(self, seed: int = 1, *, at: Any = None, hedged: bool = False, **changed: Any) -> None:
        super().__init__(seed, **{"VENUE": "mexc_perpetual"} | changed)
        self.exchange = PerpetualExchange(self.random)
        self.exchange.hedged = hedged
        self.desk.exchange = self.exchange if at is None else at
        self.settle(2)
        self.quote()
        self.settle()

    def quote(self, mark: str = "40000") -> None:
        """Journal a quote with a mark price around it."""
        self.exchange.mark = Decimal(mark)
        bid, ask = Decimal(mark) - 1, Decimal(mark) + 1
        told: dict[str, Any] = {"venue": "mexc_perpetual", "mark_price": Decimal(mark), "size": "100"}
        self.factory.quote(self.at_ms, str(bid), str(ask), volume="1000", **told)
        self.append(self.factory.entries[-1].event, f"feed:{len(self.entries) + 1}")

    def order(self, side: str = "BUY", quantity: str = "0.2", purpose: str = "entry", **order: Any) -> Order:
        """Journal a decision and its order."""
        status = "pass" if purpose == "entry" else "bypass"
        told: dict[str, Any] = {"side": side, "quantity": quantity, "purpose": purpose, "status": status}
        decided = self.factory.decision(self.at_ms, venue="mexc_perpetual", **told)
        mid = {"reference_price": self.exchange.mark, "price": self.exchange.mark + (80 if side == "BUY" else -80)}
        sent = self.factory.order_of(decided, **mid | {"leverage": 2} | order)
        self.append(decided, "1")
        self.append(sent, "1")
        return sent

    def compare(self) -> None:
        """Have the account compared now, and once more should something be suspected."""
        self.machine.state.live.reconcile_at = None
        self.settle(7)

    def hold(self, quantity: str = "0.2", **order: Any) -> None:
        """Open a long, and have the books compared."""
        self.order(quantity=quantity, **order)
        self.compare()
        self.quote()
        self.settle()
        assert self.machine.state.held(PERP) == self.exchange.held == Decimal(quantity)
        assert self.verdicts()[-1] == "agreed", self.machine.state.live.suspected
