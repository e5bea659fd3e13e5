"""cdb_execution as a pure state machine: approved orders in, order results out, on the paper exchange.

Two keys open it: a decision of cdb_risk that covers the order, and execution's own trading state. What it accepts it
reports NEW and fills only from market data that come after the order and its latency.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar, Literal

from services.cdb_execution import resolving
from services.cdb_execution.attempt import attempt, numbers_of, slippage_bps
from services.cdb_execution.codes import CancelCode, ExpiryCode, Refusal, RejectCode, shown
from services.cdb_execution.decisions import contradiction
from services.cdb_execution.market import Market
from services.cdb_execution.order_checks import check_order
from services.cdb_execution.order_state import TERMINAL, OrderStatus, WorkingOrder, accept
from services.cdb_execution.paper_fills import PaperFill, fit
from services.cdb_execution.settings import INSTRUMENTS, ExecutionSettings
from services.cdb_execution.state import ExecutionState, summarise
from services.cdb_execution.trading_state import UNKNOWN, after_command, reported_state
from services.common import channels
from services.common.decimals import ZERO
from services.common.events import Alert, Control, Event, MarketData, Order, OrderResult, RiskDecision
from services.common.identity import derive_id
from services.common.instruments import PERPETUAL, InstrumentSpec, instrument_key
from services.common.machine import StateMachine
from services.common.perpetuals import FUNDING_INTERVAL_US, settlements_between
from services.common.resolution import Settlement

__all__ = ["ExecutionMachine"]


class ExecutionMachine(StateMachine[ExecutionSettings, ExecutionState]):
    """Folds market data, decisions, orders and control into order results."""

    service: ClassVar[str] = channels.EXECUTION
    consumes: ClassVar[frozenset[str]] = frozenset(
        {channels.MARKET_DATA, channels.RISK_DECISIONS, channels.ORDERS, channels.CONTROL}
    )
    settings_type = ExecutionSettings
    state_type = ExecutionState

    def on_event(self, event: Event) -> None:
        """Fold one event of a consumed channel."""
        self._settle_funding()
        if isinstance(event, MarketData):
            self._on_market_data(event)
        elif isinstance(event, Order):
            self._on_order(event)
        elif isinstance(event, RiskDecision):
            self._on_decision(event)
        else:
            assert isinstance(event, Control)
            self._on_control(event)

    def summary(self) -> dict[str, Any]:
        """Return what `/status` shows: trading state, working orders, positions, counts and the last outcomes."""
        return summarise(self.state)

    # orders and their two keys

    def _on_decision(self, decision: RiskDecision) -> None:
        if decision.producer == channels.RISK:
            self.state.remember_decision(decision)

    def _on_order(self, order: Order) -> None:
        if order.order_id in self.state.known_orders:
            # No result: the first order of this id has its own, and must reach its end exactly once.
            self._alert("DUPLICATE_ORDER", f"order {order.order_id} came twice; the second is ignored", order)
            return
        refusal = self._refusal(order)
        self.state.remember_order(order.order_id, order.client_order_id)
        accepted = accept(order, self.now, self.settings)
        if refusal is None:
            self.state.working.append(accepted)
            self._report(accepted, "NEW")
        else:
            self._report(accepted, "REJECTED", reason=str(refusal))

    def _refusal(self, order: Order) -> Refusal | None:
        decision = self.state.decisions.get(order.decision_id)
        contradicted = contradiction(order, decision)
        if decision is not None and order.producer == channels.RISK:
            decision.used = True
        if contradicted is not None:
            missing = contradicted.code == RejectCode.DECISION_MISSING
            code = "ORDER_WITHOUT_DECISION" if missing else "ORDER_CONTRADICTS_DECISION"
            self._alert(code, f"order {order.order_id} refused: {contradicted}", order)
            return contradicted
        assert decision is not None, "an order without a decision was refused"
        if order.client_order_id in self.state.known_orders.values():
            return Refusal(RejectCode.DUPLICATE_CLIENT_ORDER_ID, f"{order.client_order_id} is taken")
        forbidden = self.state.forbidden(order.purpose)
        if forbidden is not None:
            return Refusal(RejectCode.TRADING_STATE, f"{order.purpose} while {forbidden}")
        if order.purpose == "entry" and self._risk_is_silent():
            seconds = shown(self.state.risk_watch.seconds(self.now))
            return Refusal(RejectCode.RISK_SILENT, f"risk has not answered the clock for {seconds} s")
        return check_order(order, decision.timestamp, self.now, self.settings, self.state)

    def _alert(self, code: str, message: str, order: Order) -> None:
        context = {
            "order_id": order.order_id,
            "decision_id": order.decision_id,
            "symbol": order.symbol,
            "side": order.side,
            "quantity": order.quantity,
            "producer": order.producer,
        }
        self.emit(Alert, level="CRITICAL", code=code, message=message, context=context)

    # fills

    def _on_market_data(self, event: MarketData) -> None:
        key = instrument_key(event.venue, event.symbol)
        spec = self.settings.spec(key)
        if spec is None:
            return
        market = self.state.markets.get(key)
        if market is None:
            market = self.state.markets[key] = Market()
        market.observe(event, self.now)
        if spec.tiers:
            self._observe_perpetual(event, key, spec)
        for order in self.state.working:
            if order.instrument == key:
                self._try_to_fill(order, event, market, spec)

    # funding and liquidation

    def _settle_funding(self) -> None:
        """Settle what became due since the event before this one, with the positions and marks before it."""
        state, interval = self.state, self.now // FUNDING_INTERVAL_US
        if state.funding_interval == interval:
            return
        passed, state.funding_interval = state.funding_interval, interval
        since = (interval if passed is None else passed) * FUNDING_INTERVAL_US
        for settlement in settlements_between(since, self.now):
            for perpetual in state.perpetuals.values():
                fact = perpetual.fund(settlement)
                if fact is not None:
                    self.emit(Control, action="funding", service=self.service, details=fact.details())

    def _observe_perpetual(self, event: MarketData, key: str, spec: InstrumentSpec) -> None:
        state, perpetual = self.state, self.state.perpetual(key, event.symbol)
        perpetual.observe(event, self.settings.PRICE_COLLAR_PCT)
        fact = perpetual.liquidate(spec)
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
        over = self.now >= order.deadline
        # A constructed quote stands for the whole stretch since the one before it, so the first one is always tried.
        if event.timestamp >= order.eligible_from and (event.synthetic or not over):
            mark_known = not spec.tiers or self.state.perpetuals[order.instrument].mark is not None
            attempted = attempt(order, event, market, spec, self.settings, now=self.now, mark_known=mark_known)
            if isinstance(attempted, PaperFill):
                self._book(order, event, market, spec, attempted)
                return
            order.obstacle = f"{attempted.code}: {attempted.detail}"
        if over:
            self._report(order, "EXPIRED", reason=order.obstacle)

    def _book(
        self, order: WorkingOrder, event: MarketData, market: Market, spec: InstrumentSpec, made: PaperFill
    ) -> None:
        market.take(order.side, made.at_touch, made.quantity, self.now)
        self._take_in(order, made.quantity, made.price)
        fee_rate = self.settings.taker_fee(order.venue)
        self._report_result(
            order,
            last_quantity=made.quantity,
            last_price=made.price,
            fee=fit(made.quantity * made.price * fee_rate),
            fee_currency=spec.quote,
            liquidity="taker",
            slippage_bps=slippage_bps(order),
            trade_id=derive_id(str(self.fold.run_id), "trade", order.order_id, order.fills),
            fill=numbers_of(order, event, made, fee_rate, self.settings.PAPER_LATENCY_MS),
        )
        if order.remaining:
            rest = f"{made.limited_by} let {shown(made.quantity)} fill; {shown(order.remaining)} is given up"
            self._report(order, "CANCELED", reason=f"{CancelCode.REMAINDER}: {rest}")

    def _take_in(self, order: WorkingOrder, quantity: Decimal, price: Decimal) -> None:
        """Book a fill in the order and in what is held."""
        key, signed = order.instrument, quantity if order.side == "BUY" else -quantity
        self.state.positions[key] = self.state.held(key) + signed
        order.book(quantity, price)
        if order.venue == PERPETUAL:
            self.state.perpetual(key, order.symbol).position.trade(order.side, quantity, price, order.leverage)

    # ends without a fill

    def _on_control(self, event: Control) -> None:
        if event.action == "tick":
            if event.producer == channels.WS:
                self.state.risk_watch.tick(self.now)
            self._risk_is_silent()
            for order in self.state.working:
                if self.now >= order.deadline:
                    self._report(order, "EXPIRED", reason=order.obstacle)
        elif event.action == "finished":
            for order in self.state.working:
                self._report(order, "CANCELED", reason=f"{CancelCode.FEED_FINISHED}: no further quote will come")
        elif event.action in {"halt", "resume", "flatten"}:
            if self.state.is_repeated(event.command_id) and event.action != "halt":
                return
            self.state.trading_state = after_command(self.state.trading_state, event)
            self._cancel_forbidden()
        elif event.action == "trading_state" and event.producer == channels.RISK:
            self._on_risk_state(event)
        elif event.action == "heartbeat" and event.producer == channels.RISK:
            self._on_heartbeat(event)
        elif event.action == "resolve_order":
            self._on_resolve_order(event)

    def _on_risk_state(self, event: Control) -> None:
        self.state.risk_state = reported_state(event)
        if self.state.risk_state == UNKNOWN:
            message = "cdb_risk reports no trading state that is known here: nothing but flatten is accepted"
            self._tell("CRITICAL", "RISK_STATE_UNKNOWN", message, {"reported": str(event.details.get("state"))})
        self._cancel_forbidden()

    def _cancel_forbidden(self) -> None:
        for order in self.state.working:
            forbidden = self.state.forbidden(order.purpose)
            if forbidden is not None:
                self._report(order, "CANCELED", reason=f"{CancelCode.TRADING_STATE}: {forbidden}")

    # the dead-man switch

    def _on_heartbeat(self, event: Control) -> None:
        watch = self.state.risk_watch
        watch.heartbeat(event.timestamp)
        if watch.silent and not watch.overdue(self.now, self.settings.RISK_SILENCE_SEC):
            watch.silent = False
            self._tell("INFO", "RISK_ANSWERS", "cdb_risk answers the clock again: entries are accepted", {})

    def _risk_is_silent(self) -> bool:
        """Return whether risk is silent; the first time it is found so, tell it and cancel the entries that work."""
        watch = self.state.risk_watch
        if not watch.silent and watch.overdue(self.now, self.settings.RISK_SILENCE_SEC):
            watch.silent = True
            seconds = watch.seconds(self.now)
            message = f"cdb_risk has not answered the clock for {shown(seconds)} s: no entry is accepted, exits run"
            self._tell("CRITICAL", "RISK_SILENT", message, {"seconds": seconds})
            for order in self.state.working:
                if order.purpose == "entry":
                    self._report(order, "CANCELED", reason=f"{CancelCode.RISK_SILENT}: for {shown(seconds)} s")
        return watch.silent

    # an operator's word on an order whose end is unknown

    def _on_resolve_order(self, event: Control) -> None:
        state = self.state
        if event.producer == channels.OPERATOR:
            state.remember_resolution(event)
            return
        settlement = resolving.settlement_of(event, state.resolutions.pop(event.causation_id or "", None))
        if isinstance(settlement, str):
            self._tell("CRITICAL", "RESOLUTION_REFUSED", settlement, {"by": event.by})
            return
        order = resolving.order_to_end(settlement, state.working, state.known_orders)
        wrong = (
            f"order {settlement.order_id} has ended already"
            if order is None
            else resolving.objection(order, settlement, state.held(order.instrument))
        )
        if wrong is not None or order is None:
            self._tell("CRITICAL", "RESOLUTION_REFUSED", str(wrong), {"order_id": settlement.order_id, "by": event.by})
            return
        if order.order_id not in state.known_orders:
            state.remember_order(order.order_id, order.client_order_id)
            state.working.append(order)
        self._settle(order, settlement, f"{event.by}: {event.reason}")

    def _settle(self, order: WorkingOrder, settlement: Settlement, why: str) -> None:
        if settlement.outcome == "never_arrived":
            self._report(order, "EXPIRED", reason=f"{ExpiryCode.NEVER_ARRIVED}: {why}")
            return
        if settlement.price is not None:
            self._book_resolved(order, settlement, settlement.price, why)
        if order.status not in TERMINAL:
            self._report(order, "CANCELED", reason=f"{CancelCode.RESOLVED}: {why}")

    def _book_resolved(self, order: WorkingOrder, settlement: Settlement, price: Decimal, why: str) -> None:
        added = settlement.filled_quantity - order.filled_quantity
        self._take_in(order, added, price)
        told = settlement.fee is not None
        fee = settlement.fee if settlement.fee is not None else added * price * self.settings.taker_fee(order.venue)
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

    def _tell(
        self, level: Literal["INFO", "CRITICAL"], code: str, message: str, context: dict[str, str | Decimal | None]
    ) -> None:
        self.emit(Alert, level=level, code=code, message=message, context=context)

    # reports

    def _report(self, order: WorkingOrder, status: OrderStatus, *, reason: str | None = None) -> None:
        order.advance(status)
        self._report_result(order, reason=reason)

    def _report_result(self, order: WorkingOrder, *, reason: str | None = None, **fill: Any) -> None:
        status = order.status
        assert status is not None, "only what has a status is reported"
        average_price = order.average_price
        self.emit(
            OrderResult,
            correlation_id=order.correlation_id,
            order_id=order.order_id,
            client_order_id=order.client_order_id,
            status=status,
            venue=order.venue,
            symbol=order.symbol,
            side=order.side,
            quantity=order.quantity,
            filled_quantity=order.filled_quantity,
            average_price=average_price,
            reason=reason,
            mode=self.settings.TRADING_MODE,
            **fill,
        )
        state = self.state
        state.counts[status] = state.counts.get(status, 0) + 1
        if status in TERMINAL:
            state.end(order, self.now, reason)
