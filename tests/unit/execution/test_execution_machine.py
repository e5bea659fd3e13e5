"""The life of orders on the paper exchange, from approval to their one end."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from services.cdb_execution.decisions import DECISIONS_REMEMBERED
from services.cdb_execution.machine import ExecutionMachine
from services.cdb_execution.settings import INSTRUMENTS
from services.cdb_execution.state import ORDERS_REMEMBERED
from services.common import channels
from services.common.codec import encode
from services.common.errors import StateMismatch
from services.common.events import OrderResult
from services.common.identity import client_order_id, derive_id, order_id
from services.common.portfolio import Portfolio
from services.common.timestamps import MS_US
from tests.unit.execution.execution_desk import START_US, Desk, decision_id

pytestmark = pytest.mark.unit


def statuses(desk: Desk) -> list[str]:
    """Return the statuses of all results so far."""
    return [result.status for result in desk.results]


def last(desk: Desk) -> OrderResult:
    """Return the last result."""
    return desk.results[-1]


def test_an_approved_order_is_accepted_and_fills_after_the_latency() -> None:
    """NEW at once; a quote 249 ms later does nothing, one 250 ms later fills, with every number of trading.md 3."""
    desk = Desk()
    desk.quote(0, volume="100")

    (new,) = desk.send(1_000)
    assert isinstance(new, OrderResult)
    assert (new.status, new.filled_quantity, new.mode, new.reason) == ("NEW", 0, "paper", None)
    assert desk.quote(1_249) == []
    (filled,) = desk.quote(1_250)

    # 40001 * (1 + 0.001 * sqrt(0.2 / 100)) = 40002.7889 -> 40002.79; fee 0.2 * 40002.79 * 0.0005 = 4.000279;
    # slippage (40002.79 / 40000 - 1) * 10^4 = 0.6975 bps
    assert isinstance(filled, OrderResult)
    assert filled.status == "FILLED"
    assert filled.filled_quantity == filled.last_quantity == Decimal("0.2")
    assert filled.average_price == filled.last_price == Decimal("40002.79")
    assert (filled.fee, filled.fee_currency, filled.liquidity) == (Decimal("4.000279"), "USDT", "taker")
    assert filled.slippage_bps == Decimal("0.6975")
    assert filled.trade_id == derive_id("run-1", "trade", new.order_id, 1)
    assert filled.timestamp == START_US + 1_250 * MS_US
    assert (filled.correlation_id, filled.causation_id) == ("chain-1", "md-3")
    assert filled.fill is not None
    assert filled.fill["rule"] == "paper_ioc_v1"
    assert filled.fill["volume_60s"] == 100
    assert filled.fill["eligible_from"] == "2021-05-19T12:00:01.250000Z"
    assert filled.fill["quote_timestamp"] == "2021-05-19T12:00:01.250000Z"
    assert filled.fill["quote_event_id"] == "md-3"
    assert filled.fill["sigma_known"] is False


def test_a_sale_of_what_is_held_fills_at_the_bid() -> None:
    """39999 * (1 - 0.001 * sqrt(0.2/V60)), V60 = 100000: 39999 less 0.0566 -> 39998.94; slippage 0.265 bps."""
    desk = Desk()
    after = desk.hold("0.2")

    desk.send(after, side="SELL", purpose="exit")
    (filled,) = desk.quote(after + 250, size="1000")

    assert isinstance(filled, OrderResult)
    assert (filled.status, filled.last_price) == ("FILLED", Decimal("39998.94"))
    assert filled.slippage_bps == Decimal("0.265")
    assert desk.machine.summary()["positions"] == {}


def test_the_rest_of_a_partial_fill_is_cancelled() -> None:
    """A = 0.03: 0.12 of 0.2 fills, 0.08 is given up in the same breath."""
    desk = Desk()
    desk.send(0)

    partial, canceled = desk.quote(250, size="0.03", volume="100")

    assert isinstance(partial, OrderResult)
    assert isinstance(canceled, OrderResult)
    assert (partial.status, partial.filled_quantity, partial.last_quantity) == (
        "PARTIALLY_FILLED",
        Decimal("0.12"),
        Decimal("0.12"),
    )
    assert (canceled.status, canceled.filled_quantity, canceled.last_quantity) == ("CANCELED", Decimal("0.12"), None)
    assert canceled.reason == "REMAINDER: levels let 0.12 fill; 0.08 is given up"
    assert canceled.average_price == partial.average_price
    assert canceled.trade_id is None
    assert desk.quote(500, size="100", volume="100") == []


def test_an_order_that_cannot_fill_waits_and_then_fills() -> None:
    """A quote without size leaves it working; the next one with size fills it."""
    desk = Desk()
    desk.send(0)

    assert desk.quote(250, size=None, volume="100") == []
    assert [event.status for event in desk.quote(9_999) if isinstance(event, OrderResult)] == ["FILLED"]


@pytest.mark.parametrize(
    ("quote", "reason"),
    [
        ({"bid": None, "ask": None}, "NO_QUOTE: market data without bid and ask"),
        ({"ask": None}, "NO_QUOTE: market data without bid and ask"),
        ({"bid": "40002"}, "NO_QUOTE: bid 40002 and ask 40001 are no valid quote"),
        ({"bid": "40001"}, "NO_QUOTE: bid 40001 and ask 40001 are no valid quote"),
        ({"bid": "0.001"}, "NO_QUOTE: bid 0.001 and ask 40001 are no valid quote"),
        ({"bid": "37998", "ask": "37999.99"}, "PRICE_COLLAR: touch 37999.99 is too good to be true, mid was 40000"),
        ({"size": "0"}, "NO_SIZE: 0 shown at the touch, 0 taken by us"),
        ({"volume": "0.000001"}, "PARTICIPATION_CAP: 0.1 of 0.000001 traded in 60 s, 0 filled by us"),
        (
            {"bid": "40080", "ask": "40082"},
            "PROTECTION_PRICE: the smallest fill would be at 40082.01, protected at 40081",
        ),
    ],
)
def test_an_order_that_could_not_fill_expires_and_says_why(quote: dict[str, Any], reason: str) -> None:
    """Ten seconds of now after acceptance it expires with the obstacle of the last attempt."""
    desk = Desk()
    desk.send(0)
    desk.quote(5_000, **{"volume": "100", "price": "40000"} | quote)

    assert desk.tick(9_999) == []
    (expired,) = desk.tick(10_000)

    assert isinstance(expired, OrderResult)
    assert (expired.status, expired.reason) == ("EXPIRED", reason)
    assert expired.filled_quantity == 0


def test_a_quote_at_the_collar_is_believed() -> None:
    """5 % under mid at decision is the last quote that a buy may fill at."""
    desk = Desk()
    desk.send(0)

    desk.quote(250, bid="37999", ask="38000", volume="100")

    assert last(desk).status == "FILLED"


def test_a_sale_does_not_believe_too_good_a_bid() -> None:
    """A bid over 5 % above mid at decision fills nothing; at 5 % it does."""
    desk = Desk()
    after = desk.hold("0.2")
    desk.send(after, side="SELL", purpose="stop_loss")

    assert desk.quote(after + 250, bid="42000.01", ask="42001") == []
    desk.quote(after + 500, bid="42000", ask="42001")

    assert last(desk).status == "FILLED"


def test_without_any_quote_an_order_expires_saying_so() -> None:
    """The clock alone ends an order when the feed is dead."""
    desk = Desk()
    desk.send(0)

    desk.tick(10_000)

    assert last(desk).reason == "NO_QUOTE: none came after the latency of 250 ms"


def test_a_real_quote_after_the_end_does_not_fill() -> None:
    """At ten seconds of now the order is over, also when the quote comes before the tick."""
    desk = Desk()
    desk.send(0)

    (expired,) = desk.quote(10_000, size="100", volume="100")

    assert isinstance(expired, OrderResult)
    assert expired.status == "EXPIRED"


def test_a_constructed_quote_is_tried_even_when_it_comes_late() -> None:
    """The quarter-minute quotes of a candle file stand for the stretch before them: the first one is tried, once."""
    desk = Desk()
    desk.send(0)
    desk.quote(15_000, size="100", volume="100", synthetic=True)
    desk.send(60_000)
    desk.quote(75_000, size="0", synthetic=True)

    assert statuses(desk) == ["NEW", "FILLED", "NEW", "EXPIRED"]
    assert desk.results[1].fill is not None
    assert desk.results[1].fill["synthetic"] is True
    assert last(desk).reason == "NO_SIZE: 0 shown at the touch, 0.2 taken by us"


@pytest.mark.parametrize(
    ("side", "bid", "ask", "touch"),
    [
        ("BUY", "39799", "39801", "40001"),  # a better price that is made up: moved to mid at decision
        ("BUY", "40009", "40011", "40011"),  # a worse one is believed
        ("SELL", "40199", "40201", "39999"),
        ("SELL", "39989", "39991", "39989"),
    ],
)
def test_a_constructed_quote_gives_no_better_price_than_there_was(side: str, bid: str, ask: str, touch: str) -> None:
    """Within a candle the low is assumed to come first: a buy must not profit from that, nor a sale from a high."""
    desk = Desk()
    after = desk.hold("0.2")
    desk.send(after, side=side, purpose="entry" if side == "BUY" else "exit")

    (filled,) = desk.quote(after + 15_000, bid, ask, size="100", volume="100", synthetic=True)

    assert isinstance(filled, OrderResult)
    assert filled.fill is not None
    assert filled.fill["touch"] == Decimal(touch)
    assert (filled.fill["quote_bid"], filled.fill["quote_ask"]) == (Decimal(bid), Decimal(ask))
    assert filled.slippage_bps is not None
    assert filled.slippage_bps > 0


def test_a_real_quote_may_give_a_better_price() -> None:
    """What was really shown after the latency can be had."""
    desk = Desk()
    desk.send(0)

    (filled,) = desk.quote(250, "39799", "39801", size="100", volume="100")

    assert isinstance(filled, OrderResult)
    assert filled.slippage_bps is not None
    assert filled.slippage_bps < -40


def test_quotes_from_before_the_order_never_fill_it() -> None:
    """A quote that arrives later but is stamped before order plus latency is no quote for it."""
    desk = Desk()
    desk.send(1_000)
    desk.tick(2_000)

    assert desk.quote(1_249, size="100", volume="100") == []
    assert last(desk).status == "NEW"


def test_another_instrument_does_not_fill_it() -> None:
    """Neither another symbol, nor the same symbol on another venue, nor one without a grid."""
    desk = Desk()
    desk.send(0)

    desk.quote(250, symbol="ETHUSDT", size="100", volume="100")
    desk.quote(250, venue="mexc_perpetual", size="100", volume="100")
    desk.quote(250, symbol="XRPUSDT", size="100", volume="100")

    assert statuses(desk) == ["NEW"]
    assert set(desk.machine.state.markets) == {"mexc_spot:ETHUSDT"}


def test_two_orders_share_one_touch() -> None:
    """0.3 shown: the first order takes 0.2 of it, for the second 0.1 is left at the touch."""
    desk = Desk()
    desk.send(0)
    desk.send(0)

    first, second = (event for event in desk.quote(250, size="0.3", volume="100") if isinstance(event, OrderResult))

    assert first.fill is not None
    assert second.fill is not None
    assert (first.fill["q1"], first.fill["q2"]) == (Decimal("0.2"), 0)
    assert (second.fill["available"], second.fill["q1"], second.fill["q2"]) == (
        Decimal("0.1"),
        Decimal("0.1"),
        Decimal("0.1"),
    )
    assert second.fill["own_60s"] == Decimal("0.2")


def test_what_was_taken_at_the_touch_is_gone_for_the_next_order() -> None:
    """0.03 shown and 0.12 filled, of which 0.03 at the touch: the next order finds nothing there."""
    desk = Desk()
    desk.send(0)
    desk.quote(250, size="0.03", volume="100")
    desk.send(250)
    desk.quote(500, size="0.03")

    (working,) = desk.machine.state.working
    assert working.obstacle == "NO_SIZE: 0.03 shown at the touch, 0.03 taken by us"


def test_a_buy_takes_from_the_ask_and_a_sale_from_the_bid() -> None:
    """Each side has its own size: 0.01 bid and 5 asked let 0.2 be bought and 0.04 be sold."""
    desk = Desk()
    desk.send(0)
    desk.quote(250, bid_size="0.01", size="5", volume="100")
    desk.send(250, side="SELL", purpose="exit")
    desk.quote(500, bid_size="0.01", size="5")

    assert [result.last_quantity for result in desk.results if result.last_quantity] == [
        Decimal("0.2"),
        Decimal("0.04"),
    ]


def test_our_share_of_a_minute_is_not_exceeded_by_many_orders() -> None:
    """V60 = 3: 0.3 in all; 0.2 for the first order, 0.1 for the second, nothing for the third."""
    desk = Desk()
    for _ in range(3):
        desk.send(0)

    desk.quote(250, size="100", volume="3")

    fills = [result.last_quantity for result in desk.results if result.last_quantity is not None]
    assert fills == [Decimal("0.2"), Decimal("0.1")]
    assert [order.obstacle for order in desk.machine.state.working] == [
        "PARTICIPATION_CAP: 0.1 of 3 traded in 60 s, 0.3 filled by us"
    ]


def test_a_market_order_is_protected_from_the_touch() -> None:
    """Without a price at most MAX_SLIPPAGE_PCT from the touch: with 0.0001 a deep sale is cut to 39995.0001."""
    desk = Desk(MAX_SLIPPAGE_PCT=Decimal("0.0001"))
    after = desk.hold("1.5")

    desk.send(after, {"order_type": "MARKET", "price": None}, side="SELL", purpose="stop_loss", quantity="1.5")
    desk.quote(after + 250, size="0.4")

    partial = desk.results[-2]
    assert partial.fill is not None
    assert partial.fill["limited_by"] == "protection"
    assert partial.fill["protection_price"] == Decimal("39995.0001")
    assert partial.fill["worst_price"] == Decimal("39995.01")


@pytest.mark.parametrize(
    ("order", "decision", "reason"),
    [
        ({"time_in_force": "FOK"}, {}, "TIME_IN_FORCE: FOK is not supported"),
        (
            {"time_in_force": "GTC", "order_type": "MARKET", "price": None},
            {"side": "SELL", "purpose": "exit"},
            "TIME_IN_FORCE: GTC is not supported",
        ),
        ({"leverage": 2}, {}, "LEVERAGE: leverage 2 on spot"),
        ({}, {"side": "SELL"}, "SIDE: entry by SELL on spot"),
        ({"reduce_only": True}, {}, "SIDE: entry by BUY, reduce-only on spot"),
        ({}, {"purpose": "exit"}, "SIDE: exit by BUY, reduce-only on spot"),
        ({"price": None}, {}, "PRICE_MISSING: LIMIT entry without a protective price"),
        ({"price": None, "order_type": "MARKET"}, {}, "PRICE_MISSING: MARKET entry without a protective price"),
        (
            {"price": None},
            {"side": "SELL", "purpose": "exit"},
            "PRICE_MISSING: LIMIT exit without a protective price",
        ),
        ({"reference_price": None}, {}, "PRICE_MISSING: no mid at decision"),
        ({"reference_price": Decimal("0.009")}, {}, "PRICE_GRID: mid at decision 0.009 is under one tick"),
        ({"price": Decimal("40000.001")}, {}, "PRICE_GRID: price 40000.001 is not a multiple of 0.01"),
        ({"price": Decimal("42800.01")}, {}, "PRICE_TOO_FAR: price 42800.01, mid at decision 40000"),
        ({"quantity": Decimal("0.0000015")}, {}, "LOT_GRID: quantity 0.0000015 is not a multiple of 0.000001"),
        ({"quantity": Decimal("0.000024")}, {}, "MIN_NOTIONAL: value 0.96 is under 1 USDT"),
        ({}, {"quantity": "100.000001"}, "MAX_NOTIONAL: value 4000000.04 is over 4000000 USDT"),
        ({}, {"side": "SELL", "purpose": "stop_loss"}, "EXCEEDS_POSITION: sells 0.2, but only 0 can be sold"),
        ({}, {"venue": "mexc_perpetual"}, "UNKNOWN_INSTRUMENT: BTCUSDT on mexc_perpetual"),
        ({}, {"symbol": "XRPUSDT"}, "UNKNOWN_INSTRUMENT: XRPUSDT on mexc_spot"),
        ({"client_order_id": "cdb-taken"}, {}, "DUPLICATE_CLIENT_ORDER_ID: cdb-taken is taken"),
    ],
)
def test_an_order_that_the_exchange_would_refuse_is_rejected(
    order: dict[str, Any], decision: dict[str, Any], reason: str
) -> None:
    """The result is REJECTED with a coded reason; nothing works, nothing fills, no alert pages anybody."""
    desk = Desk()
    desk.quote(0)
    desk.send(0, {"client_order_id": "cdb-taken", "time_in_force": "FOK"})

    (rejected,) = desk.send(0, order, **decision)

    assert isinstance(rejected, OrderResult)
    assert (rejected.status, rejected.reason) == ("REJECTED", reason)
    assert desk.machine.state.working == []
    assert desk.quote(300, size="100", volume="100") == []
    assert desk.alerts == []


@pytest.mark.parametrize(
    "order",
    [
        {"price": Decimal("42800.00"), "quantity": Decimal(90)},
        {"quantity": Decimal("0.000025")},
        {"quantity": Decimal(100), "price": Decimal(40_000)},
    ],
)
def test_an_order_at_a_bound_is_accepted(order: dict[str, Any]) -> None:
    """Exactly 7 % over mid, exactly 1 USDT and exactly 4 million USDT pass."""
    desk = Desk()

    desk.send(0, order, quantity="100")

    assert statuses(desk) == ["NEW"]


def test_quantity_under_the_minimum_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the minimum quantity is above one lot it is checked on its own."""
    desk = Desk()
    coarse = INSTRUMENTS["mexc_spot:BTCUSDT"].model_copy(update={"min_quantity": Decimal("0.3")})
    monkeypatch.setitem(desk.machine.settings.instruments, "mexc_spot:BTCUSDT", coarse)

    desk.send(0)
    desk.send(0, quantity="0.3")

    assert [result.reason for result in desk.results] == ["MIN_QUANTITY: quantity 0.2 is under 0.3", None]


