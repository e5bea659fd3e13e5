"""The books from PostgreSQL: equity, drawdown, trades on the price, positions."""

from __future__ import annotations

from backoffice.scripts.dashboards.panel import Dashboard, Panel, Row, Sql, Variable

__all__ = ["TRADING"]

_RUN = "run_id = ${run:sqlstring}"
_IN_TIME = f"{_RUN} AND $__timeFilter(timestamp)"


def _snapshots(columns: str) -> Sql:
    return Sql(f"SELECT timestamp AS time, {columns} FROM portfolio_snapshots WHERE {_IN_TIME} ORDER BY 1", series=True)  # noqa: S608


def _trades(side: str, name: str) -> Sql:
    return Sql(
        f"""SELECT timestamp AS time, execution_price::float8 AS "{name}" FROM trades
        WHERE {_IN_TIME} AND symbol = ${{symbol:sqlstring}} AND side = '{side}' ORDER BY 1""",  # noqa: S608
        series=True,
    )


# One event of each step of the time axis, found by its number alone: only those are decoded.
_PRICE = Sql(
    """WITH picked AS (
        SELECT min(seq) AS seq FROM event_store.events
        WHERE channel = 'market_data' AND $__timeFilter(timestamp)
          AND day BETWEEN ($__timeFrom())::date AND ($__timeTo())::date
          AND position(convert_to('"symbol":"' || ${symbol:sqlstring} || '"', 'UTF8') IN data) > 0
        GROUP BY floor(extract(epoch FROM timestamp) / greatest(1, $__interval_ms / 1000)))
    SELECT timestamp AS time, (event_store.readable(data) ->> 'price')::float8 AS "Kurs"
    FROM picked JOIN event_store.events USING (seq) ORDER BY 1""",
    series=True,
)

_MONEY = Row(
    "Kapital",
    (
        Panel(
            "Kapital",
            [_snapshots('total_equity::float8 AS "Kapital"')],
            width=12,
            height=8,
            unit="suffix:USDT",
        ),
        Panel(
            "Rückgang vom Hoch",
            [_snapshots('-drawdown_pct::float8 AS "Rückgang", -max_drawdown_pct::float8 AS "größter"')],
            width=12,
            height=8,
            unit="percentunit",
        ),
        Panel("Einsatz", [_snapshots('total_exposure_pct::float8 AS "vom Kapital"')], unit="percentunit"),
        Panel(
            "Gewinn und Kosten",
            [
                _snapshots(
                    'total_realized_pnl::float8 AS "verbucht", total_unrealized_pnl::float8 AS "offen", '
                    '-total_fees::float8 AS "Gebühren", total_funding::float8 AS "Funding"'
                )
            ],
            unit="suffix:USDT",
        ),
        Panel("Offene Positionen", [_snapshots('open_positions AS "Positionen"')], decimals=0),
    ),
)

_MARKET = Row(
    "Ausführungen im Kurs",
    (
        Panel(
            "Kurs, Käufe und Verkäufe: $symbol",
            [_PRICE, _trades("buy", "Kauf"), _trades("sell", "Verkauf")],
            width=24,
            height=11,
            unit="suffix:USDT",
            about="Kurse stehen nur so lange in der Datenbank, wie EVENT_RETENTION_DAYS sagt.",
            points={"Kauf": "green", "Verkauf": "red"},
            colors={"^Kurs$": "blue"},
        ),
    ),
)

_BOOKS = Row(
    "Bücher",
    (
        Panel(
            "Positionen",
            [
                Sql(
                    f"""SELECT symbol AS "Symbol", venue AS "Markt", side AS "Seite", size AS "Menge",
                           entry_price AS "Einstieg", current_price AS "Kurs", unrealized_pnl AS "offen",
                           realized_pnl AS "verbucht", fees AS "Gebühren", stop_loss_price AS "Stop",
                           take_profit_price AS "Ziel", liquidation_price AS "Liquidation", opened_at AS "seit"
                    FROM positions WHERE {_RUN} ORDER BY side = 'none', symbol"""  # noqa: S608
                )
            ],
            "table",
            width=24,
            height=6,
        ),
        Panel(
            "Ausführungen",
            [
                Sql(
                    f"""SELECT timestamp AS "Zeit", symbol AS "Symbol", side AS "Seite", purpose AS "Zweck",
                           size AS "Menge", execution_price AS "Preis", slippage_bps AS "Abweichung (bp)",
                           fees AS "Gebühr", realized_pnl AS "verbucht"
                    FROM trades WHERE {_RUN} ORDER BY timestamp DESC LIMIT 100"""  # noqa: S608
                )
            ],
            "table",
            width=12,
            height=10,
        ),
        Panel(
            "Orders",
            [
                Sql(
                    f"""SELECT created_at AS "Zeit", symbol AS "Symbol", side AS "Seite", purpose AS "Zweck",
                           size AS "Menge", price AS "Grenze", status AS "Zustand", status_reason AS "Grund",
                           order_id AS "claire explain"
                    FROM orders WHERE {_RUN} ORDER BY created_at DESC LIMIT 100"""  # noqa: S608
                )
            ],
            "table",
            width=12,
            height=10,
        ),
        Panel(
            "Signale",
            [
                Sql(
                    f"""SELECT timestamp AS "Zeit", symbol AS "Symbol", signal_type AS "Richtung", intent AS "Absicht",
                           price AS "Preis", confidence AS "Vertrauen", reason AS "Grund"
                    FROM signals WHERE {_RUN} ORDER BY timestamp DESC LIMIT 100"""  # noqa: S608
                )
            ],
            "table",
            width=12,
            height=8,
        ),
        Panel(
            "Warnungen",
            [
                Sql(
                    """SELECT timestamp AS "Zeit", level AS "Stufe", code AS "Code", producer AS "Dienst",
                           message AS "Meldung"
                    FROM alerts ORDER BY timestamp DESC LIMIT 50"""
                )
            ],
            "table",
            width=12,
            height=8,
        ),
    ),
)

TRADING = Dashboard(
    "trading",
    "Claire: Handel",
    (_MONEY, _MARKET, _BOOKS),
    since="now-24h",
    refresh="10s",
    variables=(
        Variable("run", "Lauf", "SELECT run_id FROM event_store.runs ORDER BY first_seq DESC"),
        Variable(
            "symbol",
            "Symbol",
            f"""SELECT symbol FROM (SELECT symbol, 1 AS traded FROM trades WHERE {_RUN}
            UNION SELECT symbol, 0 FROM signals WHERE {_RUN}) AS seen
            GROUP BY symbol ORDER BY max(traded) DESC, symbol""",  # noqa: S608
        ),
    ),
    links=(
        ("Die letzten 24 Stunden", "/d/claire-trading?from=now-24h&to=now"),
        ("Der mitgelieferte Absturztag", "/d/claire-trading?from=2021-05-18T00:00:00.000Z&to=2021-05-20T06:00:00.000Z"),
    ),
)
