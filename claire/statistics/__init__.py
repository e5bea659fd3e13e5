"""Statistics of a run: observe its journal, and ask what it has come to.

    collector = StatisticsCollector()
    for entry in journal:
        collector.observe(entry)
    statistics = collector.result()

Floats appear in ratios only; money stays Decimal to the last digit.
"""

from __future__ import annotations

from claire.statistics.collector import StatisticsCollector
from claire.statistics.definitions import DEFINITIONS, Definition
from claire.statistics.result import Statistics
from claire.statistics.tables import write_equity_csv, write_trades_csv

__all__ = [
    "DEFINITIONS",
    "Definition",
    "Statistics",
    "StatisticsCollector",
    "write_equity_csv",
    "write_trades_csv",
]
