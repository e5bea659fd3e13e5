"""The user streams: opening, confirming, reading, keeping alive, and beginning anew."""

from __future__ import annotations

import contextlib
import gzip
import json
import queue
import socket as sockets
import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.sync.server import serve

from services.cdb_execution.adapters.keys import MexcAddresses
from services.cdb_execution.adapters.open_account import open_account
from services.cdb_execution.adapters.spot_push import CHANNELS, decode_push
from services.cdb_execution.adapters.stream import MexcUserStream, connect_socket
from services.cdb_execution.adapters.stream_dialects import PerpetualStreamDialect, SpotStreamDialect
from services.cdb_execution.adapters.transport import TransportFailure
from services.cdb_execution.exchange import Balance, OrderReport, StreamState, Trade
from services.common.errors import ExchangeAnswerInvalid, ExchangeUnreachable
from services.common.mexc import push_pb2
from services.common.mexc.signing import perpetual_login_signature
from tests.unit.execution.mexc_desk import (
    ACCESS,
    KEYS,
    NOW_MS,
    SECRET,
    Script,
    answer,
    data,
    perpetual,
    spot,
)

LISTEN = "/api/v3/userDataStream"
ACK = json.dumps({"id": 1, "code": 0, "msg": ",".join(CHANNELS)})
ORDER = {
    "id": "C02__505979017439002624115", "clientId": "cdb-1", "price": "3.5121", "quantity": "1", "amount": "0",
    "avgPrice": "3.6962", "orderType": 5, "tradeType": 2, "remainAmount": "0", "remainQuantity": "0",
    "lastDealQuantity": "1", "cumulativeQuantity": "1", "cumulativeAmount": "3.6962", "status": 2,
    "createTime": 1736417034259,
}  # fmt: skip
DEAL = {
    "price": "3.6962", "quantity": "1", "amount": "3.6962", "tradeType": 2, "tradeId": "505979017439002624X1",
    "orderId": "C02__505979017439002624115", "feeAmount": "0.0003998377369698171", "feeCurrency": "MX",
    "time": 1736417034280,
}  # fmt: skip
ACCOUNT = {
    "vcoinName": "USDT",
    "balanceAmount": "0.006016465074677006",
    "frozenAmount": "4.4022",
    "time": 1758134605364,
}


def push(body: str, fields: dict[str, Any], **wrapper: Any) -> bytes:
    """Return a frame as MEXC encodes it."""
    message = push_pb2.PushDataV3ApiWrapper(
        **{"channel": "c", "symbol": "MXUSDT", "sendTime": 1736417034281, **wrapper}
    )
    getattr(message, body).CopyFrom(type(getattr(message, body))(**fields))
    return message.SerializeToString()


def test_a_pushed_spot_order_is_read() -> None:
    """The documented frame, in our words."""
    assert decode_push(push("privateOrders", ORDER)) == OrderReport(
        venue="mexc_spot", symbol="MXUSDT", side="SELL", client_order_id="cdb-1",
        exchange_order_id="C02__505979017439002624115", status="FILLED", quantity=Decimal(1),
        filled_quantity=Decimal(1), filled_notional=Decimal("3.6962"), time=1736417034281000,
    )  # fmt: skip


@pytest.mark.parametrize(("number", "status"), [(1, "NEW"), (3, "PARTIALLY_FILLED"), (4, "CANCELED"), (5, "CANCELED")])
def test_each_pushed_status_has_one_meaning(number: int, status: str) -> None:
    """5 is filled in part and then cancelled: an end. Without a sending time the creation counts."""
    fields = {**ORDER, "status": number, "cumulativeQuantity": "", "cumulativeAmount": "", "clientId": ""}

    report = decode_push(push("privateOrders", fields, sendTime=None))

    assert isinstance(report, OrderReport)
    assert (report.status, report.client_order_id, report.time) == (status, None, 1736417034259000)
    assert report.filled_quantity == 0


