"""What cdb_ws shows of its feed."""

from __future__ import annotations

from services.common.channels import WS
from services.common.runtime.catalogue.definition import Definition

__all__ = [
    "DEFINITIONS",
    "FEED_AGE",
    "FEED_FINISHED",
    "FEED_GAPS",
    "FEED_IGNORED_ROWS",
    "FEED_MARKET_DATA",
    "FEED_MINUTES_COMPARED",
    "FEED_RECONNECTS",
    "FEED_REJECTED_ROWS",
    "FEED_ROWS",
    "FEED_SYMBOL_AGE",
    "FEED_TICKS",
    "FEED_TIME",
    "FEED_TRADES_MISSED",
    "FEED_WITHHELD",
]

_BY_SYMBOL = ("venue", "symbol")
_ONLY = (WS,)

FEED_MARKET_DATA = Definition("cdb_feed_market_data", "counter", "Market data events published.", _ONLY, _BY_SYMBOL)
FEED_GAPS = Definition("cdb_feed_gaps", "counter", "Market data events marked with a gap.", _ONLY, _BY_SYMBOL)
FEED_SYMBOL_AGE = Definition(
    "cdb_feed_symbol_age_seconds",
    "gauge",
    "Feed time since the symbol's last event; NaN before its first.",
    _ONLY,
    _BY_SYMBOL,
)
FEED_AGE = Definition("cdb_feed_age_seconds", "gauge", "Wall time since the last batch.", _ONLY)
FEED_TIME = Definition("cdb_feed_time_seconds", "gauge", "Feed time of the last batch, Unix time.", _ONLY)
FEED_TICKS = Definition("cdb_feed_ticks", "counter", "Ticks of the clock published.", _ONLY)
FEED_WITHHELD = Definition(
    "cdb_feed_withheld_batches", "counter", "Batches merged into a later one for want of memory.", _ONLY
)
FEED_RECONNECTS = Definition(
    "cdb_feed_reconnects", "counter", "Connections to the exchange that were lost or cut for silence.", _ONLY
)
FEED_MINUTES_COMPARED = Definition(
    "cdb_feed_minutes_compared",
    "counter",
    "Closed minutes whose trades were compared with the exchange's bar: equal, healed (trades were missing and are "
    "counted now), differs (bar and trades of the exchange do not agree), begun (only a part was watched), unknown.",
    _ONLY,
    (*_BY_SYMBOL, "verdict"),
)
FEED_TRADES_MISSED = Definition(
    "cdb_feed_trades_missed",
    "counter",
    "Trades that a living stream did not bring and the comparison found.",
    _ONLY,
    _BY_SYMBOL,
)
FEED_ROWS = Definition("cdb_feed_rows", "gauge", "Rows read from the recordings.", _ONLY)
FEED_REJECTED_ROWS = Definition("cdb_feed_rejected_rows", "gauge", "Rows skipped as unusable.", _ONLY)
FEED_IGNORED_ROWS = Definition("cdb_feed_ignored_rows", "gauge", "Rows of symbols that are not played.", _ONLY)
FEED_FINISHED = Definition("cdb_feed_finished", "gauge", "1 when the recording has ended.", _ONLY)

DEFINITIONS = (
    FEED_MARKET_DATA,
    FEED_MINUTES_COMPARED,
    FEED_TRADES_MISSED,
    FEED_GAPS,
    FEED_SYMBOL_AGE,
    FEED_AGE,
    FEED_TIME,
    FEED_TICKS,
    FEED_WITHHELD,
    FEED_RECONNECTS,
    FEED_ROWS,
    FEED_REJECTED_ROWS,
    FEED_IGNORED_ROWS,
    FEED_FINISHED,
)
