"""Stages, servers, feed and processes: where it is slow, full or broken."""

from __future__ import annotations

from backoffice.scripts.dashboards.panel import Dashboard, Panel, Query, Row, Sql

__all__ = ["SYSTEM"]


def _quantile(share: str, metric: str, by: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket[1m])))"


_DECIDING = '{service=~"cdb_core|cdb_risk|cdb_execution"}'

_STAGES = Row(
    "Stufen",
    (
        Panel("Rückstand (Einträge)", [Query("cdb_journal_lag_entries", "{{service}}")]),
        Panel(
            "Einträge je Sekunde",
            [Query("sum by (service) (rate(cdb_entries_handled_total[1m]))", "{{service}}")],
            unit="cps",
        ),
        Panel(
            "Ein Eintrag, 99 %",
            [
                Query(
                    f"histogram_quantile(0.99, sum by (le, service) (rate(cdb_handle_seconds_bucket{_DECIDING}[1m])))",
                    "{{service}}",
                )
            ],
            unit="s",
            about="Falten und Folgen veröffentlichen.",
        ),
        Panel(
            "Ins Journal, 99 %", [Query(_quantile("0.99", "cdb_publish_seconds", "service"), "{{service}}")], unit="s"
        ),
        Panel(
            "Schreiben: Dauer einer Transaktion",
            [
                Query(_quantile("0.5", "cdb_writer_batch_seconds"), "Mitte"),
                Query(_quantile("0.99", "cdb_writer_batch_seconds"), "99 %"),
            ],
            unit="s",
        ),
        Panel(
            "Schreiben: Ereignisse je Transaktion",
            [Query("rate(cdb_writer_batch_events_sum[1m]) / rate(cdb_writer_batch_events_count[1m])", "Durchschnitt")],
        ),
        Panel(
            "Zeilen je Sekunde", [Query("sum by (table) (rate(cdb_writer_rows_total[1m]))", "{{table}}")], unit="cps"
        ),
        Panel(
            "Wartet auf PostgreSQL",
            [Query("cdb_writer_commit_age_seconds", "Sekunden"), Query("cdb_writer_lag_entries", "Einträge")],
        ),
        Panel("Ort im Journal", [Query("cdb_journal_position", "{{service}}")]),
    ),
)

_FEED = Row(
    "Marktdaten",
    (
        Panel(
            "Kurse je Sekunde",
            [Query('sum by (service) (rate(cdb_entries_handled_total{channel="market_data"}[1m]))', "{{service}}")],
            unit="cps",
        ),
        Panel("Alter je Symbol", [Query("cdb_market_data_age_seconds", "{{instrument}}")], unit="s"),
        Panel(
            "Lücken und Verbindungen in zehn Minuten",
            [
                Query("sum by (symbol) (increase(cdb_feed_gaps_total[10m]))", "Lücken {{symbol}}"),
                Query("sum(increase(cdb_feed_reconnects_total[10m]))", "Börse verloren"),
                Query("sum by (service) (increase(cdb_reconnects_total[10m]))", "Redis verloren {{service}}"),
            ],
        ),
        Panel(
            "Feed",
            [
                Query("cdb_feed_age_seconds", "seit dem letzten Stück"),
                Query("cdb_last_tick_age_seconds", "Takt {{service}}"),
            ],
            unit="s",
        ),
        Panel("Uhr der Börse gegen unsere", [Query("cdb_exchange_clock_offset_seconds", "{{service}}")], unit="s"),
        Panel(
            "Abgewiesen und zurückgehalten in zehn Minuten",
            [
                Query("sum by (channel) (increase(cdb_dead_letters_total[10m]))", "abgewiesen {{channel}}"),
                Query("sum(increase(cdb_feed_withheld_batches_total[10m]))", "Kurse zurückgehalten"),
                Query("sum by (service) (increase(cdb_publish_refused_total[10m]))", "wartet {{service}}"),
            ],
        ),
    ),
)

_SERVERS = Row(
    "Server und Platten",
    (
        Panel(
            "Redis",
            [Query("cdb_redis_memory_used_bytes", "benutzt"), Query("cdb_redis_memory_limit_bytes", "Grenze")],
            unit="bytes",
        ),
        Panel("Datenbank", [Query("cdb_database_size_bytes", "Größe")], unit="bytes"),
        Panel(
            "Freier Platz",
            [Query("cdb_state_disk_free_bytes / cdb_state_disk_size_bytes", "{{service}}")],
            unit="percentunit",
        ),
        Panel(
            "Antworten sie?",
            [Query("cdb_server_up", "{{server}}", instant=True)],
            "stat",
            width=6,
            height=5,
            texts={"0": ("nein", "red"), "1": ("ja", "green")},
        ),
        Panel(
            "Letzte Sicherung",
            [Query("cdb_backup_timestamp_seconds * 1000", "UTC", instant=True)],
            "stat",
            width=6,
            height=5,
            unit="dateTimeAsIso",
            texts={"0": ("keine", "orange")},
            about="Was cdb_writer in BACKUP_DIR sieht.",
        ),
        Panel(
            "Größte Tabellen",
            [
                Sql(
                    """SELECT n.nspname || '.' || c.relname AS "Tabelle",
                           pg_size_pretty(pg_total_relation_size(c.oid)) AS "Größe"
                    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                    WHERE c.relkind = 'r' AND n.nspname IN ('public', 'event_store')
                    ORDER BY pg_total_relation_size(c.oid) DESC LIMIT 15"""
                )
            ],
            "table",
            width=6,
            height=5,
        ),
        Panel(
            "Stand der Kette",
            [Sql('SELECT seq AS "Eintrag", epoch AS "Epoche", updated AS "geschrieben" FROM event_store.cursor')],
            "table",
            width=6,
            height=5,
        ),
    ),
)

_PROCESSES = Row(
    "Prozesse",
    (
        Panel(
            "Rechenzeit",
            [Query('rate(process_cpu_seconds_total{job="claire"}[1m])', "{{service}}")],
            unit="percentunit",
        ),
        Panel("Speicher", [Query('process_resident_memory_bytes{job="claire"}', "{{service}}")], unit="bytes"),
        Panel(
            "Gestartet vor",
            [Query('time() - process_start_time_seconds{job="claire"}', "{{service}}", instant=True)],
            "stat",
            unit="s",
        ),
        Panel(
            "Prüfungen, die nicht bestehen",
            [Query("max by (service, check) (cdb_health_check_failing)", "{{service}} {{check}}", instant=True)],
            "bargauge",
            width=12,
            height=9,
            limits=((None, "green"), (1, "red")),
        ),
        Panel(
            "Version",
            [Query("count by (code_version) (cdb_build_info)", "{{code_version}}", instant=True)],
            "stat",
            width=12,
            height=9,
            text_mode="value_and_name",
            about="Wie viele Dienste mit welchem Code laufen: Zwei Felder heißen, dass nicht alle denselben haben.",
        ),
    ),
)

SYSTEM = Dashboard("system", "Claire: System", (_STAGES, _FEED, _SERVERS, _PROCESSES))
