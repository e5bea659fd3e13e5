"""What the page shows of the database: the curve of the run going on, its last decisions, alerts and counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import psycopg2

from claire.stats import current_run
from services.common import channels
from services.common.events import Alert, RiskDecision, parse_event

__all__ = ["RUN", "SPANS", "CurvePoint", "Decided", "Mark", "Past", "read_curve", "read_past"]

RUN: Final = "run"
SPANS: Final = (RUN, "week", "day")
DECISIONS: Final = 25
ALERTS: Final = 8
MARKS: Final = 120
BUCKETS: Final = 120
"""Stretches of the run's time; of each the lowest, highest, deepest and last point are kept: at most 485 in all."""
COUNTED: Final = (channels.SIGNALS, channels.RISK_DECISIONS, channels.ORDERS, channels.ORDER_RESULTS, channels.ALERTS)

CURVE: Final = """
WITH run AS (
    SELECT extract(epoch FROM timestamp)::numeric AS at, total_equity::numeric AS equity, drawdown_pct::numeric AS fall
    FROM portfolio_snapshots WHERE run_id = %(run)s AND timestamp >= (
        SELECT CASE %(span)s WHEN 'day' THEN date_trunc('day', max(timestamp))
                             WHEN 'week' THEN max(timestamp) - interval '7 days' ELSE '-infinity' END
        FROM portfolio_snapshots WHERE run_id = %(run)s)
), span AS (SELECT min(at) AS first, max(at) AS last FROM run), kept AS (
    SELECT min(ARRAY[equity, at, fall]) AS low, max(ARRAY[equity, at, fall]) AS high,
           max(ARRAY[fall, at, equity]) AS deep, max(ARRAY[at, equity, fall]) AS ends
    FROM run, span GROUP BY CASE WHEN last > first THEN floor((at - first) * %(buckets)s / (last - first)) ELSE 0 END
)
SELECT low[2], low[1], low[3] FROM kept UNION SELECT high[2], high[1], high[3] FROM kept
UNION SELECT deep[2], deep[3], deep[1] FROM kept
UNION SELECT ends[1], ends[2], ends[3] FROM kept UNION (SELECT at, equity, fall FROM run ORDER BY at LIMIT 1)
ORDER BY 1
"""
MARKED: Final = (
    "SELECT extract(epoch FROM timestamp)::bigint, side, symbol, purpose, size, execution_price FROM trades "
    "WHERE run_id = %s ORDER BY timestamp DESC, trade_id LIMIT %s"
)
# The time goes first: there is an index over (channel, timestamp) in each day, none over (channel, seq).
LAST: Final = (
    "SELECT data FROM event_store.events WHERE channel = %s AND channel <> 'market_data' AND seq >= %s "
    "ORDER BY timestamp DESC, seq DESC LIMIT %s"
)
OUTCOMES: Final = (
    "SELECT decision_id, status, filled_size, avg_fill_price, status_reason FROM orders WHERE order_id = ANY(%s)"
)
COUNTS: Final = (
    "SELECT channel, count(*) FROM event_store.events WHERE channel = ANY(%s) AND channel <> 'market_data' "
    "AND seq >= %s GROUP BY channel"
)


@dataclass(frozen=True)
class CurvePoint:
    """One point of the equity curve: seconds since the epoch, quote currency, fraction under the peak."""

    at: int
    equity: Decimal
    fall: Decimal


@dataclass(frozen=True)
class Mark:
    """A fill on the curve."""

    at: int
    side: str
    words: str


@dataclass(frozen=True)
class Decided:
    """A decision and how far its order has come.

    Attributes:
        status: of the order as the database has it; None without one.
        filled: base units.
        average: quote currency.
        reason: what execution said to an order that did not fill.
    """

    decision: RiskDecision
    status: str | None = None
    filled: Decimal | None = None
    average: Decimal | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Past:
    """What the database knew at one moment.

    Attributes:
        run_id: of the run going on.
        started: when it began, by its own clock.
        decisions, alerts: the newest first.
        counts: events of the run so far, by channel.
    """

    run_id: str | None = None
    started: datetime | None = None
    decisions: Sequence[Decided] = ()
    alerts: Sequence[Alert] = ()
    counts: Mapping[str, int] = field(default_factory=dict)


def read_past(connection: psycopg2.extensions.connection) -> Past:
    """Return the last decisions and alerts of the run going on, and what there was of each kind of event."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT run_id, first_seq, started_at FROM event_store.runs ORDER BY first_seq DESC LIMIT 1")
        run = cursor.fetchone()
        if run is None:
            return Past()
        run_id, first, started = run
        cursor.execute(LAST, (channels.RISK_DECISIONS, first, DECISIONS))
        decisions = [parse_event(channels.RISK_DECISIONS, bytes(data)) for (data,) in cursor.fetchall()]
        cursor.execute(LAST, (channels.ALERTS, first, ALERTS))
        alerts = [parse_event(channels.ALERTS, bytes(data)) for (data,) in cursor.fetchall()]
        cursor.execute(COUNTS, (list(COUNTED), first))
        counts = dict(cursor.fetchall())
        outcomes = _outcomes(cursor, [d for d in decisions if isinstance(d, RiskDecision) and d.approved])
    return Past(
        run_id,
        started,
        [Decided(d, *outcomes.get(d.event_id, ())) for d in decisions if isinstance(d, RiskDecision)],
        [alert for alert in alerts if isinstance(alert, Alert)],
        {channel: counts.get(channel, 0) for channel in COUNTED},
    )


def _outcomes(cursor: Any, decisions: Sequence[RiskDecision]) -> dict[str, tuple[Any, ...]]:
    from services.common.identity import order_id

    cursor.execute(OUTCOMES, ([order_id(decision.event_id) for decision in decisions],))
    return {row[0]: row[1:] for row in cursor.fetchall()}


def read_curve(connection: psycopg2.extensions.connection, span: str = RUN) -> tuple[list[CurvePoint], list[Mark]]:
    """Return the curve of the run going on, thinned out by the database, and its last fills.

    Args:
        connection: to its database.
        span: `run`: all of it; `week`: its last seven days; `day`: since 00:00 UTC; by the run's clock.
    """
    run_id = current_run(connection)
    with connection.cursor() as cursor:
        cursor.execute(CURVE, {"run": run_id, "span": span, "buckets": BUCKETS})
        points = [CurvePoint(int(at), equity, fall) for at, equity, fall in cursor.fetchall()]
        cursor.execute(MARKED, (run_id, MARKS))
        marks = [
            Mark(
                at, side, f"{side} {size.normalize():f} {symbol} at {price:,.2f}" + (f" ({purpose})" if purpose else "")
            )
            for at, side, symbol, purpose, size, price in cursor.fetchall()
        ]
    return points, marks[::-1]
