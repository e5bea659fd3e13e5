"""What cdb_execution folds, and how `/status` shows it."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any, Final

from services.cdb_execution.dead_man import RiskWatch
from services.cdb_execution.decisions import DecisionRecord
from services.cdb_execution.market import Market
from services.cdb_execution.order_state import WorkingOrder
from services.cdb_execution.perpetuals import Perpetual
from services.cdb_execution.resolving import Asked
from services.cdb_execution.trading_state import TradingState
from services.common.timestamps import format_timestamp

__all__ = ["ExecutionState", "Outcome", "summarise"]

OUTCOMES_SHOWN: Final = 20
COMMANDS_REMEMBERED: Final = 256


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

    def is_repeated(self, command_id: str | None) -> bool:
        """Tell whether a command came before; it has now."""
        if command_id is None:
            return False
        repeated = command_id in self.commands
        self.commands = [*(known for known in self.commands if known != command_id), command_id][-COMMANDS_REMEMBERED:]
        return repeated

    def remember(self, outcome: Outcome) -> None:
        """Keep how an order ended, among the last few."""
        self.outcomes.append(outcome)
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
        "last_outcomes": [
            {**asdict(outcome), "timestamp": format_timestamp(outcome.timestamp)} for outcome in state.outcomes
        ],
    }
