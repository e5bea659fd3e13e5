"""The paper exchange: fills from market data after the order, funding and liquidation of perpetuals.

In shadow mode it fills what the exchange's test endpoint has found valid; in live mode it fills nothing, and the
exchange liquidates.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from services.cdb_execution.attempt import attempt, numbers_of, slippage_bps
from services.cdb_execution.codes import CancelCode, ExpiryCode, Refusal, shown
from services.cdb_execution.live.order_rules import check_rules, rules_told
from services.cdb_execution.market import Market
from services.cdb_execution.order_state import WorkingOrder
from services.cdb_execution.paper_fills import Obstacle, PaperFill, fit
from services.cdb_execution.reporting import ReportingMachine
from services.cdb_execution.resting import QueueFill, Resting, Standing
from services.cdb_execution.settings import INSTRUMENTS
from services.common.currencies import fee_kind
from services.common.decimals import ZERO
from services.common.events import Alert, Control, MarketData, Order
from services.common.identity import derive_id
from services.common.instruments import PERPETUAL, InstrumentSpec, instrument_key
from services.common.perpetuals import FUNDING_INTERVAL_US, settlements_between
from services.common.resolution import Settlement

__all__ = ["PaperExecution"]

_NO_MARKET: Final = frozenset({ExpiryCode.NO_QUOTE, ExpiryCode.PRICE_COLLAR})
"""Without a quote that is believed an order finds no place in the book."""


class PaperExecution(ReportingMachine):
    """What the market makes of the orders that work on paper."""

    def __init__(self) -> None:
        """Start with nothing folded."""
        super().__init__()
        self._instruments: Mapping[str, InstrumentSpec] = {}
        self._sends = self._exchange_fills = False

    def on_settings(self) -> None:
        """Take what every event asks for."""
        self._instruments, self._sends = self.settings.instruments, self.settings.sends
        self._exchange_fills = self.settings.TRADING_MODE == "live"

    def _on_market_data(self, event: MarketData) -> None:
        fields, state = event.__dict__, self.state  # see `StateMachine.handle`
        venue: str = fields["venue"]
        key = instrument_key(venue, fields["symbol"])
        spec = self._instruments.get(key)
        if spec is None:
            return
        market = state.markets.get(key)
        if market is None:
            market = state.markets[key] = Market()
        market.observe(event, self.now)
        if venue == PERPETUAL and spec.tiers:
            self._observe_perpetual(event, key, spec)
        if self._exchange_fills:
            return
        for order in state.working:
            if order.instrument == key and order.status != "SUBMITTING":
                market.look_deeper(event)
                self._try_to_fill(order, event, market, spec)

    def _settle_funding(self) -> None:
        """Settle what became due since the event before this one, with the positions and marks before it."""
        state, interval = self.state, self.now // FUNDING_INTERVAL_US
        passed, state.funding_interval = state.funding_interval, interval
        since = (interval if passed is None else passed) * FUNDING_INTERVAL_US
        for settlement in settlements_between(since, self.now):
            if self.settings.TRADING_MODE == "live":
                due = {key: settlement for key, perpetual in state.perpetuals.items() if perpetual.position.quantity}
                state.live.funding_due |= due  # the exchange tells what it pays
                continue
            for perpetual in state.perpetuals.values():
                fact = perpetual.fund(settlement)
                if fact is not None:
                    self.emit(Control, action="funding", service=self.service, details=fact.details())

    def _observe_perpetual(self, event: MarketData, key: str, spec: InstrumentSpec) -> None:
        state, perpetual = self.state, self.state.perpetual(key, event.symbol)
        perpetual.observe(event, self.settings.PRICE_COLLAR_PCT)
        fact = None if self.settings.TRADING_MODE == "live" else perpetual.liquidate(spec)
        if fact is None:
            return
        state.positions[key] = ZERO
        for order in state.working:
            if order.instrument == key:
                self._report(order, "CANCELED", reason=f"{CancelCode.LIQUIDATED}: at mark {shown(fact.mark)}")
        details = fact.details()
        self.emit(Control, action="liquidation", service=self.service, details=details)
        loss = f"{shown(fact.margin)} {spec.quote} of margin are lost"
        message = f"{event.symbol} was liquidated at mark {shown(fact.mark)}: {loss}"
        self.emit(Alert, level="CRITICAL", code="POSITION_LIQUIDATED", message=message, context=details)

    def _try_to_fill(self, order: WorkingOrder, event: MarketData, market: Market, spec: InstrumentSpec) -> None:
        if order.rests:
            self._rest(order, event, market, spec)
            return
        over = self.now >= order.deadline
        # A constructed quote stands for the whole stretch since the one before it, so the first one is always tried.
        if event.timestamp >= order.eligible_from and (event.synthetic or not over):
            attempted = self._attempt(order, event, market, spec)
            if isinstance(attempted, PaperFill):
                self._book(order, event, market, spec, attempted)
                return
            order.obstacle = f"{attempted.code}: {attempted.detail}"
        if over:
            self._report(order, "EXPIRED", reason=order.obstacle)

    def _paper_refusal(self, order: Order) -> Refusal | None:
        """Return what the exchange would say to an order that every check of ours lets through."""
        key = instrument_key(order.venue, order.symbol)
        spec = self.settings.spec(key)
        assert spec is not None, "an order without a known instrument is refused"
        rules = {order.symbol: rules_told(spec)}
        return check_rules(order, rules, self.state.reference_price(key), on_paper=True)

    def _attempt(
        self, order: WorkingOrder, event: MarketData, market: Market, spec: InstrumentSpec
    ) -> PaperFill | Obstacle:
        mark_known = not spec.tiers or self.state.perpetuals[order.instrument].mark is not None
        return attempt(order, event, market, spec, self.settings, now=self.now, mark_known=mark_known)

    def _rest(self, order: WorkingOrder, event: MarketData, market: Market, spec: InstrumentSpec) -> None:
        """Take what a limit order may at once, then leave it in the book until its life is over."""
        price = order.price
        assert price is not None, "an order without a price does not rest"
        if self.now >= order.deadline:
            self._end_resting(order)
        elif order.resting is not None:
            asked = Standing(order.side, price, order.remaining, self.settings.PAPER_PARTICIPATION, spec.lot_size)
            made = order.resting.observe(asked, event, market, self.now)
            order.obstacle = order.resting.place(price)
            if made is not None:
                market.take(order.side, ZERO, made.quantity, self.now)
                self._fill(order, event, spec, made, maker=True)
        elif event.timestamp >= order.eligible_from:
            attempted = self._attempt(order, event, market, spec)
            if isinstance(attempted, PaperFill):
                market.take(order.side, attempted.at_touch, attempted.quantity, self.now, attempted.of_levels)
                self._fill(order, event, spec, attempted)
            elif attempted.code in _NO_MARKET:
                order.obstacle = f"{attempted.code}: {attempted.detail}"
                return
            order.resting = Resting.join(order.side, price, event, market)
            order.obstacle = order.resting.place(price)

    def _end_resting(self, order: WorkingOrder) -> None:
        rest = f"{shown(order.remaining)} of {shown(order.quantity)} has not filled"
        self._report(order, "CANCELED", reason=f"{CancelCode.LIFETIME}: {rest}; {order.obstacle}")

    def _make_way(self, exit_order: WorkingOrder) -> None:
        """Cancel the entries that rest on an instrument which is being left."""
        for order in self.state.working:
            if order.rests and order.purpose == "entry" and order.instrument == exit_order.instrument:
                self._report(order, "CANCELED", reason=f"{CancelCode.EXIT}: {exit_order.purpose} came")

    def _book(
        self, order: WorkingOrder, event: MarketData, market: Market, spec: InstrumentSpec, made: PaperFill
    ) -> None:
        market.take(order.side, made.at_touch, made.quantity, self.now, made.of_levels)
        self._fill(order, event, spec, made)
        if order.remaining:
            rest = f"{made.limited_by} let {shown(made.quantity)} fill; {shown(order.remaining)} is given up"
            self._report(order, "CANCELED", reason=f"{CancelCode.REMAINDER}: {rest}")

    def _fill(
        self,
        order: WorkingOrder,
        event: MarketData,
        spec: InstrumentSpec,
        made: PaperFill | QueueFill,
        *,
        maker: bool = False,
    ) -> None:
        """Book a fill and report it with the numbers that made it."""
        self._take_in(order, made.quantity, made.price)
        fee_rate = self.settings.maker_fee(order.venue) if maker else self.settings.taker_fee(order.venue)
        fee = fit(made.quantity * made.price * fee_rate)
        if order.live is not None:
            self._book_live(order, made.quantity, made.price, fee, spec.quote)
        self._report_result(
            order,
            last_quantity=made.quantity,
            last_price=made.price,
            fee=fee,
            fee_currency=spec.quote,
            liquidity="maker" if maker else "taker",
            slippage_bps=slippage_bps(order),
            trade_id=derive_id(str(self.fold.run_id), "trade", order.order_id, order.fills),
            fill=numbers_of(order, event, made.numbers, fee_rate, self.settings.PAPER_LATENCY_MS),
        )

    def _take_in(self, order: WorkingOrder, quantity: Decimal, price: Decimal, *, late: bool = False) -> None:
        """Book a fill in the order (`late`: one that has ended) and in what is held."""
        key, signed = order.instrument, quantity if order.side == "BUY" else -quantity
        self.state.positions[key] = self.state.held(key) + signed
        if late:
            order.book_late(quantity, price)
        else:
            order.book(quantity, price)
        if order.venue == PERPETUAL:
            self.state.perpetual(key, order.symbol).position.trade(order.side, quantity, price, order.leverage)

    def _reduce_by_fee(self, order: WorkingOrder, fee: Decimal, currency: str | None) -> None:
        """Hold what a fee in base coin has left of what was bought."""
        if fee and fee_kind(order.symbol, currency) == "base":
            self.state.positions[order.instrument] = self.state.held(order.instrument) - fee

    def _book_live(
        self, order: WorkingOrder, quantity: Decimal, price: Decimal, fee: Decimal, currency: str | None
    ) -> None:
        """Book a fill in the books of live trading, which paper has none of."""

    def _book_resolved(self, order: WorkingOrder, settlement: Settlement, price: Decimal, why: str) -> None:
        added = settlement.filled_quantity - order.filled_quantity
        self._take_in(order, added, price)
        told = settlement.fee is not None
        fee = settlement.fee if settlement.fee is not None else added * price * self.settings.taker_fee(order.venue)
        if order.live is not None:
            self._book_live(order, added, price, fit(fee), INSTRUMENTS[order.instrument].quote)
        self._report_result(
            order,
            reason=f"{CancelCode.RESOLVED}: {why}",
            last_quantity=added,
            last_price=price,
            fee=fit(fee),
            fee_currency=INSTRUMENTS[order.instrument].quote,
            slippage_bps=slippage_bps(order),
            trade_id=derive_id(str(self.fold.run_id), "trade", order.order_id, order.fills),
            fill={"rule": "operator", "by": why, "fee_told": told},
        )