def test_what_is_being_sold_cannot_be_sold_again() -> None:
    """Held 0.5, a working sale of 0.3: 0.2 can still be sold, 0.200001 cannot; the other coin does not matter."""
    desk = Desk()
    after = desk.hold("0.5")
    desk.send(after, side="SELL", purpose="exit", quantity="0.3")

    desk.send(after, side="SELL", purpose="stop_loss", quantity="0.200001")
    desk.send(after, side="SELL", purpose="stop_loss", quantity="0.2")
    desk.send(after, side="SELL", purpose="stop_loss", quantity="0.2", symbol="ETHUSDT")

    assert statuses(desk)[-3:] == ["REJECTED", "NEW", "REJECTED"]
    assert desk.results[-3].reason == "EXCEEDS_POSITION: sells 0.200001, but only 0.2 can be sold"


def test_an_entry_that_is_too_old_is_refused_and_an_exit_is_not() -> None:
    """Five seconds of now is the age at which an entry is refused; a late stop is better than none."""
    desk = Desk()
    after = desk.hold("0.2")
    entries = [desk.decision(after) for _ in range(2)]
    stop = desk.decision(after, side="SELL", purpose="stop_loss")
    for decision in [*entries, stop]:
        desk.append(decision)

    desk.tick(after + 5_000)
    desk.append(desk.order_of(entries[0]))
    desk.tick(after + 5_001)
    desk.append(desk.order_of(entries[1], timestamp=START_US + (after + 5_001) * MS_US))
    desk.append(desk.order_of(stop))

    assert [(result.status, result.reason) for result in desk.results[-3:]] == [
        ("NEW", None),
        ("REJECTED", "TOO_OLD: 5001 ms old, at most 5000 ms are allowed"),
        ("NEW", None),
    ]


