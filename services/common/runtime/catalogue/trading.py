"""What cdb_core, cdb_risk and cdb_execution show of the trading itself."""

from __future__ import annotations

from services.common.channels import CORE, EXECUTION, RISK
from services.common.runtime.catalogue.definition import Definition

__all__ = [
    "BARS_MISSING",
    "CASH",
    "CONDITIONS",
    "DAILY_PNL",
    "DECISIONS",
    "DEFINITIONS",
    "DRAWDOWN",
    "EQUITY",
    "EXPOSURE",
    "EXPOSURE_RATIO",
    "FEES",
    "FEES_PAID",
    "FILLS",
    "FILL_NOTIONAL",
    "FUNDING",
    "HEADROOM",
    "JOURNAL_PRESSURE",
    "LATCHED_EXITS",
    "LAYER_VERDICTS",
    "LOSS_STREAK",
    "MARGIN",
    "MARKET_DATA_AGE",
    "MOMENTUM",
    "MOMENTUM_THRESHOLD",
    "OPEN_POSITIONS",
    "ORDER_RESULTS",
    "ORDER_TIME",
    "PEAK_EQUITY",
    "POSITION_VALUE",
    "REALIZED_PNL",
    "RECONCILIATION_DIFFERENCES",
    "RISK_SILENT",
    "SIGNALS",
    "SLIPPAGE",
    "START_OF_DAY_EQUITY",
    "TRADING_LATCH",
    "TRADING_STATE",
    "UNREALIZED_PNL",
    "WORKING_ORDERS",
]

_CORE, _RISK, _EXECUTION = (CORE,), (RISK,), (EXECUTION,)
_BY_INSTRUMENT = ("instrument",)

SIGNALS = Definition("cdb_signals", "counter", "Signals given.", _CORE, ("intent", "signal_type"))
MOMENTUM = Definition(
    "cdb_momentum_ratio", "gauge", "Momentum of the last bar, a fraction; NaN while unknown.", _CORE, _BY_INSTRUMENT
)
MOMENTUM_THRESHOLD = Definition(
    "cdb_momentum_threshold_ratio",
    "gauge",
    "Momentum that an entry needs, a fraction; NaN while unknown.",
    _CORE,
    _BY_INSTRUMENT,
)
BARS_MISSING = Definition(
    "cdb_warmup_missing_bars", "gauge", "Bars still missing before the instrument is decided on.", _CORE, _BY_INSTRUMENT
)

DECISIONS = Definition("cdb_decisions", "counter", "Decisions of risk.", _RISK, ("purpose", "verdict"))
LAYER_VERDICTS = Definition(
    "cdb_layer_verdicts",
    "counter",
    "Verdicts of the seven layers, one of each per decision.",
    _RISK,
    ("layer", "status"),
)
HEADROOM = Definition(
    "cdb_headroom_ratio",
    "gauge",
    "What is left of a limit, a fraction; NaN while unknown or switched off.",
    _RISK,
    ("limit",),
)
EQUITY = Definition("cdb_equity_usdt", "gauge", "Cash and positions at mark; NaN while unknown.", _RISK)
CASH = Definition("cdb_cash_usdt", "gauge", "Cash, free and locked.", _RISK)
START_OF_DAY_EQUITY = Definition("cdb_start_of_day_equity_usdt", "gauge", "Equity at 00:00 UTC.", _RISK)
PEAK_EQUITY = Definition("cdb_peak_equity_usdt", "gauge", "Highest equity since the breaker was last reset.", _RISK)
DAILY_PNL = Definition("cdb_daily_pnl_usdt", "gauge", "Equity less start-of-day equity.", _RISK)
DRAWDOWN = Definition("cdb_drawdown_ratio", "gauge", "1 - equity / peak equity.", _RISK)
EXPOSURE = Definition(
    "cdb_exposure_usdt", "gauge", "Worst case: positions and pending entries at mark; NaN while unknown.", _RISK
)
EXPOSURE_RATIO = Definition("cdb_exposure_ratio", "gauge", "Exposure as a share of equity.", _RISK)
REALIZED_PNL = Definition("cdb_realized_pnl_usdt", "gauge", "Of everything closed, fees not included.", _RISK)
UNREALIZED_PNL = Definition("cdb_unrealized_pnl_usdt", "gauge", "Of what is held, at mark.", _RISK)
FEES = Definition("cdb_fees_usdt", "gauge", "Fees paid in this run.", _RISK)
FUNDING = Definition("cdb_funding_usdt", "gauge", "Funding received less paid in this run.", _RISK)
MARGIN = Definition("cdb_margin_usdt", "gauge", "Isolated margin of the perpetual positions.", _RISK)
OPEN_POSITIONS = Definition("cdb_open_positions", "gauge", "Instruments held.", _RISK)
POSITION_VALUE = Definition(
    "cdb_position_value_usdt", "gauge", "Signed value of a position at mark.", _RISK, _BY_INSTRUMENT
)
MARKET_DATA_AGE = Definition(
    "cdb_market_data_age_seconds",
    "gauge",
    "Run time since the instrument's last valid quote, as risk sees it; NaN before the first.",
    _RISK,
    _BY_INSTRUMENT,
)
TRADING_STATE = Definition(
    "cdb_trading_state",
    "gauge",
    "1 for the state that the service is in: ACTIVE, REDUCING, HALTED or FROZEN.",
    (RISK, EXECUTION),
    ("state",),
)
TRADING_LATCH = Definition("cdb_trading_latch", "gauge", "1 while this cause restricts trading.", _RISK, ("latch",))
CONDITIONS = Definition(
    "cdb_conditions", "gauge", "How many things an operator must act on hold now, by alert code.", _RISK, ("code",)
)
LATCHED_EXITS = Definition("cdb_latched_exits", "gauge", "Exits that wait to leave.", _RISK)
JOURNAL_PRESSURE = Definition(
    "cdb_journal_pressure",
    "gauge",
    "1 for the memory pressure of the journal: none, market_data or entries.",
    _RISK,
    ("level",),
)
LOSS_STREAK = Definition("cdb_loss_streak", "gauge", "Round trips lost in a row.", _RISK)

