"""`claire status`: what the services say becomes one screen, and what nobody says is shown as unknown."""

from __future__ import annotations

import io
import json
import re
import threading
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from claire.cli import app
from claire.status import Answer, ask, put_together
from claire.status_command import exit_code
from claire.status_screen import render_status
from services.common import channels

pytestmark = pytest.mark.unit

POSITION = {
    "instrument": "mexc_spot:BTCUSDT", "quantity": "0.2", "entry_price": 50000, "value": 9900, "stop_price": 49000,
    "dust": False, "opened_at": "2021-05-18T00:19:15.000000Z",
}  # fmt: skip
ORDER = {
    "order_id": "ord-1", "instrument": "mexc_spot:ETHUSDT", "side": "BUY", "purpose": "entry", "quantity": "0.5",
    "filled": 0, "status": "NEW", "since": "2021-05-18T00:29:00.000000Z",
}  # fmt: skip
RISK: dict[str, Any] = {
    "now": "2021-05-18T00:30:00.000000Z",
    "trading_state": "HALTED",
    "causes": {"halt": {"since": "2021-05-18T00:10:00.000000Z", "by": "ada", "reason": "lunch"}},
    "equity": 99000, "cash": 89100, "exposure": 9900, "daily_pnl": -1000, "drawdown": "0.02", "peak_equity": 101000,
    "start_of_day_equity": 100000, "fees": 5,
    "headroom": {
        "daily_drawdown": "0.04", "circuit_breaker": "0.015", "total_exposure": "0.2", "rolling_drawdown": "0.01",
    },
    "losses_in_a_row": 3,
    "positions": [POSITION],
    "working_orders": [ORDER, {**ORDER, "order_id": "ord-2", "status": "UNKNOWN"}],
    "latched_exits": [
        {"instrument": "mexc_spot:BTCUSDT", "purpose": "stop_loss", "since": "2021-05-18T00:29:00Z", "attempts": 2}
    ],
    "stale_marks": ["mexc_spot:SOLUSDT"],
}  # fmt: skip
LIMITS = {
    "MAX_DAILY_DRAWDOWN_PCT": "0.05", "CIRCUIT_BREAKER_THRESHOLD_PCT": "0.1", "MAX_TOTAL_EXPOSURE_PCT": "0.3",
    "MAX_CONCURRENT_POSITIONS": 3, "MAX_POSITION_PCT": "0.2", "MAX_ROLLING_DRAWDOWN_PCT": "0.06", "MAX_LOSS_STREAK": 4,
    "VENUE": "mexc_spot",
}  # fmt: skip
TRACK = {
    "last_bar": {
        "close_time": "2021-05-18T00:30:00.000000Z", "momentum_pct": "-0.0031", "threshold_pct": "0.0052",
        "volume_usdt": 7073366, "action": "none", "reasons": ["BELOW_THRESHOLD", "SHORT_NOT_ALLOWED"],
    },
    "why": "…", "warmup_left_bars": 0, "min_volume_usdt": 100000, "cooldown_left_min": 12, "gap_left_min": 0,
}  # fmt: skip
PAPER = {"TRADING_MODE": "paper"}


def answers(**machines: Any) -> dict[str, Answer]:
    """Return five services that are well, with parts changed by the test."""
    parts: dict[str, dict[str, Any]] = {
        channels.WS: {
            "config": {"FEED": "recorded", "VENUE": "mexc_spot"},
            "feed": {"age_sec": "0.5", "events_per_sec": "5.2", "waiting_for": [], "finished": False},
        },
        channels.CORE: {
            "config": {"SYMBOLS": ["BTCUSDT", "ETHUSDT"]},
            "machine": {"instruments": {"mexc_spot:BTCUSDT": TRACK}},
        },
        channels.RISK: {"config": LIMITS, "machine": RISK, "infrastructure": PAPER},
        channels.EXECUTION: {
            "config": PAPER,
            "machine": {
                "trading_state": "HALTED",
                "working_orders": [{"order_id": "ord-1", "obstacle": "NO_QUOTE", "price": 2500}],
            },
        },
        channels.WRITER: {"journal": {"lag": 7}},
    }  # fmt: skip
    for service, part in machines.items():
        parts[service] = {**parts[service], **part}
    return {service: Answer(part, {}) for service, part in parts.items()}


def shown(found: dict[str, Any], width: int = 120) -> str:
    """Return the screen as text."""
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(render_status(found, width))
    return console.export_text()


