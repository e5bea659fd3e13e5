"""A live feed over hours on the sandbox: pings, rotation before the exchange cuts, several connections, its clock."""

from __future__ import annotations

import threading
import time
from collections import Counter
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from services.cdb_sandbox.faults import FaultKind
from services.cdb_ws.adapters import live_wire
from services.cdb_ws.adapters.live_wire import LiveWire
from services.cdb_ws.live import healing
from services.cdb_ws.live.spot_rest import SpotRest
from services.cdb_ws.live.words import Answer, Ask
from services.common.instruments import Venue
from tests.unit.ws.live_desk import LiveDesk
from tests.unit.ws.sandbox_rig import SandboxRig

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("venue", ["mexc_spot", "mexc_perpetual"])
def test_pings_keep_a_market_open_in_which_nothing_happens(venue: Venue) -> None:
    """The exchange closes a connection that is idle for a minute: ours is not, for five silent minutes."""
    rig = SandboxRig(venue=venue, settings={"FEED_SILENCE_SEC": 600, "FEED_COMPARE": False}).begin()
    rig.play(300, symbols=())

    assert (rig.feed.reconnects, rig.codes) == (0, [])


def test_a_connection_is_replaced_before_the_exchange_cuts_it() -> None:
    """Cut after two minutes, replaced after one: ten minutes without a gap, a loss, or a trade counted twice."""
    rig = SandboxRig(settings={"FEED_ROTATE_MIN": 1}, max_connection_ms=120_000).begin()
    rig.play(400, every_ms=1_700)

    assert rig.feed.status(rig.now_us)["connections"][0]["number"] >= 6
    assert (rig.feed.reconnects, rig.codes) == (0, [])
    assert not any(one.gap for one in rig.observations)
    assert sum(one.volume for one in rig.observations) == sum(quantity for _, quantity in rig.truth["BTCUSDT"])


def test_a_successor_that_never_carries_costs_nothing_and_is_tried_again() -> None:
    """Its trades' topic is refused: the old connection stays, the new one is given up, a later one takes over."""
    rig = SandboxRig(settings={"FEED_ROTATE_MIN": 1}).begin()
    rig.fault(FaultKind.BLOCKED, "*deals*", count=3)
    rig.play(240, every_ms=1_700)

    assert (rig.feed.reconnects, rig.feed.status(rig.now_us)["connections"][0]["attempt"]) == (0, 0)
    assert rig.feed.status(rig.now_us)["connections"][0]["number"] > 1
    assert not any(one.gap for one in rig.observations)
    assert sum(one.volume for one in rig.observations) == sum(quantity for _, quantity in rig.truth["BTCUSDT"])
    assert not rig.feed.problems(rig.now_us)


def test_symbols_beyond_the_limit_of_a_connection_get_another() -> None:
    """Two of three fit: both connections bring their symbols, and the loss of one marks only what it carried."""
    rig = SandboxRig(("BTCUSDT", "ETHUSDT", "SOLUSDT"), settings={"MEXC_WS_TOPICS": 6}).begin().play(5, every_ms=700)
    assert [one["symbols"] for one in rig.feed.status(rig.now_us)["connections"]] == [
        ["BTCUSDT", "ETHUSDT"],
        ["SOLUSDT"],
    ]
    rig.fault(FaultKind.DISCONNECT, "*@SOLUSDT*")
    rig.play(20, every_ms=700).play(10)

    assert {one.symbol for one in rig.observations if one.gap} == {"SOLUSDT"}
    for symbol in rig.symbols:
        counted = sum((one.volume for one in rig.observations if one.symbol == symbol), Decimal(0))
        assert counted == sum(quantity for _, quantity in rig.truth[symbol])


def test_a_limit_that_is_set_too_high_is_told() -> None:
    """The exchange refuses what goes beyond its own limit, with code 0; it is unhealthy and names the topics."""
    symbols = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
    rig = SandboxRig(symbols, settings={"MEXC_WS_TOPICS": 200})
    rig.fault(FaultKind.BLOCKED, "*@SOLUSDT*", count=None)
    rig.begin().play(5, every_ms=700)

    assert all("SOLUSDT" in what for what in rig.feed.problems(rig.now_us))
    assert "SUBSCRIPTION_REFUSED" in rig.codes
    assert {one.symbol for one in rig.observations} == {"BTCUSDT", "ETHUSDT"}


def test_an_answer_that_was_long_under_way_does_not_move_the_clock() -> None:
    """It measures badly; when there is nothing better for long, it is taken."""
    desk = LiveDesk().begin()
    for late_sec, expected in ((0, 0), (8, 0), (8, 0)):
        desk.later(61)
        ask = next(ask for ask in desk.asks if ask.kind == "time")
        desk.asks.remove(ask)
        sent_us = desk.now_us
        exchange_ms = sent_us // 1_000
        desk.now_us += late_sec * 1_000_000
        desk.take(desk.feed.answered(Answer(ask, sent_us, 200, b'{"serverTime":%d}' % exchange_ms), desk.now_us))
        assert desk.feed.offset_ms == expected
    desk.asks.clear()
    desk.later(601)
    ask = next(ask for ask in desk.asks if ask.kind == "time")
    sent_us, desk.now_us = desk.now_us, desk.now_us + 8_000_000
    body = b'{"serverTime":%d}' % (sent_us // 1_000)
    desk.take(desk.feed.answered(Answer(ask, sent_us, 200, body), desk.now_us))
    assert desk.feed.offset_ms == -4_000


def test_a_limit_of_the_exchange_silences_every_question_for_as_long_as_it_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """429 with Retry-After (cut short here): no question leaves before that, so that no ban follows."""
    monkeypatch.setattr(live_wire, "LONGEST_SEC", 0.3)
    asked: list[tuple[str, float]] = []

    class Limited(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """Refuse the first question."""
            asked.append((self.path, time.monotonic()))
            self.send_response(429 if len(asked) == 1 else 200)
            self.send_header("Retry-After", "7")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Limited)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    wire = LiveWire("ws://127.0.0.1:9", f"http://127.0.0.1:{server.server_address[1]}", lambda: 0)
    for path in ("/one", "/two"):
        wire.ask(Ask("time", "", path))
    came = [wire.take(20), wire.take(20)]
    wire.stop()
    server.shutdown()
    server.server_close()

    statuses = Counter(one.value.status for one in came if one is not None and isinstance(one.value, Answer))
    assert statuses == {429: 1, 200: 1}
    assert asked[1][1] - asked[0][1] >= 0.29


def test_a_loss_of_more_trades_than_an_answer_holds_comes_back_in_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five trades an answer, forty lost: all come back, marked; a loss beyond all questions is told."""
    monkeypatch.setattr(SpotRest, "trades_per_answer", 5)
    rig = SandboxRig(settings={"FEED_WARMUP_MIN": 0}).begin().play(5, every_ms=700)
    rig.leave_exchange()
    rig.play(20, every_ms=500)
    rig.reachable = True
    rig.play(20)
    counted = sum(one.volume for one in rig.observations)
    assert counted == sum(quantity for _, quantity in rig.truth["BTCUSDT"])
    assert "FEED_GAP_UNHEALED" not in rig.codes

    monkeypatch.setattr(healing, "QUESTIONS", 3)
    rig.leave_exchange()
    rig.play(20, every_ms=500)
    rig.reachable = True
    rig.play(20)
    assert rig.codes.count("FEED_GAP_UNHEALED") == 1
    assert not rig.feed.instruments["BTCUSDT"].healing
