"""Orders at the exchange as a fold: sent once, heard of late, twice or never, and ended when that is certain.

What the exchange says comes in as `order_result` and `control/account` without a cause in the journal; what follows
from time (UNKNOWN, FROZEN, never arrived) is derived from the ticks. What has to be asked or cancelled is a number in
the state (`LiveOrder.queries`, `.cancels`, `LiveState.reconciles`) that the shell catches up with.
"""

from __future__ import annotations

from decimal import Decimal

from services.cdb_execution.attempt import BPS
from services.cdb_execution.codes import ExpiryCode, Refusal, RejectCode, UnknownCode, shown
from services.cdb_execution.live.order_rules import check_rules
from services.cdb_execution.live.ramp import Exposure, check_ramp
from services.cdb_execution.live.reconciling import Reconciling
from services.cdb_execution.live.state import trade_name
from services.cdb_execution.live.tracking import ACKNOWLEDGED_WITHIN_US, FREEZE_AFTER_US, NEWS_WITHIN_US, LiveOrder
from services.cdb_execution.order_state import TERMINAL, WorkingOrder
from services.cdb_execution.paper_fills import PaperFill, Request, TopOfBook, attempt_fill, fit
from services.common.decimals import ONE, ZERO, divide
from services.common.events import MarketData, Order, OrderResult
from services.common.instruments import instrument_key
from services.common.timestamps import DAY_US, MS_US, SECOND_US

__all__ = ["LiveExecution"]