WORKING_ORDERS = Definition(
    "cdb_working_orders", "gauge", "Orders that have not ended, by status.", (RISK, EXECUTION), ("status",)
)
ORDER_RESULTS = Definition("cdb_order_results", "counter", "Order results, by status.", _EXECUTION, ("status",))
FILLS = Definition("cdb_fills", "counter", "Fills.", _EXECUTION, ("side",))
FILL_NOTIONAL = Definition("cdb_fill_notional_usdt", "counter", "Value of all fills.", _EXECUTION, ("side",))
FEES_PAID = Definition("cdb_fees_paid_usdt", "counter", "Fees of all fills, those in quote currency.", _EXECUTION)
SLIPPAGE = Definition(
    "cdb_slippage_ratio",
    "histogram",
    "Slippage of a fill against mid at the decision, a fraction; above 0 is worse for us.",
    _EXECUTION,
    buckets=(0.0, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02),
)
ORDER_TIME = Definition(
    "cdb_order_seconds",
    "histogram",
    "Run time from an order's acceptance to its end.",
    _EXECUTION,
    buckets=(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
)
RISK_SILENT = Definition("cdb_risk_silent", "gauge", "1 while risk does not answer the clock: no entry.", _EXECUTION)
RECONCILIATION_DIFFERENCES = Definition(
    "cdb_reconciliation_differences",
    "gauge",
    "Differences between exchange and books at the last reconciliation; 0 on paper.",
    _EXECUTION,
)

DEFINITIONS = (
    SIGNALS,
    MOMENTUM,
    MOMENTUM_THRESHOLD,
    BARS_MISSING,
    DECISIONS,
    LAYER_VERDICTS,
    HEADROOM,
    EQUITY,
    CASH,
    START_OF_DAY_EQUITY,
    PEAK_EQUITY,
    DAILY_PNL,
    DRAWDOWN,
    EXPOSURE,
    EXPOSURE_RATIO,
    REALIZED_PNL,
    UNREALIZED_PNL,
    FEES,
    FUNDING,
    MARGIN,
    OPEN_POSITIONS,
    POSITION_VALUE,
    MARKET_DATA_AGE,
    TRADING_STATE,
    TRADING_LATCH,
    CONDITIONS,
    LATCHED_EXITS,
    JOURNAL_PRESSURE,
    LOSS_STREAK,
    WORKING_ORDERS,
    ORDER_RESULTS,
    FILLS,
    FILL_NOTIONAL,
    FEES_PAID,
    SLIPPAGE,
    ORDER_TIME,
    RISK_SILENT,
    RECONCILIATION_DIFFERENCES,
)
