"""The live feed as a state machine: what is subscribed, what is lost, and what brings it back."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cdb_ws.live.ledger import KEEP_MS, TradeLedger
from services.cdb_ws.live.spot import SpotProtocol
from services.cdb_ws.live.words import Bad, Close, Deal, Other, Quote, Refused
from services.common.mexc.push_pb2 import PushDataV3ApiWrapper
from tests.unit.ws.live_desk import START_US, LiveDesk, book, deals, spot_row

pytestmark = pytest.mark.unit

T = START_US // 1000
BTC = "BTCUSDT"


def trade(price: str, quantity: str, time_ms: int, *, sell: bool = False) -> dict[str, Any]:
    """A row of aggTrades, which have no ids."""
    return {"a": None, "f": None, "l": None, "p": price, "q": quantity, "T": time_ms, "m": sell, "M": True}


def test_trades_and_quotes_become_observations() -> None:
    """Volume, extremes and the quote beside them; the exchange's time goes along."""
    desk = LiveDesk().begin()
    desk.frame(book(BTC, "99.5", "100.5", sent=T))
    desk.frame(deals(BTC, ("100", "0.5", 1, T + 1, "a"), ("101", "0.25", 2, T + 2, "b")))
    quote, traded = desk.observations
    assert (quote.price, quote.bid, quote.ask, quote.volume) == (100, Decimal("99.5"), Decimal("100.5"), 0)
    assert (traded.price, traded.high, traded.low, traded.volume) == (101, 101, 100, Decimal("0.75"))
    assert (traded.bid, traded.bid_size, traded.gap) == (Decimal("99.5"), Decimal("1.5"), False)
    assert traded.exchange_us == (T + 2) * 1000
    assert not desk.feed.problems(desk.now_us)


def test_grids_and_bars_come_before_the_first_connection() -> None:
    """The grids are a fact, then the closed bars, and only then the connection is asked for."""
    desk = LiveDesk(FEED_WARMUP_MIN=600)
    desk.take(desk.feed.begin(desk.now_us))
    step = desk.answer("instruments", {"symbols": [spot_row()]})
    assert [action for action, _ in step.facts] == ["instruments"]
    assert not desk.opens
    rows = [[T - 60_000, "1", "3", "0.5", "2", "7", T, "14"], [T, "9", "9", "9", "9", "9", T, "9"]]
    desk.answer("klines", rows)
    step = desk.answer("klines", [])
    (warmup,) = step.warmups
    assert [(bar.start_us, bar.close, bar.volume) for bar in warmup.bars] == [((T - 60_000) * 1000, 2, 7)]
    assert len(desk.opens) == 1


def test_a_lost_connection_marks_a_gap_until_its_trades_are_brought_back() -> None:
    """After a cut everything is marked until the answer comes; no trade is counted twice, whatever way it takes."""
    desk = LiveDesk().begin()
    desk.frame(book(BTC, "99", "101"))
    desk.frame(deals(BTC, ("100", "1", 1, T + 1, "a")))
    desk.take(desk.feed.closed(1, "cut", desk.now_us))
    assert desk.feed.problems(desk.now_us)
    desk.connect()
    desk.frame(book(BTC, "99", "101"))
    desk.frame(deals(BTC, ("102", "4", 1, T + 9, "d")))
    assert [one.gap for one in desk.observations] == [False, False, True, True]
    desk.answer("trades", [trade("100", "1", T + 1), trade("105", "2", T + 5), trade("102", "4", T + 9)])
    healed = desk.observations[-1]
    assert (healed.volume, healed.high, healed.price, healed.gap) == (2, 105, 102, True)
    desk.frame(deals(BTC, ("105", "2", 1, T + 5, "c"), ("102", "4", 1, T + 9, "d"), ("103", "8", 1, T + 10, "e")))
    assert desk.volume == 1 + 4 + 2 + 8
    assert not desk.observations[-1].gap
    assert not desk.feed.problems(desk.now_us)


