"""What cdb_execution folds, and how `/status` shows it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any, Final

from services.cdb_execution.dead_man import RiskWatch
from services.cdb_execution.decisions import DECISIONS_REMEMBERED, DecisionRecord, record_of
from services.cdb_execution.live.state import LiveState
from services.cdb_execution.market import Market
from services.cdb_execution.order_state import WorkingOrder
from services.cdb_execution.perpetuals import Perpetual
from services.cdb_execution.resolving import COMMANDS_REMEMBERED as RESOLUTIONS_REMEMBERED
from services.cdb_execution.resolving import Asked, asked_by
from services.cdb_execution.trading_state import TradingState, permits, risk_permits
from services.common.decimals import ZERO
from services.common.events import Control, RiskDecision
from services.common.instruments import PERPETUAL
from services.common.portfolio import Position
from services.common.timestamps import format_timestamp

__all__ = ["ExecutionState", "Outcome", "summarise"]

OUTCOMES_SHOWN: Final = 20
COMMANDS_REMEMBERED: Final = 256
ORDERS_REMEMBERED: Final = 2_048
ENDED_REMEMBERED: Final = 64
"""As many as the writer keeps: a fill of an older one is nobody's, and told as a difference."""


@dataclass
class Outcome:
    """The end of an order, for people: kept for the last few."""

    timestamp: int
    order_id: str
    symbol: str
    side: str
    purpose: str
    status: str
    quantity: Decimal
    filled_quantity: Decimal
    average_price: Decimal | None
    reason: str | None


@dataclass
class ExecutionState:
    """What execution folds.

    Attributes:
        trading_state: the operator's commands, folded.
        risk_state: what risk reported last.
        risk_watch: whether risk still answers the clock.
        markets: by instrument key.
        positions: base units bought less sold in this run, by instrument key; signed on perpetuals.
        perpetuals: what the exchange keeps of each perpetual that has had market data.
        funding_interval: number of the eight hours (since the epoch) up to which funding is settled.
        decisions: the last decisions of cdb_risk by their event id, oldest first.
        working: orders that have not ended, in the order of their acceptance.
        known_orders: client order id by order id of the last orders, oldest first.
        resolutions: operators' commands to end an order, by event id, until risk answers.
        counts: order results by status.
        outcomes: how the last orders ended.
        commands: ids of the last commands, oldest first.
        live: what live trading folds.
        ended: the last orders at the exchange that have ended, by order id: news of them may still come.
    """

    trading_state: TradingState = "ACTIVE"
    risk_state: str = "ACTIVE"
    risk_watch: RiskWatch = field(default_factory=RiskWatch)
    markets: dict[str, Market] = field(default_factory=dict)
    positions: dict[str, Decimal] = field(default_factory=dict)
    perpetuals: dict[str, Perpetual] = field(default_factory=dict)
    funding_interval: int | None = None
    decisions: dict[str, DecisionRecord] = field(default_factory=dict)
    working: list[WorkingOrder] = field(default_factory=list)
    known_orders: dict[str, str] = field(default_factory=dict)
    resolutions: dict[str, Asked] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    outcomes: deque[Outcome] = field(default_factory=deque)
    commands: list[str] = field(default_factory=list)
    live: LiveState = field(default_factory=LiveState)
    ended: dict[str, WorkingOrder] = field(default_factory=dict)

    def sent(self) -> Iterator[WorkingOrder]:
        """Yield the orders at the exchange, those that have ended last."""
        yield from (order for order in self.working if order.live is not None)
        yield from self.ended.values()

    def is_repeated(self, command_id: str | None) -> bool:
        """Tell whether a command came before; it has now."""
        if command_id is None:
            return False
        repeated = command_id in self.commands
        self.commands = [*(known for known in self.commands if known != command_id), command_id][-COMMANDS_REMEMBERED:]
        return repeated

    def forbidden(self, purpose: str) -> str | None:
        """Return which trading state forbids this purpose; None when both let it through."""
        if not permits(self.trading_state, purpose):
            return f"execution is {self.trading_state}"
        if not risk_permits(self.risk_state, purpose):
            return f"risk is {self.risk_state}"
        return None

    def held(self, key: str) -> Decimal:
        """Base units held, signed."""
        return self.positions.get(key, ZERO)

    def can_hold(self, order: WorkingOrder, quantity: Decimal) -> bool:
        """Whether a fill leaves a position that there can be: none below zero on spot, no perpetual turned around."""
        held = self.held(order.instrument)
        closed = held if order.side == "SELL" else -held
        return (
            quantity <= closed
            or (order.venue == PERPETUAL and closed <= 0)
            or (order.venue != PERPETUAL and order.side == "BUY")
        )

    def reference_price(self, key: str) -> Decimal | None:
        """Return what the exchange measures limits from: the mark of a perpetual, else the last price."""
        perpetual = self.perpetuals.get(key)
        if perpetual is not None:
            return perpetual.mark
        market = self.markets.get(key)
        return None if market is None else market.close

    def closable(self, key: str, side: str) -> Decimal:
        """Base units that an order of this side can close: held in the other direction and not already being closed."""
        being_closed = (
            order.remaining for order in self.working if order.instrument == key and order.purpose != "entry"
        )
        held = self.held(key) if side == "SELL" else -self.held(key)
        return held - sum(being_closed, ZERO)

    def entering(self, key: str) -> Decimal:
        """Base units that working entries may still add, signed."""
        entries = (order for order in self.working if order.instrument == key and order.purpose == "entry")
        return sum((order.remaining if order.side == "BUY" else -order.remaining for order in entries), ZERO)

    def perpetual(self, key: str, symbol: str) -> Perpetual:
        """Return what the exchange keeps of a perpetual, from now on if it is new."""
        perpetual = self.perpetuals.get(key)
        if perpetual is None:
            perpetual = self.perpetuals[key] = Perpetual(Position(PERPETUAL, symbol))
        return perpetual

    def remember_decision(self, decision: RiskDecision) -> None:
        """Keep a decision among the last ones."""
        self.decisions[decision.event_id] = record_of(decision)
        _keep_last(self.decisions, DECISIONS_REMEMBERED)

    def remember_order(self, order_id: str, client_order_id: str) -> None:
        """Keep an order's ids among the last ones, so that neither is taken twice."""
        self.known_orders[order_id] = client_order_id
        _keep_last(self.known_orders, ORDERS_REMEMBERED)

    def remember_resolution(self, command: Control) -> None:
        """Keep an operator's `resolve_order` until risk answers, if it says enough to be answered."""
        asked = asked_by(command)
        if asked is not None:
            self.resolutions[command.event_id] = asked
            _keep_last(self.resolutions, RESOLUTIONS_REMEMBERED)

    def end(self, order: WorkingOrder, now: int, reason: str | None) -> None:
        """Take an order that has reached its end from those that work, and keep how it ended among the last few."""
        assert order.status is not None, "an end is a status"
        # A new list: callers go on iterating over the one that they began with.
        self.working = [other for other in self.working if other is not order]
        if order.live is not None:
            self.ended[order.order_id] = order
            _keep_last(self.ended, ENDED_REMEMBERED)
        self.outcomes.append(
            Outcome(
                timestamp=now,
                order_id=order.order_id,
                symbol=order.symbol,
                side=order.side,
                purpose=order.purpose,
                status=order.status,
                quantity=order.quantity,
                filled_quantity=order.filled_quantity,
                average_price=order.average_price,
                reason=reason,
            )
        )
        while len(self.outcomes) > OUTCOMES_SHOWN:
            self.outcomes.popleft()