def test_an_order_from_the_future_is_refused() -> None:
    """Nobody but cdb_ws moves the clock."""
    desk = Desk()
    decision = desk.decision(0)
    desk.append(decision)

    desk.append(desk.order_of(decision, timestamp=START_US + 1_500 * MS_US))

    assert last(desk).reason == "FROM_THE_FUTURE: 1500 ms ahead"


def test_the_life_of_a_late_order_begins_at_its_acceptance() -> None:
    """An exit that reaches execution late still gets its ten seconds."""
    desk = Desk()
    after = desk.hold("0.2")
    stop = desk.decision(after, side="SELL", purpose="stop_loss")
    desk.append(stop)
    desk.tick(after + 60_000)
    desk.append(desk.order_of(stop))

    assert desk.tick(after + 69_999) == []
    assert len(desk.tick(after + 70_000)) == 1


def test_a_sale_of_one_coin_does_not_hold_back_another() -> None:
    """What is being sold is counted by instrument."""
    desk = Desk()
    after = desk.hold("0.2")
    desk.send(after, symbol="ETHUSDT", quantity="0.2")
    desk.quote(after + 250, symbol="ETHUSDT", size="1000", volume="1000")
    desk.send(after + 250, side="SELL", purpose="exit", symbol="ETHUSDT")

    desk.send(after + 250, side="SELL", purpose="exit")

    assert statuses(desk)[-3:] == ["FILLED", "NEW", "NEW"]