def test_blocked_with_code_0_is_a_refusal() -> None:
    """A refusal in words alone is told, unhealthy, and asked for again; the rest of the answer counts."""
    desk = LiveDesk()
    desk.take(desk.feed.begin(desk.now_us))
    desk.answer("time", {"serverTime": T})
    desk.answer("instruments", {"symbols": [spot_row()]})
    desk.take(desk.feed.opened(1, desk.now_us))
    one, two, three = json.loads(desk.sent[-1][1])["params"]
    text = f"Subscribed successful! [{one},{two}]. Not Subscribed successfully! [{three}].  Reason\uff1a Blocked! "
    desk.frame(json.dumps({"id": 0, "code": 0, "msg": text}))
    assert "SUBSCRIPTION_REFUSED" in desk.codes
    assert desk.feed.problems(desk.now_us) == {three: "refused: Blocked!"}
    desk.sent.clear()
    desk.frame(book(BTC, "99", "101"))
    desk.later(29)
    desk.frame(book(BTC, "99", "101"))
    desk.later(3)
    assert [json.loads(text)["params"] for _, text in desk.sent if "SUBSCRIPTION" in text] == [[three]]


def test_silence_is_noticed_alone_and_together() -> None:
    """A symbol that is silent beside others gets a connection of its own; a silent connection is replaced."""
    desk = LiveDesk(BTC, "ETHUSDT").begin(spot_row(), spot_row("ETHUSDT"))
    for _ in range(4):
        desk.later(9)
        desk.frame(book(BTC, "99", "101"), 1)
    assert "FEED_SILENT" in desk.codes
    assert "silent_ETHUSDT" in desk.feed.problems(desk.now_us)
    desk.connect()
    desk.frame(book("ETHUSDT", "9", "11"))
    assert desk.observations[-1].gap
    assert not desk.feed.problems(desk.now_us)
    assert not any(one.gap for one in desk.observations if one.symbol == BTC)


def test_a_subscribed_topic_that_pushes_no_trades_is_found_out() -> None:
    """When the exchange has trades that it did not push, the topic is dead: reconnect and bring them back."""
    desk = LiveDesk().begin()
    desk.frame(deals(BTC, ("100", "1", 1, T, "a")))
    for _ in range(4):
        desk.later(9)
        desk.frame(book(BTC, "99", "101"))
    desk.answer("trades", [trade("101", "2", T + 8_000)])
    assert desk.closes
    desk.connect()
    desk.answer("trades", [trade("100", "1", T), trade("101", "2", T + 8_000)])
    assert desk.volume == 3


def test_a_connection_is_replaced_before_its_time_without_a_hole() -> None:
    """The successor takes over when it carries everything; trades that both bring are counted once."""
    desk = LiveDesk(FEED_ROTATE_MIN=1, FEED_SILENCE_SEC=600).begin()
    desk.frame(deals(BTC, ("100", "1", 1, T, "")))
    desk.later(30)
    desk.frame('{"id":0,"code":0,"msg":"PONG"}')
    desk.later(31)
    desk.connect()
    for connection in (1, 2):
        desk.frame(deals(BTC, ("100", "2", 1, T + 61_000, ""), ("100", "2", 1, T + 61_000, "")), connection)
    desk.frame(book(BTC, "99", "101"), 2)
    desk.later(1)
    assert [close.connection for close in desk.closes] == [1]
    assert desk.volume == 5
    assert not any(one.gap for one in desk.observations)


@pytest.mark.parametrize(
    "frame",
    [
        deals(BTC, ("100", "1", 1, T, "a"))[:-9],
        b'{"channel":"x"}',
        b"<html>502</html>",
        deals(BTC, ("NaN", "1", 1, T, "")),
        deals(BTC, ("-1", "1", 1, T, "")),
        deals(BTC, ("1", "1", 3, T, "")),
        book(BTC, "1e999", "2"),
        book(BTC, "1", "2", version="x"),
        b"\xff\xff",
        b"",
    ],
)
def test_wrong_bytes_are_kept_and_mark_a_gap(frame: bytes) -> None:
    """Whatever comes is counted and kept with the reason; what may have been lost is asked for."""
    desk = LiveDesk().begin()
    step = desk.frame(frame)
    (rejected,) = step.rejected
    assert rejected.raw == frame
    assert rejected.reason
    assert desk.feed.bad_frames == 1
    assert [ask.kind for ask in desk.asks] == ["trades"]


