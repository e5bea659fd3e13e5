"""The operator's commands against the whole pipeline as processes: a trader publishes, an operator halts."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from claire.database import open_database
from claire.embedded import EmbeddedRedis
from claire.probe import read_json

pytestmark = [pytest.mark.integration, pytest.mark.risk, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[3]
PRICES = {"BTCUSDT": 50_000.0, "ETHUSDT": 2_500.0, "SOLUSDT": 150.0}
BIG = (  # one entry of about 80 % of the equity, whose stop is far away
    "RISK_PER_TRADE_PCT=0.4", "STOP_LOSS_PCT=0.5", "MAX_POSITION_PCT=1", "MAX_TOTAL_EXPOSURE_PCT=1",
    "MAX_ORDER_NOTIONAL_USDT=1000000",
)  # fmt: skip
WHO = ("--by", "ada", "--reason", "test")


def free_ports() -> int:
    """Return the first of five ports in a row that nobody listens on."""
    for first in range(30_000 + os.getpid() % 2_000 * 5, 60_000, 5):
        with contextlib.suppress(OSError):
            for port in range(first, first + 5):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return first
    raise AssertionError("no five free ports in a row")


def eventually(look: Callable[[], Any], what: str, timeout_sec: float = 30) -> Any:
    """Look again and again until there is something."""
    deadline = time.monotonic() + timeout_sec
    while not (found := look()):
        assert time.monotonic() < deadline, f"not seen: {what}"
        time.sleep(0.05)
    return found


def desk_has_quotes(events: list[dict[str, Any]]) -> bool:
    """Whether each symbol has come ten times."""
    symbols = [event["symbol"] for event in events]
    return all(symbols.count(symbol) > 10 for symbol in PRICES)


class Desk:
    """A running `claire up --feed external`, a market that is quoted all the time, and an operator at the keyboard."""

    def __init__(self, folder: Path, *settings: str) -> None:
        self.folder = folder / "data"
        self.prices = dict(PRICES)
        given = [part for pair in ("ENTRY_SPACING_SEC=0", "CLOCK_SPEED=10", *settings) for part in ("--set", pair)]
        self.first_port = free_ports()
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "claire", "up", "--feed", "external", "--data-dir", str(self.folder)),
                *("--first-port", str(self.first_port), *given),
            ],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._stop = threading.Event()
        self._market = threading.Thread(target=self._quote, daemon=True)
        self._market.start()

    def redis(self) -> redis.Redis:
        """Return a client of its Valkey."""
        return EmbeddedRedis(self.folder / "redis").client()

    def _quote(self) -> None:
        while not self._stop.wait(0.1):
            with contextlib.suppress(redis.RedisError), self.redis() as client:
                for symbol, price in self.prices.items():
                    quote = {"symbol": symbol, "price": price, "volume": 10_000.0, "bid": price * 0.9999}
                    quote |= {"ask": price * 1.0001, "bid_size": 1000.0, "ask_size": 1000.0}
                    client.publish("market_data", json.dumps({"type": "market_data", **quote}))

    def await_market(self) -> None:
        """Wait until risk has seen some quotes of every symbol."""
        eventually(
            lambda: self.status(2).get("equity") and desk_has_quotes(self.journal("market_data")), "a market", 60
        )

    def claire(self, *arguments: str) -> tuple[int, str]:
        """Give a command; returns exit code and what it said."""
        done = subprocess.run(
            [sys.executable, "-m", "claire", *arguments, "--data-dir", str(self.folder)],
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def status(self, place: int) -> dict[str, Any]:
        """Return the machine's part of a service's status (2: risk, 3: execution)."""
        return (read_json(self.first_port + place, "/status") or {}).get("machine") or {}

    def journal(self, channel: str, **fields: Any) -> list[dict[str, Any]]:
        """Return the events of a channel that have these fields."""
        with self.redis() as client:
            entries = client.xrange("journal")
        found = [json.loads(entry[b"data"]) for _, entry in entries if entry[b"channel"] == channel.encode()]
        return [event for event in found if all(event.get(name) == value for name, value in fields.items())]

    def buy(self, symbol: str) -> dict[str, Any]:
        """Publish a buy signal; returns the decision on it."""
        before = len(self.journal("risk_decisions", symbol=symbol, purpose="entry"))
        with self.redis() as client:
            text = json.dumps(
                {
                    "type": "signal",
                    "symbol": symbol,
                    "signal_type": "buy",
                    "price": self.prices[symbol],
                    "reason": "test",
                }
            )
            client.publish("signals", text)
        decision: dict[str, Any] = eventually(
            lambda: self.journal("risk_decisions", symbol=symbol, purpose="entry")[before:], f"a decision on {symbol}"
        )[0]
        return decision

    def results(self, decision: dict[str, Any]) -> list[str]:
        """Return the statuses that execution reported for the order of a decision."""
        orders = {order["order_id"] for order in self.journal("orders", decision_id=decision["event_id"])}
        return [result["status"] for result in self.journal("order_results") if result["order_id"] in orders]

    def children(self, *names: str) -> list[psutil.Process]:
        """Return the processes of claire up whose command contains one of the names, with their children."""
        found = []
        for child in psutil.Process(self.process.pid).children():
            if any(name in " ".join(child.cmdline()) for name in names):
                found += [child, *child.children(recursive=True)]
        return found

    def quiet(self) -> None:
        """End the market."""
        self._stop.set()
        self._market.join()

    def close(self) -> None:
        """Stop everything."""
        self.quiet()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)


@pytest.fixture
def desk(short_folder: Path) -> Iterator[Desk]:
    """A pipeline that trades."""
    desk = Desk(short_folder)
    yield desk
    desk.close()


def held_still(desk: Desk) -> tuple[Any, ...]:
    """Return everything that a drill must not change: journal, head, cursors, and the event store's end."""
    with desk.redis() as client:
        journal = (client.xlen("journal"), client.hgetall("bus"), client.hgetall("hw"), client.hgetall("cursor"))
    with open_database(desk.folder, "", {}) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT * FROM event_store.cursor")
        store = cursor.fetchall()
        cursor.execute("SELECT count(*) FROM event_store.events")
        return (*journal, store, cursor.fetchall())