# two keys


@pytest.mark.parametrize(
    ("order", "decision", "code"),
    [
        ({"producer": "cdb_core"}, {}, "ORDER_NOT_FROM_RISK"),
        ({"decision_id": "unknown"}, {}, "DECISION_MISSING"),
        ({}, {"producer": "cdb_core"}, "DECISION_MISSING"),
        ({}, {"approved": False}, "DECISION_NOT_APPROVED"),
        ({"venue": "mexc_perpetual"}, {}, "DECISION_MISMATCH"),
        ({"symbol": "ETHUSDT"}, {}, "DECISION_MISMATCH"),
        ({"side": "SELL"}, {}, "DECISION_MISMATCH"),
        ({"purpose": "flatten"}, {}, "DECISION_MISMATCH"),
        ({"signal_id": None}, {}, "DECISION_MISMATCH"),
        ({"quantity": Decimal("0.200001")}, {}, "DECISION_QUANTITY"),
        ({}, {"status": "fail"}, "DECISION_LAYERS"),
        ({}, {"status": "not_evaluated"}, "DECISION_LAYERS"),
        ({}, {"status": "bypass"}, "DECISION_LAYERS"),
        ({}, {"layers": ("data_quality",) * 7}, "DECISION_LAYERS"),
        ({}, {"status": "fail", "side": "SELL", "purpose": "stop_loss"}, "DECISION_LAYERS"),
        ({}, {"state": "REDUCING"}, "DECISION_STATE"),
        ({}, {"state": ""}, "DECISION_STATE"),
        ({}, {"state": "FROZEN", "side": "SELL", "purpose": "stop_loss"}, "DECISION_STATE"),
    ],
)
@pytest.mark.security
@pytest.mark.risk
def test_an_order_that_its_decision_does_not_cover_is_refused_loudly(
    order: dict[str, Any], decision: dict[str, Any], code: str
) -> None:
    """REJECTED with the code, and a CRITICAL alert: something that should be impossible has happened."""
    desk = Desk()

    alert, rejected = desk.send(0, order, **decision)

    assert isinstance(rejected, OrderResult)
    assert rejected.status == "REJECTED"
    assert str(rejected.reason).startswith(f"{code}: ")
    expected = "ORDER_WITHOUT_DECISION" if code == "DECISION_MISSING" else "ORDER_CONTRADICTS_DECISION"
    assert (alert.level, alert.code) == ("CRITICAL", expected)  # type: ignore[attr-defined]
    assert code in alert.message  # type: ignore[attr-defined]
    assert desk.quote(300, size="100", volume="100") == []


