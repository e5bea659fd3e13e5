"""The stack in shadow or live mode and the sandbox exchange, as processes: for tests that kill them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import redis
import requests

from claire.embedded import EmbeddedRedis
from tests.integration.runtime.test_up import ROOT, Up, free_ports

__all__ = ["SYMBOL", "LiveUp", "SandboxProcess", "claire", "until"]

SYMBOL = "BTCUSDT"
NERVOUS = {
    "SYMBOLS": SYMBOL,
    "LIVE_SYMBOLS": SYMBOL,
    "SIGNAL_LOOKBACK_MIN": "1",
    "SIGNAL_VOL_MULT": "0",
    "SIGNAL_THRESHOLD_PCT": "0.000001",
    "SIGNAL_COOLDOWN_MIN": "0",
    "SIGNAL_STOP_COOLDOWN_MIN": "0",
    "SIGNAL_MIN_VOLUME": "0",
    "ENTRY_SPACING_SEC": "0",
    "MAX_ENTRIES_PER_MINUTE": "1000",
    "MAX_ORDERS_PER_MINUTE": "10000",
    "LIVE_CANARY_FILLS": "0",
    "FEED_WARMUP_MIN": "5",
}
"""Every signal that fits what is held becomes an order at once."""


def write_market(file: Path) -> None:
    """Write two minutes of a quiet market: a quote or a trade every quarter of a second, enough at the touch."""
    rows = ["ts_ms,symbol,price,qty,side,bid,ask,bid_size,ask_size,mark_price"]
    for number in range(480):
        bid = 60_000 + number * 7 % 20
        quote, trade = f",,,{bid},{bid + 1},2,2,", f"{bid + 1},0.05,buy,,,,,"
        rows.append(f"{1_000 + number * 250},{SYMBOL},{trade if number % 2 else quote}")
    file.write_text("\n".join(rows) + "\n", encoding="ascii")


class SandboxProcess:
    """`claire sandbox` on a free port."""

    def __init__(self, folder: Path) -> None:
        self.port = free_ports()
        market = folder / "market.csv"
        write_market(market)
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "claire", "sandbox", "--port", str(self.port), "--file", str(market)],
            cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until(lambda: self.ask("GET", "faults") is not None, "the sandbox answers")

    def ask(self, method: str, what: str, **body: Any) -> Any:
        """Ask the sandbox itself, past the exchange; None while it does not answer."""
        try:
            answer = requests.request(method, f"{self.url}/sandbox/{what}", json=body, timeout=5)
        except requests.RequestException:
            return None
        return json.loads(answer.text, parse_float=Decimal, parse_int=Decimal)

    def ledger(self) -> Any:
        """Return the truth."""
        return self.ask("GET", "ledger")

    @property
    def settings(self) -> dict[str, str]:
        """What leads the stack here."""
        return {
            "MEXC_API_KEY": "sandbox-key",
            "MEXC_API_SECRET": "sandbox-secret",
            "MEXC_REST_URL": self.url,
            "MEXC_WS_URL": f"ws://127.0.0.1:{self.port}/ws",
            "MEXC_PERPETUAL_REST_URL": self.url,
            "MEXC_PERPETUAL_WS_URL": f"ws://127.0.0.1:{self.port}/edge",
            "MEXC_TIMEOUT_SEC": "1",
        }

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(20)


class LiveUp(Up):
    """One `claire up` that trades at the sandbox."""

    def __init__(self, data: Path, sandbox: SandboxProcess, mode: str, venue: str) -> None:
        self.data = data
        self.first_port = free_ports()
        given = {**NERVOUS, **sandbox.settings, "TRADING_MODE": mode, "CONFIRM_LIVE_TRADING": "yes"}
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "claire", "up", "--feed", venue, "--data-dir", str(data), "--quiet"),
                *("--first-port", str(self.first_port), "--run-id", "test-run"),
                *(part for name, value in given.items() for part in ("--set", f"{name}={value}")),
            ],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def execution(self) -> dict[str, Any]:
        """Return what cdb_execution shows of its machine; empty while it does not answer."""
        try:
            status = requests.get(f"http://127.0.0.1:{self.first_port + 3}/status", timeout=2).json()
        except requests.RequestException:
            return {}
        return status.get("machine") or {}

    @property
    def held(self) -> bool:
        """Whether more is held than dust."""
        positions = self.execution().get("positions", {})
        return any(Decimal(str(quantity)) >= Decimal("0.0001") for quantity in positions.values())

    def signal(self, direction: str) -> None:
        """Publish a signal by hand, as an operator may."""
        message = {"symbol": SYMBOL, "signal_type": direction, "price": 60_000, "reason": "by hand"}
        with EmbeddedRedis(self.data / "redis").client() as client:
            client.publish("signals", json.dumps(message))

    def bring(self, *, held: bool) -> None:
        """Signal until a position is held, or none."""
        asked = 0.0
        deadline = time.monotonic() + 60
        while self.held != held:
            assert time.monotonic() < deadline, self.execution()
            if time.monotonic() - asked > 5:
                asked = time.monotonic()
                self.signal("buy" if held else "sell")
            time.sleep(0.05)

    def await_ready(self, mode: str) -> None:
        """Wait until orders would be taken: the feed lives, nothing works, and (live) books and account agree."""
        until(lambda: self.healthy() and self._at_rest(mode), "the stack is ready", 120)

    def _at_rest(self, mode: str) -> bool:
        state = self.execution()
        compared = mode == "shadow" or state["reconciliation"]["verdict"] in {"agreed", "opened"}
        return compared and not state["working_orders"]

    def healthy(self) -> bool:
        """Whether all services that trade are well."""
        try:
            return all(
                requests.get(f"http://127.0.0.1:{self.first_port + offset}/health", timeout=2).status_code == 200
                for offset in range(5)
            )
        except requests.RequestException:
            return False

    def kill(self, *names: str) -> None:
        """End processes with SIGKILL, as a power cut would; they are started again by `claire up`."""
        children = [child for name in names if (child := self.child(name)) is not None]
        for child in children:
            child.kill()
        psutil.wait_procs(children, timeout=10)

    def stop(self) -> str:
        """Stop everything in good order and return what was said."""
        self.process.terminate()
        code, out, err = self.finish()
        assert code == 0, err
        return out + err


def until(condition: Callable[[], Any], what: str, longest_sec: float = 60) -> Any:
    """Wait until something is so."""
    deadline = time.monotonic() + longest_sec
    while time.monotonic() < deadline:
        try:
            found = condition()
        except (redis.RedisError, KeyError):
            found = None
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {longest_sec} s: {what}")


def claire(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "claire", *(str(argument) for argument in arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