def at_rest(desk: Desk) -> bool:
    """Whether every service has handled, and the writer has stored, all that the journal holds."""
    with desk.redis() as client:
        head, cursors = client.hget("bus", "head"), client.hgetall("cursor")
    with open_database(desk.folder, "", {}) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT seq FROM event_store.cursor")
        ((stored,),) = cursor.fetchall()
    return all(int(place) == int(head) == stored for place in cursors.values())


@pytest.mark.timeout(180)
def test_each_state_is_tripped_and_a_drill_changes_nothing(short_folder: Path) -> None:
    """REDUCING, HALTED by the breaker, HALTED and FROZEN by the operator: refused by their layer, no order is sent.

    Then, on the pipeline at rest, a drill of the same breaker: Redis and PostgreSQL are as they were.
    """
    desk = Desk(short_folder, *BIG)
    try:
        desk.await_market()
        bought = desk.buy("BTCUSDT")
        assert bought["approved"], bought["reason"]
        eventually(lambda: "FILLED" in desk.results(bought), "a fill")

        for prices, state, layer in (
            ((48_000, 46_500), "REDUCING", "daily_drawdown"),
            ((45_000, 43_500, 42_500), "HALTED", "circuit_breaker"),
        ):
            for price in prices:
                before = len(desk.journal("market_data", symbol="BTCUSDT"))
                desk.prices["BTCUSDT"] = price
                eventually(lambda b=before: len(desk.journal("market_data", symbol="BTCUSDT")) > b + 3, "quotes")
            eventually(lambda s=state: desk.status(2)["trading_state"] == s, state)
            refused = desk.buy("ETHUSDT")
            assert not refused["approved"]
            assert layer in refused["reason"]
            assert desk.results(refused) == []
        assert set(desk.status(2)["causes"]) == {"breaker", "daily_loss"}

        assert desk.claire("reset-breaker", *WHO, "--timeout", "20")[0] == 0
        assert desk.status(2)["trading_state"] == "REDUCING"
        for arguments, state in (((), "HALTED"), (("--freeze",), "FROZEN")):
            code, text = desk.claire("halt", *arguments)
            assert (code, f"trading is {state}" in text) == (0, True), text
            refused = desk.buy("ETHUSDT")
            assert "circuit_breaker" in refused["reason"]
            assert desk.results(refused) == []
        code, text = desk.claire("status")
        assert (code, "FROZEN" in text, "loss from the peak" in text) == (0, True, True), text
        assert {order["symbol"] for order in desk.journal("orders")} == {"BTCUSDT"}

        desk.quiet()
        (clock,) = desk.children("cdb_ws")
        clock.suspend()
        stalled = "CLOCK_STALLED"  # the writer tells it once, after five seconds; nothing follows that
        eventually(lambda: stalled in {alert["code"] for alert in desk.journal("alerts")}, stalled)
        eventually(lambda: at_rest(desk), "nothing moves")
        still = held_still(desk)
        code, text = desk.claire("drill", "breaker")
        assert (code, "10 of 10 promises held" in text) == (0, True), text
        assert "the copy is FROZEN" in text
        assert held_still(desk) == still
        clock.resume()
    finally:
        desk.close()