def test_a_pushed_spot_fill_keeps_its_fee_coin_and_its_trade_id() -> None:
    """The id is the same as when asked for: it is counted once."""
    assert decode_push(push("privateDeals", DEAL)) == Trade(
        venue="mexc_spot", symbol="MXUSDT", side="SELL", trade_id="505979017439002624X1",
        exchange_order_id="C02__505979017439002624115", client_order_id=None, quantity=Decimal(1),
        price=Decimal("3.6962"), fee=Decimal("0.0003998377369698171").quantize(Decimal("1e-18")), fee_currency="MX",
        liquidity="taker", time=1736417034280000,
    )  # fmt: skip
    maker = decode_push(push("privateDeals", {**DEAL, "isMaker": True, "feeAmount": "", "clientOrderId": "cdb-1"}))
    assert isinstance(maker, Trade)
    assert (maker.liquidity, maker.fee, maker.client_order_id) == ("maker", 0, "cdb-1")


def test_a_pushed_balance_is_read_and_other_channels_are_not_ours() -> None:
    """Available is free, frozen is locked."""
    assert decode_push(push("privateAccount", ACCOUNT)) == Balance(
        venue="mexc_spot", currency="USDT", free=Decimal("0.006016465074677006"), locked=Decimal("4.4022")
    )
    assert decode_push(push("publicMiniTicker", {"symbol": "X"})) is None


@pytest.mark.parametrize(
    "frame",
    [
        b"\x0a\xff",
        push("privateOrders", {**ORDER, "status": 9}),
        push("privateOrders", {**ORDER, "tradeType": 0}),
        push("privateOrders", {**ORDER, "quantity": "much"}),
        push("privateDeals", {**DEAL, "price": "0"}),
        push("privateDeals", {**DEAL, "tradeId": ""}),
    ],
)
def test_a_frame_that_cannot_be_is_an_error(frame: bytes) -> None:
    """Never a report with something made up."""
    with pytest.raises(ExchangeAnswerInvalid):
        decode_push(frame)


@given(
    st.sampled_from([push("privateOrders", ORDER), push("privateDeals", DEAL), push("privateAccount", ACCOUNT)]),
    st.integers(0, 200), st.binary(max_size=4),
)  # fmt: skip
def test_no_bytes_make_anything_but_a_report_or_the_one_error(frame: bytes, cut: int, more: bytes) -> None:
    """Truncated at any place, with anything behind it."""
    with contextlib.suppress(ExchangeAnswerInvalid):
        decode_push(frame[:cut] + more)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["data", "msg", "channel"]), inner),
)


@given(
    st.sampled_from(
        ["push.personal.order", "push.personal.order.deal", "push.personal.position", "push.personal.asset",
         "rs.login", "rs.error", "rs.personal.filter", "pong"]
    ),
    _JSON,
)  # fmt: skip
def test_no_text_makes_anything_but_a_meaning_or_the_one_error(channel: str, told: Any) -> None:
    """Wrong types in any field of both streams' text frames."""
    near, far = SpotStreamDialect(spot(Script()).caller, "wss://x"), far_dialect()
    for frame in (json.dumps({"channel": channel, "data": told, "msg": told}), json.dumps(told), str(told)):
        for dialect in (near, far):
            with contextlib.suppress(ExchangeAnswerInvalid):
                dialect.hear(frame)


def far_dialect(script: Script | None = None) -> PerpetualStreamDialect:
    """Return the perpetual dialect; every contract is 0.0001 BTC."""
    exchange = perpetual(script or Script())
    return PerpetualStreamDialect(exchange.caller, "wss://far", KEYS, lambda _: Decimal("0.0001"))