@pytest.mark.parametrize("width", [80, 120])
def test_the_screen_shows_everything_that_an_operator_looks_at(width: int) -> None:
    """State and why, money, limits, position with stop distance, orders, exits, feed, reconciliation, why no trade."""
    text = shown(put_together(answers()), width)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    words = re.sub(r"\s+", " ", text)
    for part in (
        "paper", "HALTED", "halt since 2021-05-18 00:10:00 by ada: lunch", "claire resume --by NAME --reason TEXT",
        "equity 99,000.00 USDT", "day -1,000.00 (-1.00 %)", "2.00 % under the peak",
        "daily loss 1.00 % 5.00 % 4.00 %", "loss from the peak 8.50 % 10.00 % 1.50 %", "positions 1 3 2",
        "largest position 10.00 % 20.00 % 10.00 %", "rolling loss 5.00 % 6.00 % 1.00 %", "lost in a row 3 4 1",
        "BTCUSDT 0.2", "gross PnL", "49,500.00 -100.00", "1.01 % away" if width == 80 else "49,000.00 (1.01 %)",
        "exit latched: stop_loss of BTCUSDT", "no mark for over 60 s: SOLUSDT",
        "ord-1", "UNKNOWN", "entry buy ETHUSDT",
        "-0.31 % 0.52 % 0 % 7.1 M", "12 min", "|m| under T, m down, no shorts", "ETHUSDT - - - - - no market data yet",
        "feed recorded, age 0.5 s, 5.2 events/s", "last reconciliation: none on paper",
        "cdb_writer is 7 entries behind",
    ):  # fmt: skip
        assert part in words, f"{part!r} is missing in:\n{text}"
    assert ("NO_QUOTE" in words) is (width == 120)
    heading = "momentum m threshold T way to T volume / least, USDT" if width == 120 else "m T way vol. USDT"
    assert heading in words


def test_a_gain_uses_nothing_of_a_limit_of_losses() -> None:
    """As on the page: none of it is used, and what is left is more than the limit."""
    found = put_together(answers(cdb_risk={"machine": {**RISK, "headroom": {"daily_drawdown": "0.0505"}}}))

    assert "daily loss 0.00 % 5.00 % 5.05 %" in re.sub(r"\s+", " ", shown(found))


def test_the_record_is_exact_and_unknown_comes_first() -> None:
    """Decimals without loss; an UNKNOWN order before the others; distances are fractions of the mark."""
    found = put_together(answers())
    assert [order["order_id"] for order in found["orders"]] == ["ord-2", "ord-1"]
    position = found["positions"][0]
    assert position["mark_price"] == Decimal(49500)
    assert position["stop_distance"] == Decimal("0.010101")
    assert position["liquidation_distance"] is None
    assert found["limits"][0] == {
        "limit": "daily_drawdown", "of": Decimal("0.05"), "used": Decimal("0.01"), "headroom": Decimal("0.04")
    }  # fmt: skip
    assert found["next_funding"] is None


def test_perpetuals_show_liquidation_and_funding() -> None:
    """Next settlement at 08:00 UTC of the run's clock, and how far liquidation is, for a short."""
    short = {
        "instrument": "mexc_perpetual:BTCUSDT", "quantity": "-0.2", "entry_price": 50000, "value": -9900,
        "stop_price": 51000, "liquidation_price": 60000,
    }  # fmt: skip
    found = put_together(answers(cdb_risk={"machine": {**RISK, "positions": [short]}}))
    assert found["next_funding"] == "2021-05-18T08:00:00.000000Z"
    assert found["positions"][0]["unrealized_pnl"] == 100
    assert found["positions"][0]["liquidation_distance"] == Decimal("0.212121")
    text = shown(found)
    assert "BTCUSDT perp" in text
    assert "60,000.00 (21.21 %)" in text
    assert "next funding: 2021-05-18 08:00:00 UTC" in text


def test_live_shows_the_ramp_in_usdt() -> None:
    """Position and day loss against their caps, to the cent; what is unknown is shown as unknown."""
    ramp = {
        "position": {"value": "49.98765", "limit": 150, "headroom": "100.01235"},
        "daily_loss": {"value": None, "limit": 25, "headroom": None},
    }
    found = put_together(answers(cdb_risk={"machine": {**RISK, "ramp": ramp}}))
    assert found["limits"][-2:] == [
        {"limit": "ramp_position", "of": 150, "used": Decimal("49.99"), "headroom": Decimal("100.01")},
        {"limit": "ramp_daily_loss", "of": 25, "used": None, "headroom": None},
    ]
    assert "live position, USDT 49.99 150.00 100.01" in re.sub(r"\s+", " ", shown(found))


