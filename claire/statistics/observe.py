"""Statistics of a whole history, checked against its hash chain on the way."""

from __future__ import annotations

from psycopg2.extensions import connection
from rich.console import Console

from claire.history.record import HistoryUnusable
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
        HistoryUnusable: something cannot be read; it is named. Or the history is a part that lacks how its run began.
        ChainBroken: an entry is not what was hashed.
        IllegalTransition: a fill contradicts the ledger.
    """
    use_fixed_context()
    collector, tip = StatisticsCollector(), ""
    for entry, head in history.links():
        collector.observe(entry)
        tip = head.hash.hex()
        tell(head.seq)
    statistics = collector.result()
    if statistics.events.get("market_data") and not statistics.portfolio:
        raise HistoryUnusable(
            f"{history.where} is a part of a run without the settings of cdb_risk at its beginning, so nobody knows "
            "what the account held: take the whole journal"
        )
    return statistics, tip


def statistics_of(database: connection, where: str) -> Statistics:
    """Return the statistics of the last run in a database, with a bar on standard error; see :func:`observe`."""
    history = DatabaseHistory(database, where, export_folder(None))
    with progress_bar(Console(stderr=True), "reading", history.total) as tell:
        return observe(history, tell)[0]