def test_the_listen_key_stands_in_the_address_and_is_used_again() -> None:
    """One key while it works; another when the exchange calls it invalid; given back at the end."""
    script = Script().on(f"POST {LISTEN}", answer({"listenKey": "k/1"}), answer({"listenKey": "k2"}))
    script.on(f"PUT {LISTEN}", answer({"listenKey": "k2"}), answer({"code": 730002, "msg": "gone"}, 400))
    script.on(f"DELETE {LISTEN}", TransportFailure("timeout"))
    dialect = SpotStreamDialect(spot(script).caller, "wss://near/ws")

    assert dialect.address() == dialect.address() == "wss://near/ws?listenKey=k%2F1"
    assert dialect.hear("Invalid listen key").fault == "the listen key is not valid any more"
    assert dialect.address() == "wss://near/ws?listenKey=k2"
    dialect.refresh()
    with pytest.raises(Exception, match="730002"):
        dialect.refresh()
    dialect.leave()
    assert [request.method for request in script.to(LISTEN)] == ["POST", "POST", "PUT", "PUT"]
    dialect.address()
    dialect.leave()
    assert script.sent[-1].method == "DELETE"


def test_a_spot_subscription_counts_when_all_three_channels_are_echoed() -> None:
    """`code: 0` alone says nothing: a refusal has it, too."""
    dialect = SpotStreamDialect(spot(Script()).caller, "wss://near/ws")
    assert json.loads(dialect.greeting()) == {"method": "SUBSCRIPTION", "params": list(CHANNELS), "id": 1}

    assert not dialect.hear('{"id":0,"code":0,"msg":"PONG"}').ready
    assert not dialect.hear('{"id":0,"code":0,"msg":null}').ready
    assert not dialect.hear(json.dumps({"code": 0, "msg": CHANNELS[0]})).ready
    assert dialect.hear(json.dumps({"code": 0, "msg": f"Subscribed successful! [{CHANNELS[1]},{CHANNELS[2]}]."})).ready
    refused = {"id": 0, "code": 0, "msg": f"Not Subscribed successfully! [{CHANNELS[0]}].  Reason\uff1a Blocked! "}
    assert str(dialect.hear(json.dumps(refused)).fault).startswith("refused: Not Subscribed")
    with pytest.raises(ExchangeAnswerInvalid, match="JSON is meant"):
        dialect.hear("nonsense")
    with pytest.raises(ExchangeAnswerInvalid, match="an object is meant"):
        dialect.hear("[1]")


def test_a_perpetual_stream_logs_in_and_then_says_what_it_wants() -> None:
    """Login, filter, ready; the login is signed over key and time."""
    dialect = far_dialect()
    login = json.loads(dialect.greeting())

    assert dialect.address() == "wss://far"
    assert login["param"] == {
        "apiKey": ACCESS, "reqTime": str(NOW_MS), "signature": perpetual_login_signature(SECRET, ACCESS, str(NOW_MS)),
    }  # fmt: skip
    assert (login["method"], login["subscribe"]) == ("login", False)
    reply = dialect.hear('{"channel":"rs.login","data":"success","ts":"1587442022003"}').reply
    assert [each["filter"] for each in json.loads(str(reply))["param"]["filters"]] == [
        "order", "order.deal", "position", "asset",
    ]  # fmt: skip
    assert dialect.hear('{"channel":"rs.personal.filter","data":"success"}').ready
    assert dialect.hear(json.dumps({"channel": "rs.error", "data": f"no {SECRET}"})).fault == "refused: no ********"
    assert dialect.hear('{"channel":"rs.login","data":"failed"}').fault == "refused: failed"
    dialect.refresh()
    dialect.leave()


PUSHED_ORDER = {
    "orderId": "102067003631907840", "symbol": "BTC_USDT", "price": 0.707, "vol": 1, "leverage": 15, "side": 4,
    "orderType": 5, "dealAvgPrice": 0.731, "dealVol": 1, "state": 3, "errorCode": 0, "externalOid": "_m_95bc",
    "createTime": 1610005069976, "updateTime": 1610005069983, "version": 2,
}  # fmt: skip


