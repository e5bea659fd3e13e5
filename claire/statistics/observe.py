"""Statistics of a whole history, checked against its hash chain on the way."""

from __future__ import annotations

from psycopg2.extensions import connection
from rich.console import Console

from claire.history.source import DatabaseHistory, History, export_folder
from claire.progress import Tell, progress_bar
from claire.statistics.collector import StatisticsCollector
from claire.statistics.result import Statistics
from services.common.decimals import use_fixed_context

__all__ = ["observe", "statistics_of"]


def observe(history: History, tell: Tell) -> tuple[Statistics, str]:
    """Return the statistics of the last run in a history, and the hash at the end of its chain.

    Args:
        history: read from its beginning, in constant memory.
        tell: called with each journal number.

    Raises:
        HistoryUnusable: something cannot be read; it is named.
        ChainBroken: an entry is not what was hashed.
        IllegalTransition: a fill contradicts the ledger.
    """
    use_fixed_context()
    collector, tip = StatisticsCollector(), ""
    for entry, head in history.links():
        collector.observe(entry)
        tip = head.hash.hex()
        tell(head.seq)
    return collector.result(), tip


def statistics_of(database: connection, where: str) -> Statistics:
    """Return the statistics of the last run in a database, with a bar on standard error; see :func:`observe`."""
    history = DatabaseHistory(database, where, export_folder(None))
    with progress_bar(Console(stderr=True), "reading", history.total) as tell:
        return observe(history, tell)[0]