def test_bypassed_layers_let_an_exit_through() -> None:
    """Bypasses are risk's to give to exits."""
    desk = Desk()
    after = desk.hold("0.2")

    desk.send(after, side="SELL", purpose="stop_loss", status="bypass", state="HALTED")

    assert last(desk).status == "NEW"


@pytest.mark.security
def test_a_decision_opens_once() -> None:
    """A second order for the same decision is refused, also when the first one was rejected."""
    desk = Desk()
    decision = desk.decision(0)
    desk.append(decision)

    desk.append(desk.order_of(decision, time_in_force="FOK"))
    desk.append(desk.order_of(decision, order_id="another", client_order_id="another"))

    assert [str(result.reason).partition(":")[0] for result in desk.results] == ["TIME_IN_FORCE", "DECISION_USED"]
    assert len(desk.alerts) == 1


@pytest.mark.security
def test_a_stranger_cannot_use_up_a_decision() -> None:
    """An order that is not risk's is refused and leaves the decision to risk."""
    desk = Desk()
    decision = desk.decision(0)
    desk.append(decision)

    desk.append(desk.order_of(decision, producer="stranger", order_id="forged", client_order_id="forged"))
    desk.append(desk.order_of(decision))

    assert statuses(desk) == ["REJECTED", "NEW"]


