"""cdb_execution as a pure state machine: approved orders in, order results out, on paper or at the exchange.

Two keys open it: a decision of cdb_risk that covers the order, and execution's own trading state. On paper, what it
accepts it reports NEW and fills only from market data that come after the order and its latency; in shadow and live
mode it reports SUBMITTING, and the shell takes it from there (`live/`).
"""

from __future__ import annotations

from typing import Any, ClassVar

from services.cdb_execution import resolving
from services.cdb_execution.codes import CancelCode, ExpiryCode, Refusal, RejectCode, shown
from services.cdb_execution.decisions import contradiction
from services.cdb_execution.live.execution import LiveExecution
from services.cdb_execution.live.tracking import LiveOrder
from services.cdb_execution.order_checks import check_order
from services.cdb_execution.order_state import TERMINAL, WorkingOrder, accept
from services.cdb_execution.state import summarise
from services.cdb_execution.trading_state import UNKNOWN, after_command, reported_state
from services.common import channels
from services.common.events import Alert, Control, Event, MarketData, Order, OrderResult, RiskDecision
from services.common.perpetuals import FUNDING_INTERVAL_MIN
from services.common.resolution import Settlement

__all__ = ["ExecutionMachine"]


class ExecutionMachine(LiveExecution):
    """Folds market data, decisions, orders and control into order results."""

    consumes: ClassVar[frozenset[str]] = frozenset(
        {channels.MARKET_DATA, channels.RISK_DECISIONS, channels.ORDERS, channels.ORDER_RESULTS, channels.CONTROL}
    )

    def on_event(self, event: Event) -> None:
        """Fold one event of a consumed channel."""
        if self.state.funding_interval != self.minute // FUNDING_INTERVAL_MIN:
            self._settle_funding()
        if type(event) is MarketData:  # of a pydantic class, `isinstance` costs as much as the rest for another event
            self._on_market_data(event)
            if self._sends:
                self._on_live_market_data(event)
        elif type(event) is Control:
            self._on_control(event)
        elif type(event) is Order:
            self._on_order(event)
        elif type(event) is RiskDecision:
            self._on_decision(event)
        else:
            assert type(event) is OrderResult
            self._on_order_result(event)

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
        if refusal is None:
            refusal = self._live_refusal(order) if self.settings.sends else self._paper_refusal(order)
        self.state.remember_order(order.order_id, order.client_order_id)
        accepted = accept(order, self.now, self.settings)
        if refusal is not None:
            self._report(accepted, "REJECTED", reason=str(refusal))
        elif self.settings.sends:
            self._submit(accepted)
        else:
            self.state.working.append(accepted)
            self._report(accepted, "NEW")
            if accepted.purpose != "entry":
                self._make_way(accepted)

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

    def _on_order_result(self, result: OrderResult) -> None:
        """Fold what the exchange says; our own results follow from what is folded already."""
        if result.producer == channels.EXECUTION and result.causation_id is None:
            self._on_exchange_result(result)

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

    # ends without a fill

    def _on_control(self, event: Control) -> None:
        if event.action == "tick":
            if event.producer == channels.WS:
                self.state.risk_watch.tick(self.now)
            self._risk_is_silent()
            self._on_tick()
        elif event.action == "finished":
            for order in self.state.working:
                self._withdraw(order, f"{CancelCode.FEED_FINISHED}: no further quote will come")
        elif event.action in {"halt", "resume", "flatten"}:
            if self.state.is_repeated(event.command_id) and event.action != "halt":
                return
            self._on_command(event)
        elif event.action == "resolve_order":
            self._on_resolve_order(event)
        elif event.producer == channels.EXECUTION:
            self._on_own_control(event)
        elif event.action == "trading_state" and event.producer == channels.RISK:
            self._on_risk_state(event)
        elif event.action == "heartbeat" and event.producer == channels.RISK:
            self._on_heartbeat(event)

    def _on_own_control(self, event: Control) -> None:
        """Fold what this service has stated itself: what the exchange says, and its own starts."""
        if event.action == "account":
            self._on_account(event)
        elif event.action == "funding" and event.causation_id is None:
            self._on_exchange_funding(event)
        elif event.action == "liquidation" and event.causation_id is None:
            self._on_exchange_liquidation(event)
        elif event.action == "started":
            self._after_own_start()

    def _on_tick(self) -> None:
        if self.settings.sends:
            self._on_live_tick()
        if self.settings.TRADING_MODE == "live":
            return
        for order in self.state.working:
            if self.now >= order.deadline and order.rests:
                self._end_resting(order)
            elif self.now >= order.deadline and order.status != "SUBMITTING":
                self._report(order, "EXPIRED", reason=order.obstacle)

    def _on_command(self, command: Control) -> None:
        before = self.state.trading_state
        after = after_command(before, command)
        if command.action == "resume" and after == "ACTIVE":
            objection = self._resume_objection(command)
            if objection is not None:
                self._tell("CRITICAL", "RESUME_REFUSED", objection, {"by": command.by})
                return
            self._accept_differences()
            self.state.live.canary.resume()
        self.state.trading_state = after
        self._cancel_forbidden()

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
                self._withdraw(order, f"{CancelCode.TRADING_STATE}: {forbidden}")

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
                    self._withdraw(order, f"{CancelCode.RISK_SILENT}: for {shown(seconds)} s")
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
            if self.settings.TRADING_MODE == "live":
                order.live = LiveOrder(sent_at=self.now, quiet_since=self.now)  # it may be there, and fill
        self._settle(order, settlement, f"{event.by}: {event.reason}")

    def _settle(self, order: WorkingOrder, settlement: Settlement, why: str) -> None:
        if order.live is not None:
            order.live.settled = settlement.outcome == "filled"
            self.state.live.revision += 1
        if settlement.outcome == "never_arrived":
            self._report(order, "EXPIRED", reason=f"{ExpiryCode.NEVER_ARRIVED}: {why}")
            return
        if settlement.price is not None:
            self._book_resolved(order, settlement, settlement.price, why)
        if order.status not in TERMINAL:
            self._report(order, "CANCELED", reason=f"{CancelCode.RESOLVED}: {why}")