def test_perpetual_pushes_are_read_compressed_or_not() -> None:
    """Order, fill, position, asset; ids of numbers stay whole; other channels are not ours."""
    dialect = far_dialect()

    def hear(channel: str, told: dict[str, Any], pack: Callable[[bytes], bytes] | None = None) -> Any:
        text = json.dumps({"channel": f"push.personal.{channel}", "data": told, "ts": 1})
        return dialect.hear(pack(text.encode()) if pack else text).report

    order = hear("order", PUSHED_ORDER, gzip.compress)
    assert (order.status, order.side, order.client_order_id, order.quantity) == (
        "FILLED", "SELL", None, Decimal("0.0001"),
    )  # fmt: skip
    fill = hear(
        "order.deal",
        {"id": 987654321, "symbol": "BTC_USDT", "side": 1, "vol": 10, "price": 45000.5, "feeCurrency": "USDT",
         "fee": 0.225, "timestamp": 1760942212000, "isTaker": False, "orderId": 123456789, "externalOid": "ext_001"},
        bytes,
    )  # fmt: skip
    assert (fill.trade_id, fill.client_order_id, fill.liquidity) == ("987654321", "ext_001", "maker")
    position = {"symbol": "BTC_USDT", "positionType": 1, "holdVol": 3, "holdAvgPrice": 5, "im": 1, "leverage": 2}
    assert hear("position", position).quantity == Decimal("0.0003")
    assert (
        hear("asset", {"currency": "USDT", "availableBalance": 1, "frozenBalance": 0, "positionMargin": 2}).locked == 2
    )
    assert hear("adl.level", {}) is None
    for frame in (b"\x1f\x8b broken", b"\xff\xfe"):
        with pytest.raises(ExchangeAnswerInvalid, match="text is meant"):
            dialect.hear(frame)


def test_a_frame_that_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small frame may hold a very large text."""
    monkeypatch.setattr("services.cdb_execution.adapters.stream_dialects._LARGEST_FRAME", 1_000)

    with pytest.raises(ExchangeAnswerInvalid, match="over 1000 bytes"):
        far_dialect().hear(gzip.compress(b" " * 100_000))


def ignore(_told: Any) -> None:
    """Take what is delivered."""


class Line:
    """A connection that says what a script says; each pause lets the script's seconds pass."""

    def __init__(self, *frames: str | bytes | float | Exception) -> None:
        self.frames = list(frames)
        self.sent: list[str] = []
        self.now = 0.0
        self.closed = False

    def send(self, text: str) -> None:
        """Keep it."""
        self.sent.append(text)

    def receive(self, timeout_sec: float) -> str | bytes | None:
        """Say the next frame; a number lets time pass, an error ends the connection."""
        frame = self.frames.pop(0) if self.frames else ExchangeUnreachable("cut")
        if isinstance(frame, Exception):
            raise frame
        if isinstance(frame, float):
            self.now += frame
            return None
        return frame

    def close(self) -> None:
        """Note it."""
        self.closed = True


class Quiet(Line):
    """A connection that says what a script says, and then nothing more until it is closed."""

    def __init__(self, *frames: str | bytes | float | Exception) -> None:
        super().__init__(*frames)
        self._over = threading.Event()

    def receive(self, timeout_sec: float) -> str | bytes | None:
        """Say the next frame, or wait shortly."""
        if self.frames:
            return super().receive(timeout_sec)
        self._over.wait(0.01)
        return None


def near_stream(line: Line, script: Script | None = None, **options: Any) -> MexcUserStream:
    """Return the spot stream on a line."""
    script = script or Script()
    script.replies.setdefault(f"POST {LISTEN}", [answer({"listenKey": "k"})])
    script.replies.setdefault(f"PUT {LISTEN}", [answer({"listenKey": "k"})])
    script.replies.setdefault(f"DELETE {LISTEN}", [answer({"listenKey": "k"})])
    dialect = SpotStreamDialect(spot(script).caller, "wss://near/ws")
    return MexcUserStream(dialect, open_socket=lambda _: line, clock=lambda: line.now, **options)


