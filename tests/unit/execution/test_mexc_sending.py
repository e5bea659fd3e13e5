"""What is known after one attempt, limits, the exchange's clock, and that no key and no signature is ever shown."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from urllib3.exceptions import MaxRetryError, NewConnectionError, ReadTimeoutError

from services.cdb_execution.adapters import transport as transport_module
from services.cdb_execution.adapters.dialects import Call, json_text, plain
from services.cdb_execution.adapters.keys import Keys, MexcAddresses
from services.cdb_execution.adapters.limits import Limit, RateLimiter
from services.cdb_execution.adapters.order_rules import broken_rule, off_grid
from services.cdb_execution.adapters.outcome import perpetual_outcome, spot_outcome
from services.cdb_execution.adapters.server_clock import ServerClock, wall_ms
from services.cdb_execution.adapters.transport import HttpAnswer, HttpRequest, RequestsTransport, TransportFailure
from services.cdb_execution.exchange import PlaceOutcome
from services.common.codec import decode
from services.common.errors import ExchangeRefused, ExchangeUnreachable
from services.common.mexc.instruments import spot_listing
from tests.unit.execution.mexc_desk import (
    ACCESS,
    KEYS,
    NOW_MS,
    SECRET,
    Script,
    Time,
    answer,
    contract_order,
    error,
    order,
    perpetual,
    spot,
)
from tests.unit.mexc.published import spot_row


@pytest.mark.parametrize(
    ("reply", "verdict", "code"),
    [
        (answer({"orderId": "1"}), "accepted", None),
        (answer({"orderId": 739113577038255616}), "accepted", None),
        (answer({"code": 30004, "msg": "insufficient"}, 400), "refused", "30004"),
        (answer({"code": 30004, "msg": "insufficient"}), "refused", "30004"),
        (answer({"code": 700003, "msg": "recvWindow"}, 400), "refused", "700003"),
        (TransportFailure("connect", sent=False), "not_sent", "connect"),
        (TransportFailure("rate_limited", sent=False), "not_sent", "rate_limited"),
        (TransportFailure("timeout"), "unknown", "timeout"),
        (TransportFailure("cut"), "unknown", "cut"),
        (answer({"code": 30004, "msg": "insufficient"}, 500), "unknown", "http_500"),
        (answer("<html>bad gateway</html>", 502), "unknown", "http_502"),
        (answer("<html>denied</html>", 403), "unknown", "http_403"),
        (answer("", 302), "unknown", "http_302"),
        (answer({"code": 30004}, 307), "unknown", "30004"),
        (answer({"code": 429, "msg": "Too many requests"}, 429), "unknown", "429"),
        (answer({"code": 30004, "msg": "insufficient"}, 429), "unknown", "30004"),
        (answer({"code": 123456, "msg": "never seen"}, 400), "unknown", "123456"),
        (answer({"code": 123456, "msg": "never seen"}), "unknown", "123456"),
        (answer({}), "unknown", "malformed"),
        (answer({"orderId": ""}), "unknown", "malformed"),
        (answer({"orderId": None}), "unknown", "malformed"),
        (answer([1]), "unknown", "malformed"),
        (answer('{"orderId":"1'), "unknown", "malformed"),
        (answer({"code": True}), "unknown", "malformed"),
        (answer({"code": [1]}, 400), "unknown", "http_400"),
    ],
)
def test_what_is_known_of_a_spot_order(reply: HttpAnswer | TransportFailure, verdict: str, code: str | None) -> None:
    """Refused only by a listed code below 500; in doubt it is unknown."""
    outcome = spot_outcome(reply)

    assert (outcome.verdict, outcome.code) == (verdict, code)


@pytest.mark.parametrize(
    ("reply", "verdict", "code"),
    [
        (answer({"success": True, "code": 0, "data": {"orderId": "1", "ts": 1}}), "accepted", None),
        (answer({"success": True, "code": 0, "data": 102057569836905984}), "accepted", None),
        (error(2005), "refused", "2005"),
        (error(2042), "unknown", "2042"),
        (error(603), "unknown", "603"),
        (error(510), "unknown", "510"),
        (error(500), "unknown", "500"),
        (answer({"success": False, "code": 0, "data": None}), "unknown", "malformed"),
        (answer({"success": True, "code": 0, "data": None}), "unknown", "malformed"),
        (answer({"success": True, "code": 0, "data": {}}), "unknown", "malformed"),
        (answer({"success": True, "data": "1"}), "unknown", "http_200"),
        (TransportFailure("timeout"), "unknown", "timeout"),
    ],
)
def test_what_is_known_of_a_perpetual_order(
    reply: HttpAnswer | TransportFailure, verdict: str, code: str | None
) -> None:
    """A duplicate id or a repeated request means that the order may be there."""
    outcome = perpetual_outcome(reply)

    assert (outcome.verdict, outcome.code) == (verdict, code)


@pytest.mark.parametrize(
    "reply", [TransportFailure("timeout"), answer("", 503), answer({"code": 429}, 429), answer({"code": 700003}, 400)]
)
def test_an_order_is_sent_once_whatever_comes_back(reply: HttpAnswer | TransportFailure) -> None:
    """There is no retry around a POST, on spot or perpetuals."""
    script = Script().on("POST /api/v3/order", reply).on("POST /api/v1/private/order/create", reply)

    spot(script).place(order())
    perpetual(script_ := Script().on("POST /api/v1/private/order/create", reply)).place(contract_order())

    assert len(script.to("/api/v3/order")) == 1
    assert len(script_.to("/api/v1/private/order/create")) == 1


def test_what_may_be_asked_twice_is_asked_three_times() -> None:
    """A cut and a busy exchange do not end a query; three of them do."""
    script = Script().on("GET /api/v3/account", TransportFailure("cut"), answer("", 502), answer({"balances": []}))
    assert spot(script).balances() == []

    script.on("GET /api/v3/account", TransportFailure("timeout"))
    with pytest.raises(ExchangeUnreachable, match=r"^GET /api/v3/account: timeout$"):
        spot(script).balances()
    assert len(script.to("/api/v3/account")) == 6


def test_a_wrong_clock_is_measured_anew_and_the_question_asked_again() -> None:
    """700003 says that our stamp is off: the next one is better; if it never is, the error is told."""
    mistimed = answer({"code": 700003, "msg": "Timestamp for this request is outside of the recvWindow."}, 400)
    script = Script().on("GET /api/v3/account", mistimed, answer({"balances": []}))
    exchange = spot(script)

    assert exchange.balances() == []
    assert len(script.to("/api/v3/time")) == 6
    script.on("GET /api/v3/account", mistimed)
    with pytest.raises(ExchangeRefused, match="700003"):
        exchange.balances()


def test_an_order_with_a_wrong_stamp_makes_the_next_one_be_stamped_anew() -> None:
    """The order is refused, certainly; its clock is not used for another."""
    script = Script().on(
        "POST /api/v3/order", answer({"code": 700003, "msg": "recvWindow"}, 400), answer({"orderId": "1"})
    )
    exchange = spot(script)

    assert exchange.place(order()).verdict == "refused"
    assert exchange.place(order()).verdict == "accepted"
    assert len(script.to("/api/v3/time")) == 6


@pytest.mark.parametrize(
    ("reply", "seconds"),
    [
        (answer({"code": 429}, 429, retry_after="7"), 7),
        (answer("", 418), 120),
        (answer({"code": 429, "msg": "Too many"}, 429), 10),
        (answer({"code": 429, "msg": "Too many"}, 429, retry_after="0"), 2),
    ],
)
def test_the_exchanges_wish_for_silence_is_heeded(reply: HttpAnswer, seconds: int) -> None:
    """An order is not sent during it, at once; a query waits if it is short."""
    time = Time()
    script = Script().on("POST /api/v3/order", reply)
    exchange = spot(script, time)
    exchange.caller.clock.measure()

    exchange.place(order())

    assert exchange.silent_for_sec() == seconds
    assert exchange.place(order()) == PlaceOutcome(verdict="not_sent", code="rate_limited")
    assert len(script.to("/api/v3/order")) == 1
    time.now += seconds
    exchange.place(order())
    assert len(script.to("/api/v3/order")) == 2


def test_a_perpetual_asks_for_silence_by_code() -> None:
    """510 comes with status 200 and without Retry-After."""
    script = Script().on("POST /api/v1/private/order/create", error(510))
    exchange = perpetual(script)

    exchange.place(contract_order())

    assert exchange.silent_for_sec() == 2


def test_a_bucket_gives_what_is_in_it_and_then_makes_wait() -> None:
    """Two at once, the third after half a second; who would wait too long gets nothing and takes nothing."""
    time = Time()
    limiter = RateLimiter({"order": Limit(2, 1)}, clock=lambda: time.now, wait=time.wait)

    assert [limiter.take("order", 1, 1.0) for _ in range(3)] == [True, True, True]
    assert time.waited == [0.5]
    assert limiter.take("order", 2, 0.9) is False
    assert time.waited == [0.5]
    time.now += 1.0
    assert limiter.take("order", 2, 0.0) is True


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 4)), max_size=60))
def test_no_window_ever_sees_more_than_a_full_bucket_and_what_it_regains(steps: list[tuple[float, int]]) -> None:
    """Whatever is asked for and when: within a second at most the bucket plus its refill leaves."""
    time = Time()
    limiter = RateLimiter({"order": Limit(10, 1)}, clock=lambda: time.now, wait=time.wait)
    left: list[tuple[float, int]] = []
    for pause, weight in steps:
        time.now += pause
        if limiter.take("order", weight, 0.5):
            left.append((time.now, weight))
    for start, _ in left:
        assert sum(weight for at, weight in left if start <= at <= start + 1) <= 20 + 1e-6


def test_the_quickest_answer_tells_the_offset() -> None:
    """Half of the time on the way is the uncertainty; what was known stays when there is no answer."""
    times = iter([0, 40, 100, 110, 200, 230])
    answers: Iterator[Any] = iter([1_000, 2_105, 3_000, ExchangeUnreachable("away")])

    def ask() -> int:
        told = next(answers)
        if isinstance(told, Exception):
            raise told
        return int(told)

    clock = ServerClock(ask, wall=lambda: next(times, 300))
    assert clock.is_known is False
    assert clock.measure() == 2_000
    assert (clock.uncertainty_ms, clock.is_known) == (5, True)
    with pytest.raises(ExchangeUnreachable):
        clock.measure()
    assert clock.now_ms() == 2_300
    assert wall_ms() > NOW_MS


def test_the_offset_is_measured_again_after_ten_minutes() -> None:
    """Clocks drift and are set; what is not answered leaves what is known."""
    now = [0]
    answers: Iterator[Any] = iter([5_000, ExchangeUnreachable("away"), 1_209_000])

    def ask() -> int:
        told = next(answers)
        if isinstance(told, Exception):
            raise told
        return int(told)

    clock = ServerClock(ask, wall=lambda: now[0], samples=1)
    clock.refresh()
    assert clock.is_known is False
    clock.measure()
    for now[0], offset in ((600_000, 5_000), (600_001, 5_000), (1_200_000, 9_000), (1_200_001, 9_000)):
        clock.refresh()
        assert clock.offset_ms == offset


def test_numbers_are_written_without_exponent_and_bodies_without_spaces() -> None:
    """What is sent is what is signed."""
    assert [plain(Decimal(text)) for text in ("1E-7", "50.00", "5E+3", "100")] == ["0.0000001", "50", "5000", "100"]
    assert json_text({"a": [Decimal("0.10"), True, None, 'x"']}) == '{"a":[0.1,true,null,"x\\""]}'


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9, places=12))
def test_every_number_that_is_written_reads_back_equal(value: Decimal) -> None:
    """No digit is lost on the way out."""
    assert Decimal(plain(value)) == value
    assert decode(json_text({"x": value}))["x"] == value


@pytest.mark.parametrize(
    ("changes", "request_changes", "code"),
    [
        ({"orderTypes": ["LIMIT"]}, {"order_type": "MARKET", "price": None}, "market_not_allowed"),
        ({}, {"order_type": "MARKET"}, "price"),
        ({}, {"price": None}, "price"),
        ({"tradeSideType": 3}, {}, "side"),
        ({}, {"order_type": "MARKET", "price": None}, None),
    ],
)
def test_rules_of_spot(changes: dict[str, Any], request_changes: dict[str, Any], code: str | None) -> None:
    """A MARKET order has no price and a LIMIT order has one; a side that is closed is closed."""
    broken = broken_rule(order(**request_changes), spot_listing(spot_row(**changes)))

    assert (broken.code if broken else None) == code
    assert off_grid(order(), spot_listing(spot_row())) is None


# secrets


def test_keys_show_in_no_repr() -> None:
    """Not of the keys, not of a request."""
    request = HttpRequest("GET", "https://mexc.test", "/x", f"signature={SECRET}", SECRET, {"ApiKey": ACCESS})

    for shown in (repr(KEYS), f"{KEYS}", repr(request)):
        assert ACCESS not in shown
        assert SECRET not in shown
    assert Keys("", "").mask(b"text") == b"text"


@pytest.mark.parametrize(
    "url", ["http://api.mexc.com", "ws://wbs-api.mexc.com/ws", "ftp://x", "https://user@host", "https://h/?a=1", "mexc"]
)
def test_keys_travel_encrypted_to_where_they_belong(url: str) -> None:
    """Plain HTTP only to this machine, a private address or a service of the compose network."""
    with pytest.raises(ValidationError):
        MexcAddresses(MEXC_REST_URL=url)
    assert MexcAddresses(MEXC_REST_URL="http://cdb_sandbox:8010/").MEXC_REST_URL == "http://cdb_sandbox:8010"
    assert MexcAddresses(MEXC_WS_URL="ws://127.0.0.1:8010/ws").MEXC_WS_URL == "ws://127.0.0.1:8010/ws"


_LEAKS = f"key {ACCESS} secret {SECRET}"
_REPLIES = st.one_of(
    st.builds(TransportFailure, st.sampled_from(["timeout", "cut", "tls"]), sent=st.booleans()),
    st.builds(
        answer,
        st.one_of(
            st.builds(
                lambda code, name: {"success": False, "code": code, name: _LEAKS},
                st.sampled_from([0, 400, 429, 500, 602, 700002, 700003, 30004, 2005, 510, "x"]),
                st.sampled_from(["msg", "message"]),
            ),
            st.just(_LEAKS),
            st.just([_LEAKS]),
            st.just({"orderId": {"a": 1}}),
        ),
        st.sampled_from([200, 302, 400, 403, 418, 429, 500, 502]),
    ),
)


def _everything_said(work: Callable[[], Any]) -> str:
    try:
        return repr(work())
    except (ExchangeRefused, ExchangeUnreachable) as raised:
        said, current = [], raised
        while current is not None:
            said.append(f"{current!r} {current}")
            current = current.__cause__ or current.__context__  # type: ignore[assignment]
        return " ".join(said)


@given(_REPLIES)
def test_no_key_and_no_signature_is_ever_told(reply: HttpAnswer | TransportFailure) -> None:
    """Whatever comes back, even our own keys: outcomes and errors, with all their causes, do not hold them."""
    script = Script()
    for name in (
        "POST /api/v3/order", "GET /api/v3/order", "DELETE /api/v3/order", "GET /api/v3/account",
        "GET /api/v3/myTrades",
        "POST /api/v1/private/order/create", "GET /api/v1/private/account/assets",
        "GET /api/v1/private/order/external/BTC_USDT/cdb-1",
    ):  # fmt: skip
        script.on(name, reply)
    near, far = spot(script), perpetual(script)
    for work in (
        lambda: near.place(order()), lambda: near.query("BTCUSDT", "cdb-1"), lambda: near.cancel("BTCUSDT", "cdb-1"),
        near.balances, lambda: near.trades("BTCUSDT", 1), lambda: far.place(contract_order()), far.balances,
        lambda: far.query("BTCUSDT", "cdb-1"),
    ):  # fmt: skip
        said = _everything_said(work)
        assert ACCESS not in said
        assert SECRET not in said
        assert "signature" not in said.lower()


# the real transport


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self.server.seen.append((self.path, self.rfile.read(length), dict(self.headers)))  # type: ignore[attr-defined]
        if self.path.startswith("/cut"):
            self.connection.close()
            return
        self.send_response(302 if self.path.startswith("/moved") else 200)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "10")
        self.end_headers()
        self.wfile.write(b"0123456789")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    """An HTTP server that cuts, moves and answers."""
    running = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    running.seen = []  # type: ignore[attr-defined]
    running.daemon_threads = True
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


@pytest.fixture
def real() -> Iterator[RequestsTransport]:
    """The transport that is used in earnest."""
    transport = RequestsTransport()
    yield transport
    transport.close()


def test_the_real_transport_sends_once_follows_nothing_and_tells_what_happened(
    server: ThreadingHTTPServer, real: RequestsTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer is whole; a redirect is an answer; a cut may have arrived; a refused connection has not."""
    base = f"http://127.0.0.1:{server.server_port}"
    request = HttpRequest("POST", base, "/order", "a=1", "", {"X-MEXC-APIKEY": ACCESS})

    told = real.send(request, 5)

    assert isinstance(told, HttpAnswer)
    assert (told.status, told.body, told.headers["location"]) == (200, b"0123456789", "/elsewhere")
    moved = real.send(HttpRequest("POST", base, "/moved", body="x"), 5)
    assert isinstance(moved, HttpAnswer)
    assert moved.status == 302
    assert real.send(HttpRequest("POST", base, "/cut"), 5) == TransportFailure("cut")
    assert [path for path, _, _ in server.seen] == ["/order?a=1", "/moved", "/cut"]  # type: ignore[attr-defined]
    assert server.seen[1][1] == b"x"  # type: ignore[attr-defined]
    monkeypatch.setattr(transport_module, "_LARGEST_ANSWER", 5)
    assert real.send(request, 5) == TransportFailure("too_large")
    monkeypatch.undo()
    ticks = iter([0.0, 9.0])
    late = RequestsTransport(clock=lambda: next(ticks))
    assert late.send(request, 5) == TransportFailure("timeout")
    late.close()
    server.shutdown()
    server.server_close()
    assert real.send(HttpRequest("POST", base, "/order"), 5).sent is False  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("raised", "failure"),
    [
        (requests.ConnectionError(MaxRetryError(None, "/x", NewConnectionError(None, "refused"))), ("connect", False)),  # type: ignore[arg-type]
        (requests.ConnectionError(MaxRetryError(None, "/x", ReadTimeoutError(None, "/x", "late"))), ("cut", True)),  # type: ignore[arg-type]
        (requests.ConnectionError("Connection aborted."), ("cut", True)),
        (requests.ConnectionError(), ("cut", True)),
        (requests.ReadTimeout("late"), ("timeout", True)),
        (requests.exceptions.SSLError("handshake"), ("tls", True)),
        (requests.exceptions.ProxyError("away"), ("proxy", True)),
        (requests.exceptions.ChunkedEncodingError("short"), ("cut", True)),
    ],
)
def test_only_a_connection_that_never_was_is_certain(
    raised: Exception, failure: tuple[str, bool], real: RequestsTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything else may have reached the exchange."""

    def fail(*args: Any, **kwargs: Any) -> Any:
        assert kwargs["verify"] is True
        assert kwargs["allow_redirects"] is False
        raise raised

    monkeypatch.setattr(requests.Session, "request", fail)

    assert real.send(HttpRequest("POST", "https://mexc.test", "/order"), 5) == TransportFailure(
        *failure[:1], sent=failure[1]
    )


def test_an_answer_without_a_body_that_can_be_read_is_no_answer() -> None:
    """HTML with 200, a 404 without a code, an envelope with the wrong status."""
    exchange = spot(Script().on("GET /api/v3/account", answer("<html>")))
    with pytest.raises(ExchangeUnreachable, match="not JSON"):
        exchange.caller.once(Call("GET", "/api/v3/account"))
    exchange = spot(Script().on("GET /api/v3/account", answer(json.dumps({"a": 1}), 404)))
    with pytest.raises(ExchangeUnreachable, match="HTTP 404 without an error code"):
        exchange.caller.once(Call("GET", "/api/v3/account"))
    futures = perpetual(Script().on("GET /x", answer({"success": True, "code": 0, "data": 1}, 404)))
    with pytest.raises(ExchangeUnreachable, match="HTTP 404"):
        futures.caller.once(Call("GET", "/x", bucket="read"))
