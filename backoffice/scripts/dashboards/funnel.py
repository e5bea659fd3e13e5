"""From ticks to fills: how much of it is left after each step, and what took the rest."""

from __future__ import annotations

from backoffice.scripts.dashboards.panel import Dashboard, Panel, Query, Row, Sql

__all__ = ["FUNNEL"]


def _handled(service: str, channel: str) -> str:
    return f'sum(increase(cdb_entries_handled_total{{service="{service}", channel="{channel}"}}[$__range]))'


_STEPS = (
    ("1 Kurse", _handled("cdb_core", "market_data")),
    ("2 Signale", _handled("cdb_risk", "signals")),
    ("3 Entscheidungen", "sum(increase(cdb_decisions_total[$__range]))"),
    ("4 genehmigt", 'sum(increase(cdb_decisions_total{verdict="approved"}[$__range]))'),
    ("5 Orders", _handled("cdb_execution", "orders")),
    ("6 Ausführungen", "sum(increase(cdb_fills_total[$__range]))"),
)

_FUNNEL = Row(
    "Vom Kurs zur Ausführung",
    (
        Panel(
            "Der Trichter",
            [Query(expr, name, instant=True) for name, expr in _STEPS],
            "bargauge",
            width=12,
            height=9,
            about="In der gewählten Zeit; Schutzausstiege haben eine Entscheidung, aber kein Signal.",
            decimals=0,
        ),
        Panel(
            "Abgelehnt durch Schicht",
            [Query('sum by (layer) (increase(cdb_layer_verdicts_total{status="fail"}[$__range]))', "{{layer}}", True)],
            "bargauge",
            width=12,
            height=9,
            about="Eine Ablehnung kann mehrere Schichten haben.",
            limits=((None, "green"), (1, "orange")),
            decimals=0,
        ),
        Panel(
            "Signale in fünf Minuten",
            [Query("sum by (intent, signal_type) (increase(cdb_signals_total[5m]))", "{{intent}} {{signal_type}}")],
        ),
        Panel(
            "Ablehnungen in fünf Minuten",
            [Query('sum by (layer) (increase(cdb_layer_verdicts_total{status="fail"}[5m]))', "{{layer}}")],
        ),
        Panel(
            "Entscheidungen nach Zweck in fünf Minuten",
            [Query("sum by (purpose, verdict) (increase(cdb_decisions_total[5m]))", "{{purpose}} {{verdict}}")],
        ),
    ),
)

_ORDERS = Row(
    "Orders und Ausführungen",
    (
        Panel(
            "Ergebnisse nach Zustand",
            [Query("sum by (status) (increase(cdb_order_results_total[$__range]))", "{{status}}", instant=True)],
            "bargauge",
            decimals=0,
        ),
        Panel(
            "Von der Annahme bis zum Ende",
            [
                Query("histogram_quantile(0.5, sum by (le) (increase(cdb_order_seconds_bucket[$__range])))", "Mitte"),
                Query("histogram_quantile(0.95, sum by (le) (increase(cdb_order_seconds_bucket[$__range])))", "95 %"),
            ],
            unit="s",
            about="In Zeit des Laufs.",
        ),
        Panel(
            "Abweichung vom Mittelkurs",
            [
                Query(
                    "sum(increase(cdb_slippage_ratio_sum[$__range]))"
                    " / sum(increase(cdb_slippage_ratio_count[$__range]))",
                    "Durchschnitt",
                ),
                Query("histogram_quantile(0.95, sum by (le) (increase(cdb_slippage_ratio_bucket[$__range])))", "95 %"),
            ],
            unit="percentunit",
            decimals=3,
        ),
        Panel(
            "Umsatz",
            [Query("sum by (side) (increase(cdb_fill_notional_usdt_total[$__range]))", "{{side}}", instant=True)],
            "stat",
            width=6,
            height=5,
            unit="suffix:USDT",
        ),
        Panel(
            "Gebühren",
            [Query("sum(increase(cdb_fees_paid_usdt_total[$__range]))", "USDT", instant=True)],
            "stat",
            width=6,
            height=5,
            unit="suffix:USDT",
            decimals=2,
        ),
        Panel(
            "Arbeitende Orders",
            [Query('sum by (status) (cdb_working_orders{service="cdb_execution"})', "{{status}}")],
            width=12,
            height=5,
        ),
    ),
)

_WHY = Row(
    "Warum (aus PostgreSQL; die Zeit ist die des Laufs)",
    (
        Panel(
            "Gründe der letzten 1000 Entscheidungen",
            [
                Sql(
                    """SELECT CASE WHEN approved THEN 'genehmigt' ELSE reason END AS "Grund", purpose AS "Zweck",
                           count(*) AS "Anzahl", max(timestamp) AS "zuletzt"
                    FROM (SELECT * FROM risk_decisions ORDER BY timestamp DESC LIMIT 1000) AS recent
                    GROUP BY 1, 2 ORDER BY 3 DESC"""
                )
            ],
            "table",
            width=10,
            height=9,
        ),
        Panel(
            "Letzte Entscheidungen",
            [
                Sql(
                    """SELECT timestamp AS "Zeit", symbol AS "Symbol", purpose AS "Zweck", side AS "Seite",
                           approved AS "genehmigt", reason AS "Grund", decision_id AS "claire explain"
                    FROM risk_decisions ORDER BY timestamp DESC LIMIT 50"""
                )
            ],
            "table",
            width=14,
            height=9,
        ),
    ),
)

FUNNEL = Dashboard("funnel", "Claire: Trichter", (_FUNNEL, _ORDERS, _WHY), since="now-1h", refresh="10s")
