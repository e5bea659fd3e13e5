"""What cdb_execution says, whatever made it: order results and alerts.

The paper exchange and live trading decide, each in its own way, what becomes of an order; both say it with these.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar, Literal

from services.cdb_execution.order_state import TERMINAL, OrderStatus, WorkingOrder
from services.cdb_execution.settings import ExecutionSettings
from services.cdb_execution.state import ExecutionState
from services.common import channels
from services.common.events import Alert, OrderResult
from services.common.machine import StateMachine

__all__ = ["ReportingMachine"]


class ReportingMachine(StateMachine[ExecutionSettings, ExecutionState]):
    """The outputs of execution and what each of them leaves in its state."""

    service: ClassVar[str] = channels.EXECUTION
    settings_type: ClassVar[type[ExecutionSettings]] = ExecutionSettings
    state_type: ClassVar[type[ExecutionState]] = ExecutionState

    def _tell(
        self, level: Literal["INFO", "CRITICAL"], code: str, message: str, context: dict[str, str | Decimal | None]
    ) -> None:
        self.emit(Alert, level=level, code=code, message=message, context=context)

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
