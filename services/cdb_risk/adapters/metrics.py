"""What cdb_risk shows: decisions by layer, money and limits, trading state, and what an operator must act on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, get_args

from prometheus_client import CollectorRegistry

from services.cdb_risk.trading_state import LatchName, TradingMode
from services.cdb_risk.watch import CODES
from services.common.events import LAYERS, Event, LayerStatus, OrderStatus, Purpose, RiskDecision
from services.common.runtime.catalogue import trading
from services.common.runtime.catalogue.definition import Definition
from services.common.runtime.machine_metrics import MachineMetrics, Reading

__all__ = ["RiskMetrics"]

_PRESSURES = ("none", "market_data", "entries")
_MONEY: dict[Definition, str] = {
    trading.EQUITY: "equity",
    trading.CASH: "cash",
    trading.START_OF_DAY_EQUITY: "start_of_day_equity",
    trading.PEAK_EQUITY: "peak_equity",
    trading.DAILY_PNL: "daily_pnl",
    trading.DRAWDOWN: "drawdown",
    trading.EXPOSURE: "exposure",
    trading.REALIZED_PNL: "realized_pnl",
    trading.UNREALIZED_PNL: "unrealized_pnl",
    trading.FEES: "fees",
    trading.FUNDING: "funding",
    trading.MARGIN: "margin",
    trading.LOSS_STREAK: "losses_in_a_row",
}


class RiskMetrics(MachineMetrics):
    """Counts decisions and their layers; reads account, limits, state and conditions."""

    gauges: ClassVar[tuple[Definition, ...]] = (
        *_MONEY,
        trading.EXPOSURE_RATIO,
        trading.HEADROOM,
        trading.OPEN_POSITIONS,
        trading.POSITION_VALUE,
        trading.MARKET_DATA_AGE,
        trading.TRADING_STATE,
        trading.TRADING_LATCH,
        trading.CONDITIONS,
        trading.LATCHED_EXITS,
        trading.JOURNAL_PRESSURE,
        trading.WORKING_ORDERS,
    )

    def __init__(self, registry: CollectorRegistry, summary: Callable[[], Mapping[str, Any] | None]) -> None:
        """Register everything."""
        super().__init__(registry, summary)
        self._decisions = trading.DECISIONS.counter(registry)
        self._layers = trading.LAYER_VERDICTS.counter(registry)
        for purpose in get_args(Purpose):
            for verdict in ("approved", "refused"):
                self._decisions.labels(purpose, verdict)
        for layer in LAYERS:
            for status in get_args(LayerStatus):
                self._layers.labels(layer, status)

    def published(self, events: Sequence[Event]) -> None:
        """Count the decisions and what each layer said."""
        for event in events:
            if isinstance(event, RiskDecision):
                self._decisions.labels(event.purpose, "approved" if event.approved else "refused").inc()
                for verdict in event.layers:
                    self._layers.labels(verdict.layer, verdict.status).inc()

    def readings(self, summary: Mapping[str, Any]) -> Iterable[Reading]:
        """Return account, limits, state and conditions."""
        for definition, name in _MONEY.items():
            yield definition, (), summary[name]
        equity, exposure = summary["equity"], summary["exposure"]
        yield trading.EXPOSURE_RATIO, (), float(exposure) / float(equity) if equity and exposure is not None else None
        for limit, left in summary["headroom"].items():
            yield trading.HEADROOM, (limit,), left
        yield from self._holdings(summary)
        yield from self._state(summary)

    @staticmethod
    def _holdings(summary: Mapping[str, Any]) -> Iterable[Reading]:
        yield trading.OPEN_POSITIONS, (), len(summary["positions"])
        for position in summary["positions"]:
            yield trading.POSITION_VALUE, (position["instrument"],), position["value"]
        yield trading.LATCHED_EXITS, (), len(summary["latched_exits"])
        working = Counter(order["status"] for order in summary["working_orders"])
        for status in ("PENDING", *get_args(OrderStatus)):
            yield trading.WORKING_ORDERS, (status,), working[status]
        for key, age_ms in summary["quote_age_ms"].items():
            yield trading.MARKET_DATA_AGE, (key,), None if age_ms is None else age_ms / 1000

    @staticmethod
    def _state(summary: Mapping[str, Any]) -> Iterable[Reading]:
        for mode in get_args(TradingMode):
            yield trading.TRADING_STATE, (mode,), summary["trading_state"] == mode
        for latch in get_args(LatchName):
            yield trading.TRADING_LATCH, (latch,), latch in summary["causes"]
        for code in CODES:
            yield trading.CONDITIONS, (code,), summary["conditions"].get(code, 0)
        for level in _PRESSURES:
            yield trading.JOURNAL_PRESSURE, (level,), summary["journal_pressure"] == level