@pytest.mark.security
def test_an_order_id_that_comes_twice_has_one_life() -> None:
    """The second gets a CRITICAL alert and no result, so that the first one ends exactly once."""
    desk = Desk()
    first = desk.decision(0)
    desk.append(first)
    desk.append(desk.order_of(first))
    desk.quote(250, volume="100")
    second = desk.decision(300)
    desk.append(second)

    (alert,) = desk.append(desk.order_of(second, order_id=order_id(first.event_id)))

    assert alert.code == "DUPLICATE_ORDER"  # type: ignore[attr-defined]
    assert statuses(desk) == ["NEW", "FILLED"]
    assert desk.quote(600, size="100", volume="100") == []


def test_memory_of_decisions_and_orders_is_bounded() -> None:
    """Old decisions count as missing; the books of ids do not grow for ever."""
    desk = Desk()
    old = desk.decision(0)
    desk.append(old)
    for _ in range(DECISIONS_REMEMBERED):
        desk.append(desk.decision(0))
    desk.append(desk.order_of(old))
    for _ in range(ORDERS_REMEMBERED):
        desk.append(desk.order_of(old, order_id=f"o{len(desk.entries)}", client_order_id=f"c{len(desk.entries)}"))

    assert str(desk.results[0].reason).startswith("DECISION_MISSING")
    assert len(desk.machine.state.decisions) == DECISIONS_REMEMBERED
    assert len(desk.machine.state.known_orders) == ORDERS_REMEMBERED
    assert len(desk.machine.summary()["last_outcomes"]) == 20


# trading states