def test_the_nearest_stop_counts() -> None:
    """A trailing stop that has come nearer than the stop loss is the one whose distance is shown."""
    trailing = {**POSITION, "trailing_stop_price": "49400", "take_profit_price": "52000"}
    found = put_together(answers(cdb_risk={"machine": {**RISK, "positions": [trailing]}}))
    position = found["positions"][0]
    assert (position["nearest_stop"], position["stop_distance"]) == (Decimal(49400), Decimal("0.00202"))
    assert position["take_profit_price"] == Decimal(52000)
    assert "49,400.00 (0.20 %)" in shown(found)


@pytest.mark.parametrize(
    ("kind", "ages_ms", "said"),
    [
        (
            "external",
            {"mexc_spot:BTCUSDT": 95_300, "mexc_spot:ETHUSDT": 300_000},
            "feed external, last quote 95.3 s ago",
        ),
        ("external", {"mexc_spot:BTCUSDT": None}, "feed external, no quote yet"),
        ("external", None, "feed external"),
        ("mexc_spot", {"mexc_spot:BTCUSDT": 800}, "feed mexc_spot, last quote 0.8 s ago, 5.2 events/s"),
    ],
)
def test_a_feed_that_only_ticks_is_no_living_market(kind: str, ages_ms: Any, said: str) -> None:
    """The clock goes on every second whatever the market does: shown is the last quote, and ticks are no events."""
    feed = {"age_sec": "0.5", "events_per_sec": "5.2", "waiting_for": [], "finished": False}
    found = put_together(
        answers(
            cdb_ws={"config": {"FEED": kind, "VENUE": "mexc_spot"}, "feed": feed},
            cdb_risk={"machine": {**RISK, "quote_age_ms": ages_ms}},
        )
    )

    assert said in shown(found).splitlines()


def test_a_feed_that_says_nothing_at_all_is_told_besides() -> None:
    """Not even the clock of cdb_ws: since when."""
    feed = {"age_sec": "12.5", "events_per_sec": None, "waiting_for": [], "finished": False}
    found = put_together(
        answers(
            cdb_ws={"config": {"FEED": "external"}, "feed": feed},
            cdb_risk={"machine": {**RISK, "quote_age_ms": {"mexc_spot:BTCUSDT": 13_000}}},
        )
    )

    assert "feed external, last quote 13.0 s ago, its clock has stood for 12.5 s" in shown(found)


def test_a_calm_system_says_so() -> None:
    """Nothing held, nothing working, warming up: said, not left out."""
    calm = {"trading_state": "ACTIVE", "causes": {}, "positions": [], "working_orders": [], "latched_exits": []}
    warming = {**TRACK, "warmup_left_bars": 55, "cooldown_left_min": 0, "last_bar": None}
    entering = {**TRACK, "last_bar": {**TRACK["last_bar"], "action": "entry", "reasons": []}}  # type: ignore[dict-item]
    bars = {**TRACK, "warmup_left_bars": 55, "last_bar": {**TRACK["last_bar"], "reasons": ["WARMING_UP"]}}  # type: ignore[dict-item]
    tracks = {"mexc_spot:BTCUSDT": warming, "mexc_spot:ETHUSDT": entering, "mexc_spot:SOLUSDT": bars}
    found = put_together(
        answers(
            cdb_risk={"machine": {**RISK, **calm, "stale_marks": [], "daily_pnl": 0, "drawdown": None}},
            cdb_execution={
                "machine": {"trading_state": "ACTIVE", "last_reconciliation": "2021-05-18T00:29:00.000000Z"}
            },
            cdb_core={"machine": {"instruments": tracks}, "config": {"SYMBOLS": []}},
            cdb_ws={"feed": {"finished": True, "waiting_for": ["turnstile"]}},
        )
    )
    text = shown(found)
    for words in (
        "no position", "no working order", "warming up, 55 bars left", "entry signal at the last bar",
        "no bar closed yet", "finished, waiting for turnstile", "last reconciliation: 2021-05-18 00:29:00",
        "? under the peak",
    ):  # fmt: skip
        assert words in text