class LiveExecution(Reconciling):
    """What becomes of the orders at the exchange."""

    # sending

    def _live_refusal(self, order: Order) -> Refusal | None:
        """Return why the ramp (never an exit) or the exchange's rules refuse an order."""
        state, live = self.state, self.state.live
        key = instrument_key(order.venue, order.symbol)
        checked = self.settings.TRADING_MODE == "live"
        exposure = Exposure(
            held=state.held(key),
            entering=state.entering(key),
            lost_today=live.day.lost(live.pnl),
            reconciled=live.not_reconciled(self.now) if checked else None,
            paused=live.canary.paused,
        )
        refusal = check_ramp(order, self.settings, exposure)
        return refusal or (check_rules(order, live.rules, state.reference_price(key)) if checked else None)

    def _submit(self, order: WorkingOrder) -> None:
        """Say that an order is about to be sent; whoever publishes this first sends it, once."""
        state = self.state
        order.live = LiveOrder(sent_at=self.now, quiet_since=self.now, expected_bps=self._expected_bps(order))
        state.live.mode = self.settings.TRADING_MODE
        state.live.revision += 1
        state.working.append(order)
        self._report(order, "SUBMITTING")

    def _expected_bps(self, order: WorkingOrder) -> Decimal | None:
        """Return the slippage that the paper exchange would give the order now, basis points; None when unknown."""
        market, spec = self.state.markets.get(order.instrument), self.settings.spec(order.instrument)
        if market is None or spec is None or not ZERO < market.bid < market.ask or order.reference_price is None:
            return None
        buys = order.side == "BUY"
        direction, touch = (ONE, market.ask) if buys else (-ONE, market.bid)
        made = attempt_fill(
            Request(
                side=order.side,
                quantity=order.quantity,
                protection=touch * (ONE + direction * self.settings.MAX_SLIPPAGE_PCT),
                participation=ONE,
                max_levels=self.settings.PAPER_MAX_LEVELS,
                tick_size=spec.tick_size,
                lot_size=spec.lot_size,
            ),
            TopOfBook(
                bid=market.bid,
                ask=market.ask,
                displayed=market.ask_size if buys else market.bid_size,
                taken=ZERO,
                volume_60s=market.volume_60s(self.now),
                own_60s=ZERO,
                sigma_1m=market.sigma_1m,
                levels=market.levels(order.side),
            ),
        )
        price = made.price if isinstance(made, PaperFill) else touch
        return direction * (divide(price, order.reference_price) - ONE) * BPS

    # what the exchange says

    def _on_exchange_result(self, result: OrderResult) -> None:
        """Fold a result that the shell has found to be new."""
        order = next((order for order in self.state.sent() if order.order_id == result.order_id), None)
        if order is None or order.live is None:
            message = f"a result of order {result.order_id}, which was not sent or has ended long ago, is not booked"
            self._tell("CRITICAL", "EXCHANGE_RESULT_UNKNOWN", message, {"order_id": result.order_id})
            return
        live, before, told = order.live, order.status, result.filled_quantity - order.filled_quantity
        if told > 0 and not self.state.can_hold(order, told):
            self._refuse_fill(order, result)
            return
        live.exchange_order_id = result.exchange_order_id or live.exchange_order_id
        if told > 0:
            self._book_exchange_fill(order, live, result)
        if before in TERMINAL:
            if told > 0:
                self._tell_late(order, result, told)
            return
        if result.status == "UNKNOWN":
            self._on_unknown(order, live, result)
            return
        live.heard(self.now)
        if order.status != result.status:
            order.advance(result.status)
        self.state.counts[result.status] = self.state.counts.get(result.status, 0) + 1
        if order.status in TERMINAL:
            self.state.end(order, self.now, result.reason)
            self.state.live.revision += 1
        elif before == "UNKNOWN":
            # Our own UNKNOWN may stand behind this result in the journal; the last word has to be the right one.
            self._report_result(order, reason=None)

    def _on_unknown(self, order: WorkingOrder, live: LiveOrder, result: OrderResult) -> None:
        if order.status != "UNKNOWN":
            order.advance("UNKNOWN")
        live.lost(self.now)
        self.state.counts["UNKNOWN"] = self.state.counts.get("UNKNOWN", 0) + 1
        # Before that the order may still be on its way to the exchange.
        may_leave_until = live.sent_at + self.settings.ORDER_MAX_AGE_MS * MS_US
        if (result.reason or "").startswith(UnknownCode.NOT_FOUND) and self.now > may_leave_until:
            live.is_missing(self.now)

    def _book_exchange_fill(self, order: WorkingOrder, live: LiveOrder, result: OrderResult) -> None:
        quantity, price = result.filled_quantity - order.filled_quantity, result.last_price
        assert price is not None, "the shell states fills with their price"
        ended = order.status in TERMINAL
        self._take_in(order, quantity, price, late=ended)
        live.trades.append(str(result.trade_id))
        self.state.live.remember_trades([trade_name(str(result.trade_id), result.exchange_order_id)])
        self._book_live(order, quantity, price, result.fee or ZERO, result.fee_currency)
        assert order.reference_price is not None, "orders without a mid at decision are refused"
        direction = ONE if order.side == "BUY" else -ONE
        slippage = direction * (divide(price, order.reference_price) - ONE) * BPS
        if live.expected_bps is not None and self.state.live.canary.add(slippage, live.expected_bps, self.settings):
            canary = self.state.live.canary
            message = f"the first {canary.fills} live fills cost more than the paper exchange expects: entries pause"
            sums: dict[str, str | Decimal | None] = {
                "slippage_bps": fit(canary.slippage),
                "expected_bps": fit(canary.expected),
            }
            self._tell("CRITICAL", "CANARY_PAUSED", message, sums)

    def _tell_late(self, order: WorkingOrder, result: OrderResult, quantity: Decimal) -> None:
        """Freeze for a fill of an order that had ended here: somebody, or the exchange, has said what was not so."""
        message = (
            f"order {order.order_id} had ended ({order.status}); {shown(quantity)} has filled after all, and is booked"
        )
        context: dict[str, str | Decimal | None] = {"order_id": order.order_id, "trade_id": result.trade_id}
        self._tell("CRITICAL", "LATE_FILL", message, {**context, "quantity": quantity, "price": result.last_price})
        self._freeze(f"late fill {result.trade_id} of order {order.order_id}", {"order_id": order.order_id})

    def _refuse_fill(self, order: WorkingOrder, result: OrderResult) -> None:
        """Freeze for a fill that the books cannot hold; the comparison with the exchange names it."""
        held = shown(self.state.held(order.instrument))
        message = f"fill {result.trade_id} of order {order.order_id} cannot be booked: {held} {order.symbol} is held"
        self._tell("CRITICAL", "FILL_NOT_BOOKED", message, {"order_id": order.order_id, "trade_id": result.trade_id})
        self._freeze(message, {"order_id": order.order_id})

    def _on_live_market_data(self, event: MarketData) -> None:
        """Value what is held, and begin the day of the loss limit."""
        live = self.state.live
        live.portfolio.mark(event)
        live.day.roll(self.now // DAY_US, live.pnl)

    # what follows from time

    def _on_live_tick(self) -> None:
        for order in self.state.working:
            if order.live is None or order.status in TERMINAL:
                continue
            if self.settings.TRADING_MODE == "shadow":
                self._await_validation(order, order.live)
            else:
                self._await_answer(order, order.live)
        self._reconcile_in_time()

    def _await_validation(self, order: WorkingOrder, live: LiveOrder) -> None:
        if order.status == "SUBMITTING" and self.now - live.sent_at > ACKNOWLEDGED_WITHIN_US:
            seconds = ACKNOWLEDGED_WITHIN_US // SECOND_US
            self._report(order, "REJECTED", reason=f"{RejectCode.NOT_VALIDATED}: no answer within {seconds} s")

    def _await_answer(self, order: WorkingOrder, live: LiveOrder) -> None:
        now = self.now
        if order.status == "SUBMITTING" and now - live.sent_at > ACKNOWLEDGED_WITHIN_US:
            self._lose(order, live, UnknownCode.NO_ACKNOWLEDGEMENT, "no answer within 5 s")
        elif order.status in {"NEW", "PARTIALLY_FILLED"} and now - live.quiet_since > NEWS_WITHIN_US:
            self._lose(order, live, UnknownCode.NO_NEWS, "nothing was heard of it for 30 s")
        elif order.status != "SUBMITTING":
            live.ask_in_time(now)
        if order.status != "SUBMITTING" and now >= order.deadline:
            live.cancel(now)  # immediate-or-cancel, and still there
        if order.status != "UNKNOWN" or live.unknown_since is None:
            return
        if live.never_arrived(now, self.settings.arrival_window_us(order.venue)):
            why = f"asked {live.not_found} times, the exchange does not know it"
            self._report(order, "EXPIRED", reason=f"{ExpiryCode.NEVER_ARRIVED}: {why}")
            self.state.live.revision += 1
        elif now - live.unknown_since >= FREEZE_AFTER_US and not live.frozen:
            live.frozen = True
            self._freeze(f"order {order.order_id} has been UNKNOWN for 60 s", {"order_id": order.order_id})

    def _lose(self, order: WorkingOrder, live: LiveOrder, code: UnknownCode, why: str) -> None:
        live.lost(self.now)
        self._report(order, "UNKNOWN", reason=f"{code}: {why}")

    # giving up

    def _withdraw(self, order: WorkingOrder, reason: str) -> None:
        """Give up what is left of an order: at once on paper; at the exchange it has to be cancelled there."""
        if order.live is not None and self.settings.TRADING_MODE == "live":
            order.live.cancel(self.now)
        else:
            self._report(order, "CANCELED", reason=reason)