def test_text_that_is_no_json_loses_nothing() -> None:
    """Data come in protobuf alone, so an odd text is only kept."""
    desk = LiveDesk().begin()
    assert desk.frame("<html>").rejected
    assert not desk.asks
    assert not desk.frame('{"id":0,"code":0,"msg":"PONG"}')
    assert desk.frame('{"method":"PING"}').actions
    assert not desk.frame('{"id":0,"code":0,"msg":"hello"}')


def test_older_quotes_are_passed_over() -> None:
    """A version below the last one is late."""
    desk = LiveDesk().begin()
    desk.frame(book(BTC, "99", "101", version="7"))
    desk.frame(book(BTC, "1", "2", version="6"))
    assert len(desk.observations) == 1


def test_without_a_way_to_the_exchange_it_says_so_and_keeps_trying() -> None:
    """Host and cause are named; the question is asked again, later each time; an answer ends the trouble."""
    desk = LiveDesk()
    desk.take(desk.feed.begin(desk.now_us))
    for _ in range(8):
        desk.answer("instruments", b"the host's name cannot be resolved", status=0)
    text = desk.feed.problems(desk.now_us)["rest_instruments"]
    assert text == "GET https://api.mexc.com/api/v3/exchangeInfo: the host's name cannot be resolved"
    assert next(ask for ask in desk.asks if ask.kind == "instruments").after_ms == 30_000
    desk.answer("instruments", {"symbols": [spot_row()]})
    assert "rest_instruments" not in desk.feed.problems(desk.now_us)


def test_trades_that_cannot_be_brought_back_are_told() -> None:
    """After some attempts the loss stands, with an alert, and what follows is whole again."""
    desk = LiveDesk().begin()
    desk.frame(deals(BTC, ("100", "1", 1, T, "a")))
    desk.take(desk.feed.closed(1, "cut", desk.now_us))
    desk.connect()
    for _ in range(6):
        desk.answer("trades", b"<html>", status=502)
    assert "FEED_GAP_UNHEALED" in desk.codes
    desk.frame(book(BTC, "99", "101"))
    desk.frame(book(BTC, "99", "101"))
    assert [one.gap for one in desk.observations][1:] == [True, False]


def test_a_symbol_that_is_not_listed_is_named() -> None:
    """It is unhealthy and told; the others are watched."""
    desk = LiveDesk(BTC, "NOPEUSDT").begin()
    assert "SYMBOL_NOT_TRADED" in desk.codes
    assert "NOPEUSDT" in desk.feed.problems(desk.now_us)["symbols"]
    assert list(desk.feed.instruments) == [BTC]


def test_more_symbols_than_fit_get_more_connections() -> None:
    """Three topics a symbol, thirty a connection: the eleventh symbol opens a second one."""
    symbols = [f"C{number:02}USDT" for number in range(11)]
    desk = LiveDesk(*symbols).begin(*map(spot_row, symbols))
    assert [len(slot.symbols) for slot in desk.feed.slots] == [10, 1]
    assert desk.feed.status(desk.now_us)["connections"][1]["symbols"] == ["C10USDT"]


def test_a_restart_marks_the_first_of_each_symbol() -> None:
    """What the process missed while it was away is a gap, once."""
    desk = LiveDesk(resumed=True).begin()
    desk.frame(book(BTC, "99", "101"))
    desk.frame(book(BTC, "99", "101"))
    assert [one.gap for one in desk.observations] == [True, False]