def summarise(state: ExecutionState) -> dict[str, Any]:
    """Return the state as `/status` shows it: Decimals, text and plain containers."""
    return {
        "trading_state": state.trading_state,
        "risk_state": state.risk_state,
        "risk_silent": state.risk_watch.silent,
        "working_orders": [
            {
                "order_id": order.order_id,
                "symbol": order.symbol,
                "side": order.side,
                "purpose": order.purpose,
                "status": order.status,
                "quantity": order.quantity,
                "filled_quantity": order.filled_quantity,
                "price": order.price,
                "deadline": format_timestamp(order.deadline),
                "obstacle": order.obstacle,
            }
            for order in state.working
        ],
        "positions": {key: quantity for key, quantity in state.positions.items() if quantity},
        "perpetuals": {key: perpetual.shown() for key, perpetual in state.perpetuals.items()},
        "order_results": dict(state.counts),
        **_live(state),
        "last_outcomes": [
            {**asdict(outcome), "timestamp": format_timestamp(outcome.timestamp)} for outcome in state.outcomes
        ],
    }


def _live(state: ExecutionState) -> dict[str, Any]:
    """Return what is shown of live trading; nothing on paper."""
    live = state.live
    if live.mode is None and live.last is None:
        return {}
    last = live.last
    return {
        "last_reconciliation": None if last is None else format_timestamp(last.at),
        "reconciliation": {
            "verdict": None if last is None else last.verdict,
            "differences": len(live.differences),
            "to_accept": [difference.shown() for difference in live.differences],
        },
        "unknown_orders": [
            {
                "order_id": order.order_id,
                "since": format_timestamp(order.live.unknown_since),
                "asked": order.live.queries,
            }
            for order in state.working
            if order.live is not None and order.live.unknown_since is not None
        ],
        "canary": {"fills": live.canary.fills, "paused": live.canary.paused},
    }


def _keep_last(entries: dict[str, Any], count: int) -> None:
    while len(entries) > count:
        del entries[next(iter(entries))]