@pytest.mark.risk
@pytest.mark.parametrize(
    ("freeze", "accepted"),
    [(False, ["stop_loss", "flatten"]), (True, ["flatten"])],
)
def test_a_halted_execution_refuses_what_its_state_forbids(freeze: bool, accepted: list[str]) -> None:
    """The second key: also an order that risk approved is refused; after the operator's resume it is not."""
    desk = Desk()
    after = desk.hold("0.2")
    desk.halt(freeze=freeze)

    passed = []
    for purpose, side in [("entry", "BUY"), ("exit", "SELL"), ("stop_loss", "SELL"), ("flatten", "SELL")]:
        desk.send(after, side=side, purpose=purpose, quantity="0.05")
        if last(desk).status == "NEW":
            passed.append(purpose)
        else:
            state = "FROZEN" if freeze else "HALTED"
            assert last(desk).reason == f"TRADING_STATE: {purpose} while execution is {state}"
    desk.resume(by=None)
    desk.send(after)
    desk.resume()
    desk.send(after)

    assert passed == accepted
    assert statuses(desk)[-2:] == ["REJECTED", "NEW"]


@pytest.mark.risk
def test_a_command_that_comes_twice_is_done_once_but_a_halt_always() -> None:
    """A resume sent again after its answer was lost does not undo the halt between; a repeated halt halts."""
    desk = Desk()
    desk.halt()
    desk.resume(command_id="c1")
    desk.control("halt", producer=channels.OPERATOR, by="ben", reason="stop", command_id="c2")

    desk.resume(command_id="c1")

    assert desk.machine.state.trading_state == "HALTED"
    desk.resume(command_id="c3")
    assert desk.machine.state.trading_state == "ACTIVE"
    desk.control("halt", producer=channels.OPERATOR, by="ben", reason="stop", command_id="c2")
    assert desk.machine.state.trading_state == "HALTED"


@pytest.mark.risk
def test_a_halt_cancels_what_may_no_longer_work() -> None:
    """A working entry is cancelled by halt, a working stop only by freeze."""
    desk = Desk()
    after = desk.hold("0.2")
    desk.send(after)
    desk.send(after, side="SELL", purpose="stop_loss", quantity="0.1")

    (entry,) = desk.halt()
    (stop,) = desk.halt(freeze=True)

    assert isinstance(entry, OrderResult)
    assert isinstance(stop, OrderResult)
    assert (entry.status, entry.side, entry.reason) == ("CANCELED", "BUY", "TRADING_STATE: execution is HALTED")
    assert (stop.status, stop.side, stop.reason) == ("CANCELED", "SELL", "TRADING_STATE: execution is FROZEN")
    assert desk.halt(freeze=True) == []


@pytest.mark.risk
def test_working_entries_are_cancelled_when_risk_stops_entering() -> None:
    """REDUCING cancels working entries and keeps working exits; new entries are refused until risk is ACTIVE again."""
    desk = Desk()
    after = desk.hold("0.2")
    desk.send(after)
    desk.send(after, side="SELL", purpose="exit", quantity="0.1")

    (canceled,) = desk.control("trading_state", after, producer="cdb_risk", details={"state": "REDUCING"})
    desk.send(after)
    desk.control("trading_state", after, producer="cdb_core", details={"state": "ACTIVE"})
    desk.send(after)
    desk.control("trading_state", after, producer="cdb_risk", details={"state": "ACTIVE"})
    desk.send(after)

    assert isinstance(canceled, OrderResult)
    assert (canceled.side, canceled.reason) == ("BUY", "TRADING_STATE: risk is REDUCING")
    assert [result.reason for result in desk.results[-3:]] == [
        "TRADING_STATE: entry while risk is REDUCING",
        "TRADING_STATE: entry while risk is REDUCING",
        None,
    ]
    assert [order.side for order in desk.machine.state.working] == ["SELL", "BUY"]


@pytest.mark.risk
def test_a_flatten_halts_what_is_not_protective() -> None:
    """After the operator's flatten nothing enters any more, and the flattening order itself works."""
    desk = Desk()
    after = desk.hold("0.2")
    desk.send(after)

    (canceled,) = desk.control("flatten", after, producer="operator", by="ada")
    desk.send(after, side="SELL", purpose="flatten")

    assert isinstance(canceled, OrderResult)
    assert canceled.reason == "TRADING_STATE: execution is HALTED"
    assert last(desk).status == "NEW"


def test_the_end_of_a_recorded_feed_ends_working_orders() -> None:
    """Nothing can fill them any more, and risk's reservations must end."""
    desk = Desk()
    desk.send(0)

    (canceled,) = desk.control("finished", 100)

    assert isinstance(canceled, OrderResult)
    assert (canceled.status, canceled.reason) == ("CANCELED", "FEED_FINISHED: no further quote will come")


def test_other_control_events_change_nothing() -> None:
    """Warm-up bars never fill, and what concerns risk alone is risk's."""
    desk = Desk()
    desk.send(0)

    for action in ("warmup", "start_of_day", "reset_breaker", "resolve_order"):
        assert desk.control(action, producer="operator") == []

    assert len(desk.machine.state.working) == 1


