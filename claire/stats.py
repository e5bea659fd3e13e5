"""What a data folder (or any Claire database) contains: rows, portfolio, events; and the summary of a run."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import psycopg2
from psycopg2 import sql

from services.common.errors import ClaireError

__all__ = ["TABLES", "DatabaseNotReady", "collect", "equity_curve", "summarise"]

TABLES = ("signals", "orders", "trades", "positions", "portfolio_snapshots")

Connection = psycopg2.extensions.connection


class DatabaseNotReady(ClaireError):
    """The database has no tables yet: the writer has not run on it."""


def _rows(connection: Connection, statement: sql.Composable | str, *arguments: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, arguments)
        return cursor.fetchall()


def _require_tables(connection: Connection) -> None:
    found = _rows(connection, "SELECT to_regclass('event_store.events'), to_regclass('public.portfolio_snapshots')")
    if None in found[0]:
        raise DatabaseNotReady("the database has no tables yet; start the pipeline once (claire up)")


def current_run(connection: Connection) -> str | None:
    """Return the run going on (the last one that began), None before the first."""
    rows = _rows(connection, "SELECT run_id FROM event_store.runs ORDER BY first_seq DESC LIMIT 1")
    return rows[0][0] if rows else None


def collect(connection: Connection) -> dict[str, Any]:
    """Return `tables` (rows of each), `portfolio` (of the run going on) and `events` (count a type).

    Money is Decimal, in quote currency. `portfolio` values are None before the first snapshot.

    Raises:
        DatabaseNotReady: the writer has not run on this database yet.
    """
    with connection:
        _require_tables(connection)
        tables = {
            name: _rows(connection, sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier("public", name)))[0][0]
            for name in TABLES
        }
        events = dict(_rows(connection, "SELECT type, count(*) FROM event_store.events GROUP BY type ORDER BY type"))
        run_id = current_run(connection)
        return {"run_id": run_id, "tables": tables, "portfolio": _portfolio(connection, run_id), "events": events}


def _portfolio(connection: Connection, run_id: str | None) -> dict[str, Any]:
    latest = _rows(
        connection,
        "SELECT timestamp, total_equity, cash, total_realized_pnl, total_unrealized_pnl, total_fees, daily_pnl, "
        "drawdown_pct, max_drawdown_pct FROM portfolio_snapshots WHERE run_id = %s ORDER BY timestamp DESC LIMIT 1",
        run_id,
    )
    names = (
        "timestamp",
        "equity",
        "cash",
        "realized_pnl",
        "unrealized_pnl",
        "fees",
        "daily_pnl",
        "drawdown_pct",
        "max_drawdown_pct",
    )
    portfolio: dict[str, Any] = dict(zip(names, latest[0] if latest else (None,) * len(names), strict=True))
    positions = _rows(
        connection,
        "SELECT venue, symbol, side, size, entry_price, current_price, unrealized_pnl, realized_pnl, fees "
        "FROM positions WHERE run_id = %s AND side <> 'none' ORDER BY venue, symbol",
        run_id,
    )
    columns = (
        "venue",
        "symbol",
        "side",
        "size",
        "entry_price",
        "current_price",
        "unrealized_pnl",
        "realized_pnl",
        "fees",
    )
    portfolio["positions"] = [dict(zip(columns, row, strict=True)) for row in positions]
    return portfolio


def equity_curve(connection: Connection, run_id: str | None) -> list[tuple[Any, Decimal]]:
    """Return (time, equity) of every portfolio snapshot of a run, in order."""
    with connection:
        rows = _rows(
            connection,
            "SELECT timestamp, total_equity FROM portfolio_snapshots WHERE run_id = %s ORDER BY timestamp",
            run_id,
        )
    return [(timestamp, equity) for timestamp, equity in rows]


def summarise(connection: Connection) -> dict[str, Any]:
    """Return what `collect` does, and decisions, refusals, trades and equity of the run going on.

    Raises:
        DatabaseNotReady: the writer has not run on this database yet.
    """
    summary = collect(connection)
    run_id = summary["run_id"]
    with connection:
        first = _rows(connection, "SELECT max(first_seq) FROM event_store.runs")[0][0] or 0
        decisions = _rows(
            connection,
            "SELECT approved, purpose, reason, count(*) FROM risk_decisions WHERE seq >= %s "
            "GROUP BY 1, 2, 3 ORDER BY 4 DESC, 2, 3",
            first,
        )
        trades = _rows(
            connection,
            "SELECT timestamp, symbol, side, purpose, size, execution_price, fees, realized_pnl, slippage_bps "
            "FROM trades WHERE run_id = %s ORDER BY timestamp, trade_id",
            run_id,
        )
        orders = dict(
            _rows(connection, "SELECT status, count(*) FROM orders WHERE run_id = %s GROUP BY 1 ORDER BY 1", run_id)
        )
        signals = dict(
            _rows(connection, "SELECT intent, count(*) FROM signals WHERE run_id = %s GROUP BY 1 ORDER BY 1", run_id)
        )
        alerts = _rows(
            connection,
            "SELECT level, code, count(*) FROM alerts WHERE seq >= %s GROUP BY 1, 2 ORDER BY 1, 2",
            first,
        )
    columns = ("timestamp", "symbol", "side", "purpose", "size", "price", "fees", "realized_pnl", "slippage_bps")
    curve = equity_curve(connection, run_id)
    return {
        **summary,
        "signals": signals,
        "decisions": [
            dict(zip(("approved", "purpose", "reason", "count"), decision, strict=True)) for decision in decisions
        ],
        "orders": orders,
        "trades": [dict(zip(columns, trade, strict=True)) for trade in trades],
        "alerts": [dict(zip(("level", "code", "count"), alert, strict=True)) for alert in alerts],
        "equity": {
            "first": curve[0][1] if curve else None,
            "last": curve[-1][1] if curve else None,
            "highest": max((equity for _, equity in curve), default=None),
            "lowest": min((equity for _, equity in curve), default=None),
            "points": len(curve),
        },
    }
