"""Is it healthy, what does it do, what is my risk?"""

from __future__ import annotations

from backoffice.scripts.dashboards.panel import Dashboard, Panel, Query, Row

__all__ = ["OVERVIEW"]

_GOOD_BAD = {"0": ("gut", "green"), "1": ("steht", "red")}

_HEALTH = Row(
    "Ist es gesund?",
    (
        Panel(
            "Dienste",
            [Query('up{job="claire"}', "{{service}}", instant=True)],
            "stat",
            width=10,
            height=4,
            about="Antwortet jeder Dienst?",
            texts={"0": ("steht", "red"), "1": ("läuft", "green")},
        ),
        Panel(
            "Uhr",
            [Query("max(cdb_clock_stalled)", "Uhr", instant=True)],
            "stat",
            width=3,
            height=4,
            about="Steht sie, geht keine Order hinaus.",
            texts=_GOOD_BAD,
        ),
        Panel(
            "Feuernde Alarme",
            [Query('count(ALERTS{alertstate="firing"}) or vector(0)', "Alarme", instant=True)],
            "stat",
            width=3,
            height=4,
            limits=((None, "green"), (1, "red")),
        ),
        Panel(
            "Ungesunde Prüfungen",
            [Query("sum(cdb_health_check_failing)", "Prüfungen", instant=True)],
            "stat",
            width=4,
            height=4,
            about="Von allen /health zusammen; welche, steht unter System.",
            limits=((None, "green"), (1, "orange")),
        ),
        Panel(
            "Rückstand (Einträge)",
            [Query("max(cdb_journal_lag_entries)", "Rückstand", instant=True)],
            "stat",
            width=4,
            height=4,
            limits=((None, "green"), (200, "orange"), (2000, "red")),
        ),
    ),
)

_WORK = Row(
    "Was tut es?",
    (
        Panel(
            "Handelszustand",
            [Query("cdb_trading_state == 1", "{{state}} ({{service}})", instant=True)],
            "stat",
            width=6,
            height=5,
            text_mode="name",
            colors={"^ACTIVE": "green", "^REDUCING": "orange", "^(HALTED|FROZEN)": "red"},
            about="Risiko und Ausführung haben je einen Schlüssel.",
        ),
        Panel(
            "Zeit des Laufs",
            [Query('cdb_event_time_seconds{service="cdb_risk"} * 1000', "UTC", instant=True)],
            "stat",
            width=6,
            height=5,
            unit="dateTimeAsIso",
            texts={"0": ("keine", "orange")},
            about="Die Uhr der Ereignisse; bei einer Aufzeichnung deren Zeit.",
        ),
        Panel(
            "Alter der Kurse",
            [Query("cdb_market_data_age_seconds", "{{instrument}}", instant=True)],
            "stat",
            width=6,
            height=5,
            unit="s",
            limits=((None, "green"), (10, "orange"), (60, "red")),
        ),
        Panel(
            "Arbeitende Orders",
            [Query('sum(cdb_working_orders{service="cdb_risk"})', "Orders", instant=True)],
            "stat",
            width=3,
            height=5,
        ),
        Panel("Ausführungen", [Query("sum(cdb_fills_total)", "seit Start", instant=True)], "stat", width=3, height=5),
        Panel(
            "Ereignisse je Sekunde",
            [Query("sum by (channel) (rate(cdb_outputs_published_total[1m]))", "{{channel}}")],
            unit="cps",
        ),
        Panel(
            "Entscheidungen in fünf Minuten",
            [Query("sum by (verdict) (increase(cdb_decisions_total[5m]))", "{{verdict}}")],
        ),
        Panel(
            "Warum gerade kein Handel: Schwung und Schwelle",
            [
                Query("cdb_momentum_ratio", "{{instrument}} Schwung"),
                Query("cdb_momentum_threshold_ratio", "{{instrument}} Schwelle"),
            ],
            unit="percentunit",
            about="Ein Einstieg braucht |Schwung| ≥ Schwelle.",
        ),
    ),
)

_RISK = Row(
    "Wie groß ist mein Risiko?",
    (
        Panel(
            "Kapital",
            [
                Query("cdb_equity_usdt", "Kapital"),
                Query("cdb_start_of_day_equity_usdt", "Tagesbeginn"),
                Query("cdb_peak_equity_usdt", "Hoch"),
            ],
            unit="suffix:USDT",
            width=12,
        ),
        Panel(
            "Heute",
            [Query("cdb_daily_pnl_usdt", "USDT", instant=True)],
            "stat",
            width=4,
            unit="suffix:USDT",
            limits=((None, "red"), (0, "green")),
            decimals=2,
        ),
        Panel(
            "Rückgang vom Hoch",
            [Query("cdb_drawdown_ratio", "Rückgang", instant=True)],
            "stat",
            width=4,
            unit="percentunit",
            limits=((None, "green"), (0.05, "orange"), (0.08, "red")),
            decimals=2,
        ),
        Panel(
            "Einsatz",
            [Query("cdb_exposure_ratio", "vom Kapital", instant=True)],
            "stat",
            width=4,
            unit="percentunit",
            limits=((None, "green"), (0.25, "orange")),
            decimals=1,
        ),
        Panel(
            "Was von jeder Grenze übrig ist",
            [Query("cdb_headroom_ratio > -1", "{{limit}}", instant=True)],
            "bargauge",
            unit="percentunit",
            limits=((None, "red"), (0.01, "orange"), (0.03, "green")),
        ),
        Panel("Wert der Positionen", [Query("cdb_position_value_usdt", "{{instrument}}")], unit="suffix:USDT"),
        Panel(
            "Jetzt zu tun",
            [Query("sum by (code) (cdb_conditions)", "{{code}}", instant=True)],
            "bargauge",
            about="Wie viele Dinge gerade einen Menschen brauchen.",
            limits=((None, "green"), (1, "red")),
        ),
    ),
)

OVERVIEW = Dashboard("overview", "Claire: Überblick", (_HEALTH, _WORK, _RISK))
