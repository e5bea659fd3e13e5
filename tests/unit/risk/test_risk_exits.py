"""Strategy exits, stops, flatten: what leaves, what stays latched, and how it asks again."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cdb_execution.settings import INSTRUMENTS
from services.cdb_risk.market import Quote
from services.cdb_risk.prices import worth_enough
from services.cdb_risk.situation import Situation
from services.common import channels
from services.common.events import RiskDecision
from services.common.market_facts import instrument_details
from tests.unit.risk.risk_desk import BTC, RiskDesk, layer

pytestmark = [pytest.mark.unit, pytest.mark.risk]

HELD = Decimal("0.149997")


def statuses(decision: RiskDecision) -> list[str]:
    """Return the seven statuses in their order."""
    return [verdict.status for verdict in decision.layers]


def test_strategy_exit_sells_what_is_held() -> None:
    """A good quote: the whole position leaves with protection 0.004 under the bid, bypassing 2 to 6."""
    desk = RiskDesk()
    desk.hold()
    desk.quote(at_ms=1_000)
    decision = desk.exit()
    assert decision.approved
    assert statuses(decision) == ["pass", "bypass", "bypass", "bypass", "bypass", "bypass", "pass"]
    order = desk.orders[-1]
    assert (order.side, order.purpose, order.reduce_only, order.quantity) == ("SELL", "exit", True, HELD)
    assert order.price == Decimal("49799.01")  # 49999 * 0.996 = 49799.004, up to the tick
    assert decision.sizing.method == "position"
    assert decision.sizing.requested == HELD
    assert desk.machine.state.exits[BTC].attempts == 1
    desk.result(order)
    assert desk.machine.state.exits == {}


def test_exit_while_flat_is_recorded_no_position() -> None:
    """Nothing is held: refused, reason NO_POSITION, nothing latched."""
    desk = RiskDesk()
    desk.quote()
    decision = desk.exit()
    assert not decision.approved
    assert decision.reason == "NO_POSITION"
    assert layer(decision, "position_limits").status == "fail"
    assert desk.machine.state.exits == {}
    assert desk.machine.summary()["decisions"]["refused"] == {"NO_POSITION": 1}


def test_an_exit_that_buys_has_nothing_to_cover() -> None:
    """On spot there is no short: a buy exit is NO_POSITION also while a long is held."""
    desk = RiskDesk()
    desk.hold()
    decision = desk.signal("buy", "exit")
    assert (decision.approved, decision.reason, decision.side) == (False, "NO_POSITION", "BUY")
    assert desk.machine.state.exits == {}


def test_exit_of_an_unknown_instrument_is_refused() -> None:
    """Nothing is known of it: refused in layers 1, 2 and 7."""
    decision = RiskDesk().exit(symbol="DOGEUSDT")
    assert decision.reason == "NO_POSITION"
    assert layer(decision, "data_quality").code == "UNKNOWN_SYMBOL"
    assert layer(decision, "spread_check").status == "bypass"
    assert not decision.approved


def test_a_second_exit_is_refused_while_one_works_and_sells_never_pass_the_position() -> None:
    """One working exit at a time; what is being sold is not sold again."""
    desk = RiskDesk()
    desk.hold()
    desk.quote(at_ms=1_000)
    desk.exit()
    decision = desk.exit()
    assert (decision.approved, decision.reason) == (False, "EXIT_WORKING")
    assert len([order for order in desk.orders if order.side == "SELL"]) == 1


def test_partly_filled_exit_asks_again_after_two_seconds() -> None:
    """0.1 of 0.149997 is sold, the rest cancelled; the rest leaves on the first quote two seconds later."""
    desk = RiskDesk()
    desk.hold()
    desk.quote(at_ms=1_000)
    desk.exit()
    order = desk.orders[-1]
    desk.result(order, "PARTIALLY_FILLED", filled="0.1", price=49_900)
    desk.result(order, "CANCELED", filled="0.1", last=0)
    desk.quote(at_ms=2_999)
    assert len(desk.orders) == 2
    desk.quote(at_ms=3_000)
    retry = desk.orders[-1]
    assert (retry.quantity, retry.purpose) == (HELD - Decimal("0.1"), "exit")
    assert retry.signal_id == order.signal_id
    assert retry.correlation_id == order.correlation_id
    assert retry.price == order.price  # a strategy exit does not escalate
    desk.quote(at_ms=6_000)
    assert len(desk.orders) == 3, "one working order at a time"
    desk.result(retry)
    assert desk.machine.state.exits == {}


def test_an_exit_signal_right_after_an_exit_order_waits_two_seconds() -> None:
    """The exit was rejected at once; a second signal within two seconds is EXIT_TOO_SOON and the latch asks again."""
    desk = RiskDesk()
    desk.hold()
    desk.quote(at_ms=1_000)
    desk.exit()
    desk.result(desk.orders[-1], "REJECTED")
    decision = desk.exit()
    assert (decision.approved, decision.reason) == (False, "EXIT_TOO_SOON")
    desk.quote(at_ms=3_000)
    assert desk.decisions[-1].approved


@pytest.mark.parametrize(
    ("bid", "ask", "code"), [("50001", "50000", "CROSSED_BOOK"), ("54999", "55001", "PRICE_COLLAR")]
)
def test_strategy_exit_waits_for_a_good_quote(bid: str, ask: str, code: str) -> None:
    """On a crossed book or off the collar it is refused and stays latched; a good quote sends it."""
    desk = RiskDesk()
    desk.hold()
    desk.quote(bid, ask, at_ms=1_000)
    decision = desk.exit()
    assert (decision.approved, decision.reason) == (False, "data_quality")
    assert layer(decision, "data_quality").code == code
    desk.quote(bid, ask, at_ms=2_000)
    assert len(desk.orders) == 1
    desk.quote(at_ms=3_000)
    assert desk.decisions[-1].approved
    assert desk.orders[-1].purpose == "exit"


def test_strategy_exit_on_old_data_waits() -> None:
    """61 s without a quote: latched; the next quote sends it."""
    desk = RiskDesk()
    desk.hold()
    desk.tick(61_000)
    decision = desk.exit()
    assert (decision.reason, layer(decision, "timeout_check").code) == ("timeout_check", "DATA_STALE")
    desk.quote(at_ms=61_500)
    assert desk.orders[-1].purpose == "exit"


def test_old_exit_signal_is_refused_once_and_then_carried_out() -> None:
    """A late exit is still an exit: refused as stale, latched, sent with the next good quote."""
    desk = RiskDesk()
    desk.hold()
    desk.quote(at_ms=100_000)
    decision = desk.exit(at_ms=30_000)
    assert layer(decision, "timeout_check").code == "SIGNAL_STALE"
    desk.quote(at_ms=100_250)
    assert desk.orders[-1].purpose == "exit"


def test_exit_signal_during_an_entry_waits_for_its_fill() -> None:
    """Flat with a working entry: NO_POSITION, but latched, so that the fill does not stay by itself."""
    desk = RiskDesk()
    desk.quote()
    entry = desk.buy()
    assert desk.exit().reason == "NO_POSITION"
    desk.quote(at_ms=500)
    assert len(desk.orders) == 1
    desk.result(entry, price=50_000)
    desk.quote(at_ms=1_000)
    assert desk.orders[-1].purpose == "exit"


def test_exit_latched_during_an_entry_ends_with_an_entry_that_never_filled() -> None:
    """The entry expires without a fill: nothing is left to exit."""
    desk = RiskDesk()
    desk.quote()
    entry = desk.buy()
    desk.exit()
    desk.result(entry, "EXPIRED")
    assert desk.machine.state.exits == {}


# stops


@pytest.mark.parametrize(("bid", "stopped"), [("49000.01", False), ("49000", True), ("48000", True)])
def test_stop_triggers_on_the_bid_at_equality(bid: str, stopped: bool) -> None:
    """Entry 50 000, stop 2 %: a bid of exactly 49 000 stops, a cent more does not."""
    desk = RiskDesk()
    desk.hold(price=50_000)
    desk.quote(bid, Decimal(bid) + 2, at_ms=1_000)
    assert (len(desk.orders) == 2) is stopped
    if stopped:
        decision, order = desk.decisions[-1], desk.orders[-1]
        assert (decision.signal_id, decision.purpose, decision.approved) == (None, "stop_loss", True)
        assert order.quantity == HELD
        assert order.reduce_only
        assert order.correlation_id == desk.entries[-1].event.event_id
        assert statuses(decision) == ["pass", "bypass", "bypass", "bypass", "bypass", "bypass", "pass"]


def test_stop_escalates_to_market_and_stays_latched_though_the_price_recovers() -> None:
    """Protection 0.4 %, 0.8 %, 1.6 %, 2 %, then MARKET, at most every two seconds, also above the stop again."""
    desk = RiskDesk()
    desk.hold(price=50_000)
    prices = []
    for attempt in range(6):
        desk.quote("48999" if attempt == 0 else "49500", "49501", at_ms=1_000 + 2_000 * attempt)
        order = desk.orders[-1]
        prices.append((order.order_type, order.price))
        desk.result(order, "EXPIRED")
    assert prices == [
        ("LIMIT", Decimal("48803.01")),  # 48999 * 0.996 = 48803.004
        ("LIMIT", Decimal("49104.00")),  # 49500 * 0.992
        ("LIMIT", Decimal("48708.00")),  # 49500 * 0.984
        ("LIMIT", Decimal("48510.00")),  # 49500 * 0.98
        ("MARKET", None),
        ("MARKET", None),
    ]
    assert len(desk.orders) == 7


def test_stop_works_off_the_collar() -> None:
    """A jump of 20 % down is no good quote, but a valid one: the stop leaves, the mark does not move."""
    desk = RiskDesk()
    desk.hold(price=50_000)
    desk.quote("40000", "40002", at_ms=1_000)
    assert desk.orders[-1].purpose == "stop_loss"
    assert desk.machine.state.account.portfolio.marks[BTC].price == 50_000


def test_stop_does_not_trigger_on_a_crossed_book() -> None:
    """A crossed book is no quote to sell at."""
    desk = RiskDesk()
    desk.hold(price=50_000)
    desk.quote("40002", "40000", at_ms=1_000)
    assert len(desk.orders) == 1


def test_stop_takes_over_from_a_latched_strategy_exit() -> None:
    """The strategy exit was rejected; the stop is more urgent, and waits its two seconds."""
    desk = RiskDesk()
    desk.hold(price=50_000)
    desk.quote(at_ms=1_000)
    desk.exit()
    desk.result(desk.orders[-1], "REJECTED")
    desk.quote("48999", "49001", at_ms=2_000)
    assert (desk.decisions[-1].purpose, desk.decisions[-1].reason) == ("stop_loss", "EXIT_TOO_SOON")
    desk.quote("48999", "49001", at_ms=3_000)
    assert desk.orders[-1].purpose == "stop_loss"
    assert desk.orders[-1].price == Decimal("48803.01"), "the first attempt of the stop"


def test_stop_while_a_strategy_exit_works_is_recorded_and_follows_it() -> None:
    """The working exit sells everything: the stop is EXIT_WORKING, and takes over when that exit ends."""
    desk = RiskDesk()
    desk.hold(price=50_000)
    desk.quote(at_ms=1_000)
    desk.exit()
    desk.quote("48999", "49001", at_ms=2_000)
    assert (desk.decisions[-1].purpose, desk.decisions[-1].reason) == ("stop_loss", "EXIT_WORKING")
    desk.result(desk.orders[-1], "EXPIRED")
    desk.quote("48999", "49001", at_ms=4_000)
    assert desk.orders[-1].purpose == "stop_loss"


def test_an_exit_signal_does_not_weaken_a_latched_stop() -> None:
    """A strategy exit while a stop is latched goes on as the stop, at its protection."""
    desk = RiskDesk()
    desk.hold(price=50_000)
    desk.quote("48999", "49001", at_ms=1_000)
    desk.result(desk.orders[-1], "EXPIRED")
    desk.tick(3_000)
    decision = desk.exit()
    assert (decision.approved, decision.purpose) == (True, "stop_loss")
    assert decision.signal_id is not None
    assert desk.orders[-1].price == Decimal("48607.01")  # 48999 * 0.992 = 48607.008


def test_dust_ends_an_exit_and_is_told() -> None:
    """0.00001 BTC at 48 999 is 0.49 USDT: below the minimum order, so the exit ends with a note."""
    desk = RiskDesk()
    desk.hold(price=50_000)
    desk.quote("48999", "49001", at_ms=1_000)
    order = desk.orders[-1]
    sold = HELD - Decimal("0.00001")
    desk.result(order, "PARTIALLY_FILLED", filled=sold, price=48_900)
    desk.result(order, "CANCELED", filled=sold, last=0)
    assert desk.machine.state.exits == {}
    assert desk.alert_codes()[-1] == "POSITION_DUST"
    assert desk.machine.summary()["positions"][0]["dust"] is True
    assert desk.exit().reason == "DUST"
    assert desk.machine.state.exits == {}
    desk.quote("48999", "49001", at_ms=62_000)
    assert len(desk.orders) == 2, "dust is not stopped again"
    assert desk.signal(price=49_000).approved


def test_exit_that_becomes_dust_by_price_ends_at_its_retry() -> None:
    """What is left was worth 1.02 USDT and is worth 0.98 at the retry: it ends there."""
    desk = RiskDesk()
    desk.hold(price=50_000)
    desk.quote(at_ms=1_000)
    desk.exit()
    order = desk.orders[-1]
    sold = HELD - Decimal("0.00002")  # 0.00002 at 49 999 is just under 1 USDT ...
    desk.quote("51000", "51002", at_ms=1_500)  # ... and 1.02 USDT here
    desk.result(order, "PARTIALLY_FILLED", filled=sold, price=50_900)
    desk.result(order, "CANCELED", filled=sold, last=0)
    assert BTC in desk.machine.state.exits
    desk.quote("49000", "49002", at_ms=4_000)
    assert desk.machine.state.exits == {}
    assert desk.alert_codes()[-1] == "POSITION_DUST"


def test_fee_in_base_coin_leaves_dust_and_no_oversell() -> None:
    """The exchange takes its fee in BTC: the exit sells only whole lots of what is left."""
    desk = RiskDesk()
    desk.quote()
    entry = desk.buy()
    desk.result(entry, price=50_000, fee="0.0000749985", fee_currency="BTC")
    desk.quote(at_ms=1_000)
    decision = desk.exit()
    assert decision.approved
    assert desk.orders[-1].quantity == Decimal("0.149922")  # 0.1499220015 on the lot
    desk.result(desk.orders[-1])
    assert desk.machine.state.exits == {}
    assert desk.machine.state.account.portfolio.positions[BTC].quantity == Decimal("0.0000000015")


# flatten


def test_flatten_closes_everything_and_halts() -> None:
    """Every position leaves at once with purpose flatten; trading halts until resumed; entries are refused."""
    desk = RiskDesk(ENTRY_SPACING_SEC=0)
    desk.hold()
    desk.quote("2999", "3001", symbol="ETHUSDT")
    desk.hold(symbol="ETHUSDT", price=3_000)
    desk.command("flatten", by="ana", reason="news")
    assert [(o.symbol, o.purpose) for o in desk.orders[-2:]] == [("BTCUSDT", "flatten"), ("ETHUSDT", "flatten")]
    assert desk.states == ["HALTED"]
    assert desk.orders[-1].signal_id is None
    for order in desk.orders[-2:]:
        desk.result(order)
    assert desk.machine.state.exits == {}
    desk.quote(at_ms=1_000)
    assert desk.signal().reason == "circuit_breaker"


def test_flatten_catches_an_entry_that_fills_afterwards() -> None:
    """Nothing is held yet: NO_POSITION is recorded, and what the working entry still buys is sold."""
    desk = RiskDesk()
    desk.quote()
    entry = desk.buy()
    desk.command("flatten", by="ana")
    assert desk.decisions[-1].reason == "NO_POSITION"
    desk.result(entry, price=50_000)
    desk.quote(at_ms=1_000)
    assert desk.orders[-1].purpose == "flatten"


def test_flatten_while_flat_only_halts() -> None:
    """There is nothing to close, but whoever flattens does not want a new entry."""
    desk = RiskDesk()
    desk.quote()
    desk.command("flatten", by="ana", reason="holiday")
    assert desk.decisions == []
    assert desk.states == ["HALTED"]


def test_flatten_on_old_data_stays_latched() -> None:
    """The last quote is 61 s old: refused, latched, and sent with the next quote."""
    desk = RiskDesk()
    desk.hold()
    desk.tick(61_000)
    desk.command("flatten", by="ana", reason="r")
    assert desk.decisions[-1].reason == "timeout_check"
    desk.quote(at_ms=62_000)
    assert desk.orders[-1].purpose == "flatten"


def test_flatten_without_any_quote_says_what_is_missing() -> None:
    """Held without a quote (after a restore, say): the exit is recorded as lacking data."""
    desk = RiskDesk()
    desk.hold()
    desk.machine.state.market.clear()
    desk.command("flatten", by="ana", reason="r")
    decision = desk.decisions[-1]
    assert decision.reason == "data_quality, timeout_check"
    assert layer(decision, "timeout_check").code == "TIMESTAMP_MISSING"


# halted and frozen


def test_halt_blocks_strategy_exits_and_lets_stops_run() -> None:
    """After `halt` a strategy exit is latched and silent until resumed; a stop leaves."""
    desk = RiskDesk()
    desk.hold(price=50_000)
    desk.command("halt", by="ana", reason="look")
    decision = desk.exit()
    assert (decision.reason, layer(decision, "circuit_breaker").code) == ("circuit_breaker", "OPERATOR_HALT")
    desk.quote(at_ms=3_000)
    assert len(desk.decisions) == 2, "a blocked retry is not recorded again"
    desk.quote("48999", "49001", at_ms=4_000)
    assert desk.orders[-1].purpose == "stop_loss"


def test_resume_lets_a_latched_strategy_exit_go() -> None:
    """What the strategy wanted before is still wanted."""
    desk = RiskDesk()
    desk.hold()
    desk.command("halt")
    desk.exit()
    desk.command("resume", by="ana", reason="fine")
    desk.quote(at_ms=3_000)
    assert desk.orders[-1].purpose == "exit"


def test_freeze_blocks_everything_but_flatten() -> None:
    """Frozen: no stop leaves (it is recorded once and latched), flatten does."""
    desk = RiskDesk()
    desk.hold(price=50_000)
    desk.command("halt", by="ana", reason="books differ", details={"freeze": True})
    desk.quote("48999", "49001", at_ms=1_000)
    decision = desk.decisions[-1]
    assert (decision.purpose, decision.reason) == ("stop_loss", "circuit_breaker")
    assert layer(decision, "circuit_breaker").code == "FROZEN"
    desk.quote("48999", "49001", at_ms=4_000)
    assert len(desk.decisions) == 2
    assert len(desk.orders) == 1
    desk.command("flatten", by="ana", reason="out")
    assert desk.orders[-1].purpose == "flatten"


def test_market_data_of_a_flat_instrument_retry_nothing() -> None:
    """Quotes without position and without latch make no decisions."""
    desk = RiskDesk()
    for second in range(5):
        desk.quote(at_ms=1_000 * second)
    assert desk.decisions == []


def test_protective_prices_stay_where_the_exchange_takes_them() -> None:
    """Within 0.3 % of the last price: 0.4 % under the bid is moved there, and so is 0.2 % over the ask of an entry.

    Where no order goes without a price, the farthest one that there is stands for it.
    """
    desk = RiskDesk()
    desk.hold()
    band = {"sell_band": Decimal("0.003"), "buy_band": Decimal("0.001"), "market_orders": False}
    told = [INSTRUMENTS[BTC].model_copy(update=band)]
    desk._control("instruments", service=channels.WS, details=instrument_details(told))
    desk.quote(at_ms=1_000, price=50_000)

    desk.exit()
    first = desk.orders[-1]
    for attempt in range(8):
        desk.result(desk.orders[-1], "EXPIRED")
        desk.quote("48000", "48002", at_ms=4_000 + attempt * 3_000, price=48_001)
    last = desk.orders[-1]

    assert (first.purpose, first.price) == ("exit", Decimal(49_850))
    assert (last.purpose, last.order_type, last.price) == ("stop_loss", "LIMIT", Decimal("47857.00"))


def test_an_entrys_protective_price_stays_where_the_exchange_takes_it() -> None:
    """Within 0.1 % of the last price instead of 0.2 % over the ask; on a perpetual of the mark."""
    spot, perpetual = RiskDesk(), RiskDesk(VENUE="mexc_perpetual")
    for desk, key in ((spot, BTC), (perpetual, "mexc_perpetual:BTCUSDT")):
        told = [INSTRUMENTS[key].model_copy(update={"buy_band": Decimal("0.001")})]
        desk._control("instruments", service=channels.WS, details=instrument_details(told))
    spot.quote(at_ms=1_000, price=50_000)
    perpetual.quote(at_ms=1_000, venue="mexc_perpetual", mark_price=Decimal(49_990))

    assert spot.buy().price == Decimal(50_050)
    assert perpetual.buy(venue="mexc_perpetual").price == Decimal("50039.9")
    assert Situation(perpetual.machine.settings, perpetual.machine.state, 0).limit_reference("mexc_perpetual:X") is None


@given(
    st.integers(1, 60_000).map(lambda lots: lots * Decimal("0.000001")),
    st.decimals("0.97", 1, places=3),
    st.decimals("1", "60000", places=2),
)
def test_a_sale_is_worth_what_the_exchange_takes_wherever_the_bid_lets_it(
    quantity: Decimal, share: Decimal, bid: Decimal
) -> None:
    """At its limit, which is where the exchange measures: moved up no further than that, and never over the bid."""
    spec, quote = INSTRUMENTS[BTC], Quote(bid, bid + 1, None, None, 0)
    price = max((bid * share).quantize(Decimal("0.01")), Decimal("0.01"))

    moved = worth_enough("SELL", price, quantity, quote, spec)

    if quantity * price >= 1:
        assert moved == price
    elif moved == price:
        assert quantity * (bid - spec.tick_size) < 1
    else:
        assert price < moved <= bid
        assert quantity * (moved - 2 * spec.tick_size) < 1 <= quantity * moved
    assert worth_enough("BUY", price, quantity, quote, spec) == price
    assert worth_enough("SELL", price, Decimal(0), quote, spec) == price


def test_the_last_of_a_position_leaves_although_its_limit_is_lower_than_its_value() -> None:
    """1.0036 USDT at the bid are 0.9996 at a limit 0.4 % lower: the limit is moved to where they are 1 USDT."""
    desk = RiskDesk()
    desk.hold()
    order = desk.orders[-1]
    rest = Decimal("0.00002")
    desk.quote("50180", "50182", at_ms=1_000)
    desk.machine.state.account.portfolio.positions[BTC].quantity = rest

    desk.exit()

    leaving = desk.orders[-1]
    assert leaving is not order
    assert (leaving.quantity, leaving.price) == (rest, 50_000)
    assert leaving.price is not None
    assert leaving.quantity * leaving.price >= 1
