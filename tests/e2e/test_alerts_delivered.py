"""From a fact to a person on real containers: Prometheus and the journal, Alertmanager, cdb_notifier, a web server.

The receiver stands where the internet is: only the network of that name leads to it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from tests.e2e.market import Market
from tests.e2e.stack import (
    ALERTMANAGER_PORT,
    NOTIFIER_PORT,
    PROMETHEUS_PORT,
    RECEIVER_PORT,
    SERVICES,
    Stack,
    eventually,
)

RECEIVER = f"http://127.0.0.1:{RECEIVER_PORT}"
ALERTMANAGER = f"http://127.0.0.1:{ALERTMANAGER_PORT}/api/v2"
WHO = ["--by", "ada", "--reason", "e2e"]
ALARM, OVER = "WARNING TradingHalted", "WARNING TradingHalted_RESOLVED"


def _messages() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = requests.get(f"{RECEIVER}/messages", timeout=5).json()
    return found


def _taken(title: str) -> list[dict[str, Any]]:
    """Return the messages of this title that the receiver has taken."""
    return [message for message in _messages() if message["title"] == title and message["taken"]]


def _about(title: str, part: str) -> list[dict[str, Any]]:
    return [message for message in _taken(title) if part in message["message"]]


def _waiting() -> int:
    """Return how many messages the notifier has kept for the receiver."""
    status = requests.get(f"http://127.0.0.1:{NOTIFIER_PORT}/status", timeout=5).json()
    return int(status["notifications"]["targets"][0]["waiting"])


def _manager(name: str) -> list[dict[str, Any]]:
    """Return the alerts of this name that Alertmanager holds, also silenced ones."""
    held: list[dict[str, Any]] = requests.get(f"{ALERTMANAGER}/alerts", timeout=5).json()
    return [alert for alert in held if alert["labels"]["alertname"] == name]


@pytest.fixture(autouse=True)
def at_rest(stack: Stack) -> Iterator[None]:
    """The receiver takes everything, trading is not halted: before and after."""

    def settle() -> None:
        requests.post(f"{RECEIVER}/take", timeout=5)
        state = json.loads(stack.execute("cdb_risk", "claire", "status", "--json"))["trading_state"]
        if state != "ACTIVE":
            stack.execute("cdb_risk", "claire", "resume", *WHO)
        eventually(lambda: not _manager("TradingHalted"), "no alarm in Alertmanager", 60)

    settle()
    yield
    settle()


def test_a_running_clock_raises_no_alarm(stack: Stack) -> None:
    """Every process knows of the ticks, the notifier too: `ClockStalled` has nothing to fire on."""
    query = "max by (service) (cdb_last_tick_age_seconds) < 5 and max by (service) (cdb_clock_stalled) == 0"

    def running() -> set[str]:
        answer = requests.get(f"http://127.0.0.1:{PROMETHEUS_PORT}/api/v1/query", params={"query": query}, timeout=5)
        return {result["metric"]["service"] for result in answer.json()["data"]["result"]}

    eventually(lambda: running() == {*SERVICES, "cdb_notifier"}, "the clock of all six", 60)
    firing = requests.get(f"http://127.0.0.1:{PROMETHEUS_PORT}/api/v1/alerts", timeout=5).json()["data"]["alerts"]
    assert not [alert for alert in firing if alert["labels"]["alertname"] == "ClockStalled"]


def test_an_alarm_and_its_all_clear_arrive_although_receiver_and_notifier_fail(stack: Stack) -> None:
    """Refused, the notifier killed, taken at last: the rule's alarm with its runbook, and the journal's own word."""
    requests.post(f"{RECEIVER}/refuse", timeout=5)
    stack.execute("cdb_risk", "claire", "halt")
    eventually(lambda: len(_manager("TradingHalted")) == 2, "the rule fires for both keys, Alertmanager has it", 60)
    eventually(lambda: _waiting() >= 3, "the notifier keeps the rule's alarms and the journal's", 30)
    eventually(lambda: [message for message in _messages() if not message["taken"]], "an attempt", 30)

    stack.kill("cdb_notifier")
    requests.post(f"{RECEIVER}/take", timeout=5)

    for key in ("cdb_risk", "cdb_execution"):
        alarm = eventually(lambda key=key: _about(ALARM, f"({key})"), f"the rule's alarm of {key}", 60)  # type: ignore[misc]
        assert "runbook: backoffice/docs/runbooks/handel-angehalten.md" in alarm[0]["message"]
    eventually(lambda: _taken("WARNING TRADING_HALTED"), "the journal's alert", 30)

    stack.execute("cdb_risk", "claire", "resume", *WHO)
    eventually(lambda: len(_taken(OVER)) >= 2, "the all-clear of both", 60)
    eventually(lambda: _waiting() == 0, "nothing is left", 30)


def test_what_is_silenced_is_not_told_until_the_silence_ends(stack: Stack) -> None:
    """A silence in Alertmanager holds back the rule's alarm alone; when it ends while it lasts, the alarm arrives."""
    now = datetime.now(UTC)
    silence = requests.post(
        f"{ALERTMANAGER}/silences",
        json={
            "matchers": [{"name": "alertname", "value": "TradingHalted", "isRegex": False, "isEqual": True}],
            "startsAt": now.isoformat(),
            "endsAt": (now + timedelta(minutes=10)).isoformat(),
            "createdBy": "ada",
            "comment": "e2e",
        },
        timeout=5,
    ).json()["silenceID"]
    before = len(_taken(ALARM))

    stack.execute("cdb_risk", "claire", "halt")
    (alert, *_) = eventually(lambda: _manager("TradingHalted"), "the rule fires", 60)
    assert alert["status"]["state"] == "suppressed"
    assert len(_taken(ALARM)) == before

    requests.delete(f"{ALERTMANAGER}/silence/{silence}", timeout=5)
    eventually(lambda: len(_taken(ALARM)) > before, "the alarm after the silence", 60)


def test_the_page_about_postgresql(stack: Stack, market: Market) -> None:
    """postgres.md on real containers: it goes away while trading goes on, one cause is told, and nothing is lost.

    The writer waits for it and hears no tick meanwhile: that is no clock that stands still, and nobody is told so.
    """
    eventually(lambda: stack.events("market_data", symbol="SOLUSDT"), "a market", 60)
    before = {name: len(_taken(f"CRITICAL {name}")) for name in ("CLOCK_STALLED", "ClockStalled", "WriterStalled")}
    stack.container("cdb_postgres").stop(timeout=20)
    try:
        eventually(lambda: _taken("CRITICAL PostgresDown"), "the alarm", 120)
        failing = stack.get("cdb_writer", "/health").json()["failing"]
        assert "postgresql" in failing
        assert set(failing) <= {"postgresql", "lag", "loop"}
        for name in ("cdb_core", "cdb_risk", "cdb_execution", "cdb_ws"):
            assert stack.get(name, "/health").status_code == 200, name
    finally:
        stack.container("cdb_postgres").start()
    stack.await_healthy()

    eventually(
        lambda: stack.get("cdb_writer", "/status").json()["journal"]["lag"] < 100, "the writer has caught up", 60
    )
    assert "events hold" in stack.execute("cdb_writer", "claire", "validate", "--dsn", "env")
    assert {name: len(_taken(f"CRITICAL {name}")) for name in before} == before