@pytest.mark.timeout(180)
def test_halt_resume_and_flatten_through_the_whole_pipeline(desk: Desk) -> None:
    """Entries are refused in risk and execution while halted, also with writer and PostgreSQL dead; then they run."""
    desk.await_market()
    first = desk.buy("BTCUSDT")
    assert first["approved"], first["reason"]
    eventually(lambda: "FILLED" in desk.results(first), "a fill")

    code, text = desk.claire("halt")
    assert code == 0, text
    assert "trading is HALTED (was ACTIVE)" in text
    assert (desk.status(2)["trading_state"], desk.status(3)["trading_state"]) == ("HALTED", "HALTED")
    refused = desk.buy("ETHUSDT")
    assert (refused["approved"], refused["reason"]) == (False, "circuit_breaker")
    assert desk.results(refused) == []

    assert desk.claire("resume")[0] == 2
    stopped = desk.children("cdb_writer", "bin/postgres")
    assert len(stopped) > 2
    for process in stopped:
        process.suspend()
    code, text = desk.claire("resume", *WHO)
    assert (code, "trading is ACTIVE (was HALTED)" in text) == (0, True), text
    code, text = desk.claire("halt", "--freeze", "--json")
    assert (code, json.loads(text)["trading_state"]) == (0, "FROZEN")
    for process in stopped:
        process.resume()
    assert desk.claire("resume", *WHO)[0] == 0
    assert desk.claire("resume", *WHO)[0] == 1

    second = desk.buy("ETHUSDT")
    assert second["approved"], second["reason"]
    eventually(lambda: "FILLED" in desk.results(second), "a fill")
    code, text = desk.claire("flatten", *WHO)
    assert code == 0, text
    assert text.count("filled at") == 2, text
    eventually(lambda: desk.status(2)["positions"] == [], "flat")
    commands = [event["action"] for event in desk.journal("control", producer="operator")]
    assert commands == ["halt", "resume", "halt", "resume", "resume", "flatten"]

    (risk,) = desk.children("cdb_risk")
    risk.suspend()
    code, text = desk.claire("halt", "--timeout", "0.3")
    risk.resume()
    assert code == 4
    assert "cdb_risk has not handled the halt in time" in text