def test_what_is_pushed_is_delivered_in_order_repeated_or_not() -> None:
    """Connected once all is confirmed; repetitions are passed on: their ids tell."""
    line = Line(ACK, push("privateDeals", DEAL), push("privateDeals", DEAL), push("privateAccount", ACCOUNT), ACK)
    told: list[Any] = []

    reason = near_stream(line).listen_once(told.append)

    assert [type(each) for each in told] == [StreamState, Trade, Trade, Balance]
    assert told[0] == StreamState(connected=True)
    assert (reason, line.closed) == ("cut", True)


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([11.0], "no confirmation within 10 s"),
        ([ACK, 46.0], "silent for 45 s"),
        (["Invalid listen key"], "the listen key is not valid any more"),
        ([ACK, b"\x0a\xff"], "frame of 2 bytes: a protobuf message is meant"),
        ([ACK, *[30.0, '{"msg":"PONG"}'] * 2865], "a new connection before the exchange ends this one after 24 h"),
    ],
)
def test_a_connection_of_no_use_is_given_up(frames: list[Any], reason: str) -> None:
    """Not confirmed, silent, refused, unreadable, or as old as the exchange lets it grow."""
    line = Line(*frames)

    assert near_stream(line).listen_once(ignore) == reason
    assert line.closed


def test_a_stream_is_kept_alive() -> None:
    """Pings every 15 seconds; the listen key every 25 minutes, a minute later when there was no answer."""
    script = Script().on(f"PUT {LISTEN}", TransportFailure("timeout"), answer({"listenKey": "k"}))
    line = Line(ACK, *[15.0, '{"msg":"PONG"}'] * 105)

    near_stream(line, script).listen_once(ignore)

    assert line.sent.count('{"method":"PING"}') == 105
    assert [request.method for request in script.to(LISTEN)] == ["POST", "PUT", "PUT"]


def test_a_listen_key_that_is_gone_ends_the_connection() -> None:
    """The next connection has a new one."""
    script = Script().on(f"PUT {LISTEN}", answer({"code": 730002, "msg": "gone"}, 400))
    line = Line(ACK, *[15.0, '{"msg":"PONG"}'] * 105)

    assert near_stream(line, script).listen_once(ignore) == "730002: gone"


def test_a_stream_that_cannot_be_opened_says_why() -> None:
    """No listen key, no stream."""
    script = Script().on(f"POST {LISTEN}", answer({"code": 700007, "msg": "no permission"}, 400))

    assert near_stream(Line(), script).listen_once(ignore) == "700007: no permission"


def test_a_login_is_answered_with_the_filter() -> None:
    """The reply goes out at once, and the confirmation makes it ready."""
    line = Line('{"channel":"rs.login","data":"success"}', '{"channel":"rs.personal.filter","data":"success"}',
                json.dumps({"channel": "push.personal.order", "data": PUSHED_ORDER}))  # fmt: skip
    told: list[Any] = []
    stream = MexcUserStream(far_dialect(), open_socket=lambda _: line, clock=lambda: line.now)

    stream.listen_once(told.append)

    assert [json.loads(text)["method"] for text in line.sent] == ["login", "personal.filter"]
    assert [type(each) for each in told] == [StreamState, OrderReport]


def test_a_thread_delivers_until_it_is_stopped_and_gives_the_key_back() -> None:
    """Each end is told, each new beginning too; stopped, it says nothing more."""
    lines: queue.SimpleQueue[Line] = queue.SimpleQueue()
    lines.put(Line(ACK))
    lines.put(Quiet(ACK))
    script = (
        Script().on(f"POST {LISTEN}", answer({"listenKey": "k"})).on(f"DELETE {LISTEN}", answer({"listenKey": "k"}))
    )
    stream = MexcUserStream(
        SpotStreamDialect(spot(script).caller, "wss://x"), open_socket=lambda _: lines.get(), clock=lambda: 0.0
    )
    stream._backoff._first_sec = 0.0
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()

    stream.start(told.put)

    assert [told.get(timeout=5) for _ in range(3)] == [
        StreamState(connected=True), StreamState(connected=False, reason="cut"), StreamState(connected=True),
    ]  # fmt: skip
    stream.stop()
    assert stream._thread is not None
    assert not stream._thread.is_alive()
    assert told.empty()
    assert script.sent[-1].method == "DELETE"


