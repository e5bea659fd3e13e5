"""cdb_execution as a pure state machine: approved orders in, order results out, on the paper exchange.

Two keys open it: a decision of cdb_risk that covers the order, and execution's own trading state. What it accepts it
reports NEW and fills only from market data that come after the order and its latency.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar, Final, Literal

from services.cdb_execution import resolving
from services.cdb_execution.codes import CancelCode, ExpiryCode, Refusal, RejectCode, shown
from services.cdb_execution.decisions import DECISIONS_REMEMBERED, contradiction, record_of
from services.cdb_execution.market import Market
from services.cdb_execution.order_checks import check_age, check_exposure, check_form, check_price, check_quantity
from services.cdb_execution.order_state import TERMINAL, OrderStatus, WorkingOrder
from services.cdb_execution.paper_fills import Obstacle, PaperFill, Request, TopOfBook, attempt_fill, fit
from services.cdb_execution.perpetuals import Perpetual
from services.cdb_execution.settings import ExecutionSettings
from services.cdb_execution.state import ExecutionState, Outcome, summarise
from services.cdb_execution.trading_state import UNKNOWN, after_command, permits, reported_state, risk_permits
from services.common import channels
from services.common.decimals import ONE, ZERO, divide
from services.common.events import Alert, Control, Event, MarketData, Order, OrderResult, RiskDecision
from services.common.identity import derive_id
from services.common.instruments import DEFAULT_INSTRUMENTS, PERPETUAL, InstrumentSpec, instrument_key
from services.common.machine import StateMachine
from services.common.perpetuals import FUNDING_INTERVAL_US, settlements_between
from services.common.portfolio import Position, mid_price
from services.common.resolution import Settlement
from services.common.timestamps import MS_US, SECOND_US, format_timestamp

__all__ = ["ExecutionMachine"]

ORDERS_REMEMBERED: Final = 2_048
BPS: Final = Decimal(10_000)

_INSTRUMENTS: Final = {instrument_key(spec.venue, spec.symbol): spec for spec in DEFAULT_INSTRUMENTS}


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

    # orders and their two keys

    def _on_decision(self, decision: RiskDecision) -> None:
        if decision.producer != channels.RISK:
            return
        decisions = self.state.decisions
        decisions[decision.event_id] = record_of(decision)
        _keep_last(decisions, DECISIONS_REMEMBERED)

    def _on_order(self, order: Order) -> None:
        known = self.state.known_orders
        if order.order_id in known:
            # No result: the first order of this id has its own, and must reach its end exactly once.
            self._alert("DUPLICATE_ORDER", f"order {order.order_id} came twice; the second is ignored", order)
            return
        refusal = self._refusal(order)
        known[order.order_id] = order.client_order_id
        _keep_last(known, ORDERS_REMEMBERED)
        accepted = self._working_order(order)
        if refusal is None:
            self.state.working.append(accepted)
            self._report(accepted, "NEW")
        else:
            self._report(accepted, "REJECTED", reason=str(refusal))

    def _working_order(self, order: Order) -> WorkingOrder:
        return WorkingOrder(
            order_id=order.order_id,
            client_order_id=order.client_order_id,
            correlation_id=order.correlation_id,
            instrument=instrument_key(order.venue, order.symbol),
            venue=order.venue,
            symbol=order.symbol,
            side=order.side,
            purpose=order.purpose,
            quantity=order.quantity,
            price=order.price,
            reference_price=order.reference_price,
            eligible_from=order.timestamp + self.settings.PAPER_LATENCY_MS * MS_US,
            deadline=self.now + self.settings.PAPER_ORDER_LIFE_SEC * SECOND_US,
            leverage=order.leverage,
            obstacle=f"{ExpiryCode.NO_QUOTE}: none came after the latency of {self.settings.PAPER_LATENCY_MS} ms",
        )

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
        forbidden = self._forbidden(order.purpose)
        if forbidden is not None:
            return Refusal(RejectCode.TRADING_STATE, f"{order.purpose} while {forbidden}")
        if order.purpose == "entry" and self._risk_is_silent():
            seconds = shown(self.state.risk_watch.seconds(self.now))
            return Refusal(RejectCode.RISK_SILENT, f"risk has not answered the clock for {seconds} s")
        key = instrument_key(order.venue, order.symbol)
        spec = self._spec(key)
        if spec is None:
            return Refusal(RejectCode.UNKNOWN_INSTRUMENT, f"{order.symbol} on {order.venue}")
        return (
            check_age(order, decision.timestamp, self.now, self.settings)
            or check_form(order)
            or check_price(order, spec, self.settings)
            or check_quantity(order, spec, self._closable(key, order.side))
            or (self._exposure_refusal(order, key, spec) if spec.tiers else None)
        )

    def _exposure_refusal(self, order: Order, key: str, spec: InstrumentSpec) -> Refusal | None:
        held, entering = self._held(key), self._entering(key)
        return check_exposure(order, spec, held, entering, self.settings.MAX_LEVERAGE)

    def _spec(self, key: str) -> InstrumentSpec | None:
        spec = _INSTRUMENTS.get(key)
        return None if spec is not None and spec.venue not in {self.settings.VENUE, "mexc_spot"} else spec

    def _forbidden(self, purpose: str) -> str | None:
        """Return which trading state forbids this purpose; None when both let it through."""
        if not permits(self.state.trading_state, purpose):
            return f"execution is {self.state.trading_state}"
        if not risk_permits(self.state.risk_state, purpose):
            return f"risk is {self.state.risk_state}"
        return None

    def _held(self, key: str) -> Decimal:
        return self.state.positions.get(key, ZERO)

    def _closable(self, key: str, side: str) -> Decimal:
        """Base units that an order of this side can close: held in the other direction and not already being closed."""
        being_closed = (
            order.remaining for order in self.state.working if order.instrument == key and order.purpose != "entry"
        )
        held = self._held(key) if side == "SELL" else -self._held(key)
        return held - sum(being_closed, ZERO)

    def _entering(self, key: str) -> Decimal:
        """Base units that working entries may still add, signed."""
        entries = (order for order in self.state.working if order.instrument == key and order.purpose == "entry")
        return sum((order.remaining if order.side == "BUY" else -order.remaining for order in entries), ZERO)

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
        spec = self._spec(key)
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

    def _perpetual(self, key: str, symbol: str) -> Perpetual:
        perpetual = self.state.perpetuals.get(key)
        if perpetual is None:
            perpetual = self.state.perpetuals[key] = Perpetual(Position(PERPETUAL, symbol))
        return perpetual

    def _observe_perpetual(self, event: MarketData, key: str, spec: InstrumentSpec) -> None:
        state, perpetual = self.state, self._perpetual(key, event.symbol)
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
            attempted = self._attempt(order, event, market, spec)
            if isinstance(attempted, PaperFill):
                self._book(order, event, market, spec, attempted)
                return
            order.obstacle = f"{attempted.code}: {attempted.detail}"
        if over:
            self._report(order, "EXPIRED", reason=order.obstacle)

    def _attempt(
        self, order: WorkingOrder, event: MarketData, market: Market, spec: InstrumentSpec
    ) -> PaperFill | Obstacle:
        bid, ask = event.bid, event.ask
        if bid is None or ask is None:
            return Obstacle(ExpiryCode.NO_QUOTE, "market data without bid and ask")
        if not spec.tick_size <= bid < ask:
            return Obstacle(ExpiryCode.NO_QUOTE, f"bid {shown(bid)} and ask {shown(ask)} are no valid quote")
        if spec.tiers and self.state.perpetuals[order.instrument].mark is None:
            return Obstacle(ExpiryCode.NO_QUOTE, "no mark price has come, so margin and liquidation are not known")
        assert order.reference_price is not None, "orders without a mid at decision are refused"
        buys = order.side == "BUY"
        direction, touch = (ONE, ask) if buys else (-ONE, bid)
        collar = order.reference_price * (ONE - direction * self.settings.PRICE_COLLAR_PCT)
        if direction * touch < direction * collar:
            return Obstacle(
                ExpiryCode.PRICE_COLLAR,
                f"touch {shown(touch)} is too good to be true, mid was {shown(order.reference_price)}",
            )
        refused = _refused_improvement(order, event, mid_price(bid, ask))
        bid, ask, touch = bid + refused, ask + refused, touch + refused
        bounded = touch * (ONE + direction * self.settings.MAX_SLIPPAGE_PCT)
        request = Request(
            side=order.side,
            quantity=order.remaining,
            protection=bounded if order.price is None else order.price,
            participation=self.settings.PAPER_PARTICIPATION,
            max_levels=self.settings.PAPER_MAX_LEVELS,
            tick_size=spec.tick_size,
            lot_size=spec.lot_size,
        )
        book = TopOfBook(
            bid=bid,
            ask=ask,
            displayed=market.ask_size if buys else market.bid_size,
            taken=market.ask_taken if buys else market.bid_taken,
            volume_60s=market.volume_60s(self.now),
            own_60s=market.own_60s(self.now),
            sigma_1m=market.sigma_1m,
        )
        return attempt_fill(request, book)

    def _book(
        self, order: WorkingOrder, event: MarketData, market: Market, spec: InstrumentSpec, made: PaperFill
    ) -> None:
        market.take(order.side, made.at_touch, made.quantity, self.now)
        self._take_in(order, made.quantity, made.price)
        fee_rate = self.settings.taker_fee(order.venue)
        numbers = {
            **made.numbers,
            "mid_at_decision": order.reference_price,
            "fee_rate": fee_rate,
            "latency_ms": self.settings.PAPER_LATENCY_MS,
            "eligible_from": format_timestamp(order.eligible_from),
            "quote_timestamp": format_timestamp(event.timestamp),
            "quote_event_id": event.event_id,
            "quote_bid": event.bid,
            "quote_ask": event.ask,
            "synthetic": event.synthetic,
        }
        self._report_result(
            order,
            last_quantity=made.quantity,
            last_price=made.price,
            fee=fit(made.quantity * made.price * fee_rate),
            fee_currency=spec.quote,
            liquidity="taker",
            slippage_bps=_slippage_bps(order),
            trade_id=derive_id(str(self.fold.run_id), "trade", order.order_id, order.fills),
            fill=numbers,
        )
        if order.remaining:
            rest = f"{made.limited_by} let {shown(made.quantity)} fill; {shown(order.remaining)} is given up"
            self._report(order, "CANCELED", reason=f"{CancelCode.REMAINDER}: {rest}")

    def _take_in(self, order: WorkingOrder, quantity: Decimal, price: Decimal) -> None:
        """Book a fill in the order and in what is held."""
        key, signed = order.instrument, quantity if order.side == "BUY" else -quantity
        self.state.positions[key] = self._held(key) + signed
        order.book(quantity, price)
        if order.venue == PERPETUAL:
            self._perpetual(key, order.symbol).position.trade(order.side, quantity, price, order.leverage)

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
            forbidden = self._forbidden(order.purpose)
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
            asked = resolving.asked_by(event)
            if asked is not None:
                state.resolutions[event.event_id] = asked
                _keep_last(state.resolutions, resolving.COMMANDS_REMEMBERED)
            return
        settlement = resolving.settlement_of(event, state.resolutions.pop(event.causation_id or "", None))
        if isinstance(settlement, str):
            self._tell("CRITICAL", "RESOLUTION_REFUSED", settlement, {"by": event.by})
            return
        order = next((order for order in state.working if order.order_id == settlement.order_id), None)
        if order is None and settlement.order_id not in state.known_orders:
            order = resolving.order_of(settlement)
        wrong = (
            f"order {settlement.order_id} has ended already"
            if order is None
            else resolving.contradiction(order, settlement) or self._impossible(order, settlement)
        )
        if wrong is not None or order is None:
            self._tell("CRITICAL", "RESOLUTION_REFUSED", str(wrong), {"order_id": settlement.order_id, "by": event.by})
            return
        if settlement.order_id not in state.known_orders:
            state.known_orders[order.order_id] = order.client_order_id
            _keep_last(state.known_orders, ORDERS_REMEMBERED)
            state.working.append(order)
        self._settle(order, settlement, f"{event.by}: {event.reason}")

    def _impossible(self, order: WorkingOrder, settlement: Settlement) -> str | None:
        """Return why what is said to have filled cannot have: it would close more than is held, or turn it around."""
        added, held = settlement.filled_quantity - order.filled_quantity, self._held(order.instrument)
        against = -held if order.side == "BUY" else held
        if order.purpose != "entry" and added > max(against, ZERO):
            return f"order {order.order_id} is said to close {shown(added)}, but {shown(held)} is held"
        if order.purpose == "entry" and added and against > 0:
            return f"order {order.order_id} is said to enter against the {shown(held)} that is held"
        return None

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
            fee_currency=_INSTRUMENTS[order.instrument].quote,
            slippage_bps=_slippage_bps(order),
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
            mode=self._mode,
            **fill,
        )
        state = self.state
        state.counts[status] = state.counts.get(status, 0) + 1
        if status not in TERMINAL:
            return
        # A new list: callers go on iterating over the one that they began with.
        state.working = [other for other in state.working if other is not order]
        state.remember(
            Outcome(
                timestamp=self.now,
                order_id=order.order_id,
                symbol=order.symbol,
                side=order.side,
                purpose=order.purpose,
                status=status,
                quantity=order.quantity,
                filled_quantity=order.filled_quantity,
                average_price=average_price,
                reason=reason,
            )
        )

    @property
    def _mode(self) -> Literal["paper", "shadow", "live"]:
        return self.settings.TRADING_MODE

    def summary(self) -> dict[str, Any]:
        """Return what `/status` shows: trading state, working orders, positions, counts and the last outcomes."""
        return summarise(self.state)


def _refused_improvement(order: WorkingOrder, event: MarketData, mid: Decimal) -> Decimal:
    """Return by how much a constructed quote has to move so that its mid is not better for us than that at decision.

    The path within a candle is made up (the low comes first), so what looks like a better price a moment later is
    not one that anybody could have had. What looks like a worse price is believed.
    """
    assert order.reference_price is not None, "orders without a mid at decision are refused"
    if not event.synthetic:
        return ZERO
    missing = order.reference_price - mid
    return max(ZERO, missing) if order.side == "BUY" else min(ZERO, missing)


def _slippage_bps(order: WorkingOrder) -> Decimal:
    """Return d * (average / mid at decision - 1) * 10^4: positive is worse for us; spread included, fee not."""
    assert order.reference_price is not None, "orders without a mid at decision are refused"
    assert order.average_price is not None, "slippage is that of a fill"
    direction = ONE if order.side == "BUY" else -ONE
    return fit(direction * (divide(order.average_price, order.reference_price) - ONE) * BPS)


def _keep_last(entries: dict[str, Any], count: int) -> None:
    while len(entries) > count:
        del entries[next(iter(entries))]