def test_two_keys_that_disagree_are_shown() -> None:
    """Execution frozen while risk is active: somebody must look."""
    found = put_together(
        answers(
            cdb_risk={"machine": {**RISK, "trading_state": "ACTIVE", "causes": {}}},
            cdb_execution={"machine": {"trading_state": "FROZEN", "risk_silent": True}},
        )
    )
    assert "risk does not answer the clock" in shown(found)
    assert "execution's own key says FROZEN, risk says ACTIVE" in shown(found)


def test_a_silent_service_is_named_and_its_part_is_unknown() -> None:
    """Risk is dead: no state, no equity is invented, and execution's working orders are still shown."""
    all_of_them = answers()
    all_of_them[channels.RISK] = Answer()
    all_of_them[channels.WS] = Answer()
    all_of_them[channels.EXECUTION] = Answer(all_of_them[channels.EXECUTION].status, {"clock": "has stopped"})
    found = put_together(all_of_them)
    text = shown(found)
    for words in (
        "state unknown", "equity ? USDT", "cdb_risk does not answer", "feed unknown: cdb_ws does not answer", "ord-1",
        "cdb_execution: clock: has stopped", "execution's own key says HALTED, risk says nothing",
    ):  # fmt: skip
        assert words in text
    assert exit_code(found) == 1
    nobody = put_together({service: Answer() for service in all_of_them})
    assert "working orders unknown" in shown(nobody)
    assert "why no trade now: unknown" in shown(nobody)
    assert exit_code(nobody) == 3
    assert exit_code(put_together(answers())) == 0
    all_of_them[channels.CORE] = Answer({"machine": {"instruments": {"X": {**TRACK, "cooldown_left_min": 0}}}}, {})
    assert "-0.31 %" in shown(put_together(all_of_them))


@pytest.mark.parametrize("value", [True, "much", "NaN", None])
def test_what_is_no_number_is_unknown(value: Any) -> None:
    """A service of another version may say anything; the screen never falls over it."""
    found = put_together(answers(cdb_risk={"machine": {**RISK, "equity": value}, "config": value}))
    assert found["money"]["equity"] is None
    assert "equity ? USDT" in shown(found)


# over HTTP


class Service(BaseHTTPRequestHandler):
    """Answers as a service does."""

    def do_GET(self) -> None:
        """Say that it is not well, and its status."""
        health = {"status": "degraded", "failing": {"redis": "away"}}
        body = json.dumps(health if self.path == "/health" else {"now": "2021-05-18T00:30:00.000000Z"}).encode()
        self.send_response(503 if self.path == "/health" else 200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    """A port at which one service answers (the four after it may or may not be free)."""
    with HTTPServer(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_services_are_asked_over_http(port: int) -> None:
    """Health with its failing checks and status of one that answers; nothing of one that does not."""
    found = ask({"cdb_ws": ("127.0.0.1", port), "cdb_core": ("127.0.0.1", 1)})
    assert found["cdb_ws"] == Answer({"now": "2021-05-18T00:30:00.000000Z"}, {"redis": "away"})
    assert found["cdb_core"] == Answer()


def run(*arguments: str) -> tuple[int, str]:
    """Return exit code and everything that was written."""
    result = CliRunner().invoke(app, ["status", *arguments])
    return result.exit_code, result.output


def test_the_command(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON for machines, the screen for people, both with the exit code; nobody there is said with the fix."""
    code, text = run("--first-port", str(port), "--json")
    assert code in {1, 3}
    assert json.loads(text)["services"]["cdb_ws"]["failing"] == {"redis": "away"}
    code, text = run("--first-port", str(port))
    assert code == 1
    assert "cdb_ws: redis: away" in text
    assert run("--watch", "--json")[0] == 2
    monkeypatch.setattr("claire.status.ask", lambda services: {service: Answer() for service in services})
    code, text = run("--first-port", "1")
    assert code == 3
    assert "no service answers" in text
    assert "claire up" in text


def test_watching_ends_with_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """The screen is drawn anew until Ctrl-C, also while nobody answers yet."""
    looks = iter([answers(), answers()])
    monkeypatch.setattr("claire.status.ask", lambda _: next(looks))
    pauses = iter([None, KeyboardInterrupt])

    def sleep(seconds: float) -> None:
        if (pause := next(pauses)) is not None:
            raise pause

    monkeypatch.setattr("claire.status_command.time.sleep", sleep)
    code, text = run("--watch", "--first-port", "1")
    assert code == 0
    assert "HALTED" in text