def test_what_no_frame_should_do_ends_the_connection_and_not_the_stream() -> None:
    """An error that nobody thought of is told, and the account is heard again."""
    lines = [Line(ACK, RuntimeError("odd")), Quiet(ACK)]
    script = Script().on(f"POST {LISTEN}", answer({"listenKey": "k"})).on(f"DELETE {LISTEN}", answer({}))
    dialect = SpotStreamDialect(spot(script).caller, "wss://x")
    stream = MexcUserStream(dialect, open_socket=lambda _: lines.pop(0), clock=lambda: 0.0)
    stream._backoff._first_sec = 0.0
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()

    stream.start(told.put)
    heard = [told.get(timeout=5) for _ in range(3)]
    stream.stop()

    assert [state.connected for state in heard] == [True, False, True]
    assert heard[1].reason == "RuntimeError while listening"


def test_a_key_that_opens_nothing_any_more_is_given_back() -> None:
    """Three connections in a row that never were confirmed: the next one asks for another key."""
    script = Script().on(f"POST {LISTEN}", answer({"listenKey": "old"}), answer({"listenKey": "new"}))
    script.on(f"DELETE {LISTEN}", answer({}))
    tried: list[str] = []

    def open_socket(address: str) -> Line:
        tried.append(address)
        if "old" in address:
            raise ExchangeUnreachable("the stream cannot be opened (InvalidStatus)")
        return Quiet(ACK)

    stream = MexcUserStream(
        SpotStreamDialect(spot(script).caller, "wss://x"), open_socket=open_socket, clock=lambda: 0.0
    )
    stream._backoff._first_sec = 0.0
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    stream.start(told.put)
    while not told.get(timeout=5).connected:
        pass
    stream.stop()

    assert len(tried) == 5
    assert "new" in tried[-1]


def test_a_stopped_stream_listens_to_nothing() -> None:
    """Told before it began."""
    stream = near_stream(Line(ACK))
    stream.stop()

    assert stream.listen_once(ignore) == "stopped"


def test_a_real_connection_sends_receives_waits_and_ends() -> None:
    """Text comes back as sent; nothing in time is None; an end is an error that shows no address."""

    def echo(connection: Any) -> None:
        for message in connection:
            if message == "end":
                connection.close()
                return
            connection.send(message)

    with serve(echo, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        port = server.socket.getsockname()[1]
        line = connect_socket(f"ws://127.0.0.1:{port}/ws?listenKey=hidden")
        assert line.receive(0.01) is None
        line.send("text")
        assert line.receive(5) == "text"
        line.send("end")
        with pytest.raises(ExchangeUnreachable, match=r"the stream has ended \(ConnectionClosedOK\)"):
            line.receive(5)
        with pytest.raises(ExchangeUnreachable, match=r"the stream has ended \(ConnectionClosedOK\)"):
            line.send("more")
        line.close()
        server.shutdown()
        thread.join()
    with sockets.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        closed = taken.getsockname()[1]
    with pytest.raises(ExchangeUnreachable, match=r"cannot be opened \(ConnectionRefusedError\)") as raised:
        connect_socket(f"ws://127.0.0.1:{closed}/ws?listenKey=hidden")
    assert "hidden" not in repr(raised.value)
    assert raised.value.__context__ is None


@pytest.mark.parametrize("venue", ["mexc_spot", "mexc_perpetual"])
def test_an_account_is_opened_with_its_stream(venue: Any) -> None:
    """The addresses are those that were given; the time is read of each venue's own call."""
    script = Script().on("GET /api/v3/account", answer({"balances": []}))
    script.on("GET /api/v1/private/account/assets", data([]))
    exchange, stream = open_account(venue, KEYS, MexcAddresses(MEXC_REST_URL="https://one.test"), transport=script)

    assert exchange.balances() == []
    assert script.sent[0].base == ("https://one.test" if venue == "mexc_spot" else "https://api.mexc.com")
    assert isinstance(stream, MexcUserStream)
    script.on("GET /api/v1/contract/ping", data("true"))
    script.on("GET /api/v3/time", answer({"serverTime": True}))
    with pytest.raises(ExchangeAnswerInvalid, match=r"=True"):
        exchange.caller.clock.measure()  # type: ignore[attr-defined]
    open_account(venue, KEYS, MexcAddresses())