# the fold


def test_an_unconfigured_machine_says_nothing() -> None:
    """Before its own config event the machine has no outputs."""
    desk = Desk(configured=False)

    assert desk.send(0) == []


def test_channels_that_are_not_consumed_are_passed_over() -> None:
    """Its own results come back in the journal and change nothing."""
    desk = Desk()
    desk.send(0)

    assert desk.append(desk.results[0]) == []
    assert desk.machine.fold.n == len(desk.entries)


def test_a_new_run_starts_flat() -> None:
    """Another run id forgets orders and positions and keeps the configuration."""
    desk = Desk()
    desk.hold("0.2")
    desk.send(300)

    desk.start("run-2")

    assert desk.machine.summary() == ExecutionMachine().summary()
    desk.send(0)
    assert last(desk).status == "NEW"


def test_changed_settings_take_effect_on_the_next_order() -> None:
    """A working order keeps the life that it was given."""
    desk = Desk()
    desk.send(0)
    desk.configure(desk.machine.settings.model_copy(update={"PAPER_ORDER_LIFE_SEC": 1}))
    desk.send(0)

    assert len(desk.tick(1_000)) == 1
    assert len(desk.tick(10_000)) == 1


@pytest.mark.parametrize("restarting", [False, True])
def test_a_day_of_everything_gives_the_same_bytes_whether_restarted_or_not(restarting: bool) -> None:
    """Dumping and restoring before every entry changes no output and no state; equal entries give equal bytes."""

    def a_day(desk: Desk) -> Desk:
        desk.quote(0, volume="100")
        desk.send(0)
        desk.quote(250, size="0.03", volume="3.5")
        desk.send(400, quantity="0.3")
        desk.send(400, {"quantity": Decimal(9)})
        desk.quote(700, size="0.3", volume="1")
        desk.send(61_000, side="SELL", purpose="exit", quantity="0.1")
        desk.quote(61_300, size="0.05", volume="0.2")
        desk.halt()
        desk.send(62_000)
        desk.resume()
        desk.send(63_000)
        desk.tick(73_000)
        return desk

    once, again = a_day(Desk()), a_day(Desk(restarting=restarting))

    assert [event.data for event in again.outputs] == [event.data for event in once.outputs]
    assert again.machine.dump() == once.machine.dump()
    assert {"NEW", "PARTIALLY_FILLED", "CANCELED", "FILLED", "REJECTED", "EXPIRED"} <= set(statuses(once))


def test_a_foreign_state_is_refused() -> None:
    """Bytes that are no state of this machine are not taken over."""
    with pytest.raises(StateMismatch, match="cdb_execution"):
        ExecutionMachine().restore(encode({"fold": {}, "state": {"working": 1}}))


def test_results_balance_in_the_ledger() -> None:
    """The ledger that risk and the writer keep books every result, and holds what execution says it holds."""
    desk = Desk()
    after = desk.hold("0.5")
    desk.send(after, side="SELL", purpose="exit", quantity="0.5")
    desk.quote(after + 250, size="0.05", volume="1")
    ledger = Portfolio.with_cash(Decimal(100_000))

    booked = [ledger.book(result) for result in desk.results]

    assert [quantity for quantity in booked if quantity] == [Decimal("0.5"), Decimal("0.2")]
    assert ledger.position("mexc_spot", "BTCUSDT").quantity == desk.machine.state.positions["mexc_spot:BTCUSDT"]
    assert desk.machine.summary()["positions"] == {"mexc_spot:BTCUSDT": Decimal("0.3")}


def test_the_summary_shows_what_works_and_what_ended() -> None:
    """`/status` names working orders with their obstacle, counts by status and the last outcomes."""
    desk = Desk()
    desk.send(0)
    desk.send(0, {"leverage": 2})
    desk.quote(250, size="0", volume="10")

    summary = desk.machine.summary()

    assert (summary["trading_state"], summary["risk_state"]) == ("ACTIVE", "ACTIVE")
    (working,) = summary["working_orders"]
    assert working["order_id"] == order_id(decision_id(1))
    assert working["deadline"] == "2021-05-19T12:00:10.000000Z"
    assert working["obstacle"].startswith("NO_SIZE")
    (ended,) = summary["last_outcomes"]
    assert (ended["status"], ended["reason"]) == ("REJECTED", "LEVERAGE: leverage 2 on spot")
    assert ended["timestamp"] == "2021-05-19T12:00:00.000000Z"
    assert summary["order_results"] == {"NEW": 1, "REJECTED": 1}
    assert desk.results[0].client_order_id == client_order_id(decision_id(1))
    encode(summary)
