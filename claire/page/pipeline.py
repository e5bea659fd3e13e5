"""What flows: each kind of event with its rate, each service with its health and how far it is behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from claire.page.html import UNKNOWN, table, text, time_of
from claire.page.look import View
from claire.status_screen import feed_words
from services.common import channels
from services.common.timestamps import format_timestamp

__all__ = ["alerts", "flow", "services"]

KINDS: Final = (
    (channels.MARKET_DATA, "ticks"),
    (channels.SIGNALS, "signals"),
    (channels.RISK_DECISIONS, "decisions"),
    (channels.ORDERS, "orders"),
    (channels.ORDER_RESULTS, "results"),
)


def flow(view: View) -> str:
    """Return the stages of the pipeline with what passed each, in the run and in the last minute."""
    stages = []
    for channel, name in KINDS:
        count, rate = view.counts.get(channel), view.rates.get(channel)
        paced = "-" if rate is None else f"{rate:.1f}/s" if name == "ticks" else f"{rate * 60:.0f}/min"
        shown = UNKNOWN if count is None else f"{count:,}"
        stages.append(f"<li><span>{name}</span><b>{shown}</b><small>{paced}</small></li>")
    results = ", ".join(f"{text(count)} {text(status)}" for status, count in view.outcomes.items())
    said = f'<p class="soft">{text(feed_words(view.status["feed"]))}' + (f" · results: {results}" if results else "")
    return f'<ol class="flow">{"".join(stages)}</ol>{said}</p>'


def services(view: View) -> str:
    """Return the services: well or not, how far behind the journal, and what fails."""

    def row(name: str, service: Mapping[str, Any]) -> tuple[str, ...]:
        well = "✓ well" if service["healthy"] else "✕ not well" if service["answers"] else "✕ does not answer"
        why = "; ".join(f"{check}: {reason}" for check, reason in service["failing"].items())
        lag = service["lag"]
        none = "-" if service["answers"] else UNKNOWN  # cdb_ws reads no journal
        behind = none if lag is None else f'<span class="warn">{text(lag)}</span>' if lag else "0"
        css = "good" if service["healthy"] else "bad"
        return text(name), f'<b class="{css}">{well}</b>', behind, text(service["last_id"] or "-"), text(why or "-")

    found = view.status["services"].items()
    return table(
        ("service", "health", ">behind", ">journal", "what fails"),
        ((name, row(name, service)) for name, service in found),
        caption="Services",
        css="wide",
    )


def alerts(view: View) -> str:
    """Return the last alerts of the run, the newest first."""
    styles = {"CRITICAL": "bad", "WARNING": "warn"}
    rows = (
        (
            alert.event_id,
            (
                f'<span class="when">{time_of(format_timestamp(alert.timestamp))}</span>',
                f'<b class="{styles.get(alert.level, "")}">{text(alert.level)}</b>',
                f"{text(alert.message)}<small>{text(alert.code)}</small>",
            ),
        )
        for alert in view.past.alerts
    )
    return table(("time", "level", "message"), rows, caption="Alerts", nothing="None in this run.", css="wide")
