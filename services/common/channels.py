"""Names of the Redis channels, the services, and who may admit foreign messages where."""

from __future__ import annotations

from typing import Final

__all__ = [
    "ALERTS",
    "CHANNELS",
    "CONTROL",
    "CORE",
    "EXECUTION",
    "FOREIGN_OWNER",
    "MARKET_DATA",
    "NOTIFIER",
    "ONLOOKERS",
    "OPERATOR",
    "ORDERS",
    "ORDER_RESULTS",
    "RISK",
    "RISK_DECISIONS",
    "SERVICES",
    "SIGNALS",
    "TURNSTILE_ORDER",
    "WRITER",
    "WS",
]

MARKET_DATA: Final = "market_data"
SIGNALS: Final = "signals"
ORDERS: Final = "orders"
ORDER_RESULTS: Final = "order_results"
ALERTS: Final = "alerts"
RISK_DECISIONS: Final = "risk_decisions"
CONTROL: Final = "control"

CHANNELS: Final = (MARKET_DATA, SIGNALS, ORDERS, ORDER_RESULTS, ALERTS, RISK_DECISIONS, CONTROL)

WS: Final = "cdb_ws"
CORE: Final = "cdb_core"
RISK: Final = "cdb_risk"
EXECUTION: Final = "cdb_execution"
WRITER: Final = "cdb_writer"
NOTIFIER: Final = "cdb_notifier"
OPERATOR: Final = "operator"

SERVICES: Final = (WS, CORE, RISK, EXECUTION, WRITER)
"""Who takes part in a run: it begins when all have announced themselves."""

ONLOOKERS: Final = (NOTIFIER,)
"""Who reads along and publishes nothing: no run waits for them, and the journal is trimmed without asking them."""

TURNSTILE_ORDER: Final = (CORE, RISK, EXECUTION)
"""The order in which the deciding services handle one journal entry when a run must be repeatable."""

FOREIGN_OWNER: Final = {
    MARKET_DATA: CORE,
    SIGNALS: RISK,
    ALERTS: WRITER,
    CONTROL: WRITER,
    ORDERS: EXECUTION,
    RISK_DECISIONS: EXECUTION,
    ORDER_RESULTS: RISK,
}
"""Which service looks at a message that did not come through the journal (orders, decisions, results: dead letters)."""