def test_the_exchange_clock_is_measured_again_and_again() -> None:
    """The offset is the exchange's time less ours, half the way there and back."""
    desk = LiveDesk().begin()
    assert desk.feed.offset_ms == 0
    desk.later(61)
    desk.answer("time", {"serverTime": desk.now_us // 1000 + 1_500})
    assert desk.feed.offset_ms == 1_500


def test_books_empty_sides_and_odd_pushes_are_read() -> None:
    """A limited book gives its best levels, an empty side is none, a size of 0 is no level; other bodies are passed."""
    protocol = SpotProtocol()
    message = PushDataV3ApiWrapper(channel="spot@public.limit.depth.v3.api.pb@BTCUSDT@5", createTime=T)
    for price, size in (("98", "1"), ("99", "2"), ("99.5", "0")):
        message.publicLimitDepths.bids.add(price=price, quantity=size)
    (seen,) = protocol.decode(message.SerializeToString())
    assert isinstance(seen, Quote)
    assert (seen.symbol, seen.bid, seen.bid_size, seen.ask, seen.time_ms) == (BTC, 99, 2, None, T)
    (seen,) = protocol.decode(book(BTC, "", "0"))
    assert isinstance(seen, Quote)
    assert (seen.bid, seen.ask) == (None, None)
    other = PushDataV3ApiWrapper(channel="spot@x", symbol=BTC)
    other.publicSpotKline.interval = "Min1"
    assert isinstance(protocol.decode(other.SerializeToString())[0], Other)
    for wrong in (PushDataV3ApiWrapper(symbol=BTC), PushDataV3ApiWrapper(channel="c", symbol="B")):
        assert isinstance(protocol.decode(wrong.SerializeToString())[0], Bad)
    for text in ("[]", "{}", '{"msg":"Not Subscribed successfully!"}', '{"code":3,"msg":"[a@b]"}'):
        assert isinstance(protocol.decode(text)[0], Bad | Refused)
    desk = LiveDesk().begin()
    desk.frame('{"code":0,"msg":"Not Subscribed successfully! [unknown@x]. Reason: no"}')
    assert desk.feed.refusals == 1
    assert desk.take(desk.feed.opened(99, desk.now_us)).actions == [Close(99, "nobody wants it any more")]
    assert not desk.take(desk.feed.closed(99, "x", desk.now_us))
    assert not desk.feed.frame(99, b"", desk.now_us)


def test_old_trades_are_forgotten() -> None:
    """The memory reaches back so far and no further."""
    ledger = TradeLedger()
    for n in range(3):
        ledger.count("a", Deal(Decimal(1), Decimal(1), True, T + n * KEEP_MS, f"{n}"))
        ledger.count("b", Deal(Decimal(2), Decimal(1), True, T + n * KEEP_MS))
    assert len(ledger._order) <= 4
    assert "0" not in ledger._ids


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9)), max_size=60))
def test_volume_in_is_volume_out_whatever_way_and_how_often(pushed: list[tuple[str, int]]) -> None:
    """Each of ten trades counts once, with what the healing answer brings: all of them, over whatever way they came."""
    ledger, counted = TradeLedger(), 0
    for way, n in pushed:
        counted += ledger.count(way, Deal(Decimal(1), Decimal(1), True, T + n, f"id{n}"))
    for n in range(10):
        counted += ledger.count("r", Deal(Decimal(1), Decimal(1), True, T + n))
    assert counted == 10


def test_equal_trades_without_ids_are_counted_by_number() -> None:
    """Two equal trades of one way are two; another way that brings three adds one; a name for one adds none."""
    ledger = TradeLedger()
    one = Deal(Decimal(100), Decimal(1), True, T)
    assert [ledger.count("a", one) for _ in range(2)] == [True, True]
    assert [ledger.count("b", one) for _ in range(3)] == [False, False, True]
    named = Deal(one.price, one.quantity, one.buy, T, "x")
    assert not ledger.count("c", named)
    assert ledger.repeated == 3


def test_an_instrument_that_is_closed_or_changes_its_rules_is_told() -> None:
    """Every half hour the listing is asked for again: what has changed of a watched symbol is a fact, closed an alert.

    A symbol that is not listed any more is closed; what stays as it was is not repeated.
    """
    desk = LiveDesk(BTC, "ETHUSDT").begin(spot_row(BTC), spot_row("ETHUSDT"))

    def told(*rows: dict[str, Any]) -> list[Any]:
        desk.later(30 * 60)
        facts = desk.answer("instruments", {"symbols": list(rows)}).facts
        return [
            (row["symbol"], row.get("closed"), row["min_notional"]) for _, fact in facts for row in fact["instruments"]
        ]

    assert told(spot_row(BTC), spot_row("ETHUSDT")) == []
    assert told(spot_row(BTC, status="2"), spot_row("ETHUSDT", quoteAmountPrecision="5")) == [
        (BTC, "status 2", 1), ("ETHUSDT", None, 5),
    ]  # fmt: skip
    assert desk.codes.count("SYMBOL_NOT_TRADED") == 1
    assert told(spot_row(BTC)) == [(BTC, None, 1), ("ETHUSDT", "not listed any more", 5)]
    assert desk.codes.count("SYMBOL_NOT_TRADED") == 2
