"""What cdb_execution shows: orders by state, fills with fees and slippage, and its own two keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, get_args

from prometheus_client import CollectorRegistry

from services.cdb_execution.order_state import TERMINAL, OrderStatus
from services.cdb_execution.trading_state import TradingState
from services.common.events import Event, OrderResult
from services.common.runtime.catalogue import process, trading
from services.common.runtime.catalogue.definition import Definition
from services.common.runtime.machine_metrics import MachineMetrics, Reading
from services.common.timestamps import SECOND_US

__all__ = ["ExecutionMetrics"]


class ExecutionMetrics(MachineMetrics):
    """Counts order results and fills; reads working orders and trading state."""

    gauges: ClassVar[tuple[Definition, ...]] = (
        trading.TRADING_STATE,
        trading.WORKING_ORDERS,
        trading.RISK_SILENT,
        trading.RECONCILIATION_DIFFERENCES,
    )

    def __init__(self, registry: CollectorRegistry, summary: Callable[[], Mapping[str, Any] | None]) -> None:
        """Register everything."""
        super().__init__(registry, summary)
        self._results = trading.ORDER_RESULTS.counter(registry)
        self._fills = trading.FILLS.counter(registry)
        self._notional = trading.FILL_NOTIONAL.counter(registry)
        self._fees = trading.FEES_PAID.counter(registry)
        self._slippage = trading.SLIPPAGE.histogram(registry)
        self._order_time = trading.ORDER_TIME.histogram(registry)
        self.clock_offset = process.EXCHANGE_CLOCK_OFFSET.gauge(registry)
        self._begun: dict[str, int] = {}
        for status in get_args(OrderStatus):
            self._results.labels(status)
        for by_side in (self._fills, self._notional):
            for side in ("BUY", "SELL"):
                by_side.labels(side)

    def published(self, events: Sequence[Event]) -> None:
        """Count the order results."""
        for event in events:
            if isinstance(event, OrderResult):
                self._results.labels(event.status).inc()
                self._time(event)
                if event.last_quantity and event.last_price is not None:
                    self._fill(event, float(event.last_quantity * event.last_price))

    def _time(self, result: OrderResult) -> None:
        if result.status not in TERMINAL:
            self._begun.setdefault(result.order_id, result.timestamp)
            return
        begun = self._begun.pop(result.order_id, None)  # an order of before this start has none
        if begun is not None:
            self._order_time.observe((result.timestamp - begun) / SECOND_US)

    def _fill(self, result: OrderResult, notional: float) -> None:
        self._fills.labels(result.side).inc()
        self._notional.labels(result.side).inc(notional)
        if result.fee is not None and result.fee > 0 and result.symbol.endswith(result.fee_currency or ""):
            self._fees.inc(float(result.fee))
        if result.slippage_bps is not None:
            self._slippage.observe(float(result.slippage_bps) / 10_000)

    def readings(self, summary: Mapping[str, Any]) -> Iterable[Reading]:
        """Return working orders and trading state."""
        for state in get_args(TradingState):
            yield trading.TRADING_STATE, (state,), summary["trading_state"] == state
        working = Counter(order["status"] for order in summary["working_orders"])
        for status in get_args(OrderStatus):
            yield trading.WORKING_ORDERS, (status,), working[status]
        yield trading.RISK_SILENT, (), summary["risk_silent"]
        yield trading.RECONCILIATION_DIFFERENCES, (), summary.get("reconciliation", {}).get("differences", 0)
