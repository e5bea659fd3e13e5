"""Entries through the machine: each layer tripped and passed, sizes and caps in real numbers."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from services.common.decimals import quantise
from services.common.events import LAYERS, Order, RiskDecision
from tests.unit.risk.risk_desk import BTC, RiskDesk, layer

pytestmark = [pytest.mark.unit, pytest.mark.risk]


def failing(decision: RiskDecision) -> dict[str, str]:
    """Return the codes of the failing layers."""
    return {verdict.layer: verdict.code for verdict in decision.layers if verdict.status == "fail"}


def refused(desk: RiskDesk, name: str, code: str, **signal: Any) -> RiskDecision:
    """Give an entry signal and check that exactly one layer refuses it, and that no order leaves."""
    before = len(desk.orders)
    decision = desk.signal(**signal)
    assert failing(decision) == {name: code}
    assert not decision.approved
    assert decision.reason == name
    assert decision.sizing.approved == 0
    assert len(desk.orders) == before
    return decision


def test_a_clean_entry_is_decided_and_ordered_in_one_step() -> None:
    """Fixed-fractional: 100 000 * 0.0015 / 0.02 = 7 500 USDT at ask 50 001 is 0.14999700, on the lot 0.149997."""
    desk = RiskDesk()
    desk.quote()
    decision = desk.signal()
    assert decision.approved
    assert decision.reason == "approved"
    assert [verdict.layer for verdict in decision.layers] == list(LAYERS)
    assert {verdict.status for verdict in decision.layers} == {"pass"}
    assert decision.sizing.method == "fixed_fractional"
    assert decision.sizing.inputs["notional"] == 7_500
    assert decision.sizing.requested == Decimal("0.14999700")
    assert decision.sizing.approved == Decimal("0.149997")
    assert decision.sizing.capped_by is None
    assert decision.signal_id == decision.causation_id
    (order,) = desk.orders
    assert order.quantity == Decimal("0.149997")
    assert order.price == Decimal("50101.00")  # 50001 * 1.002, down to the tick
    assert order.reference_price == 50_000
    assert (order.side, order.order_type, order.time_in_force) == ("BUY", "LIMIT", "IOC")
    assert (order.purpose, order.reduce_only, order.leverage) == ("entry", False, 1)
    assert order.decision_id == decision.event_id
    assert order.order_id == f"ord-{decision.event_id[:28]}"
    assert order.client_order_id == f"cdb-{decision.event_id[:28]}"
    assert order.correlation_id == decision.correlation_id == "md-chain"


def test_a_signal_without_a_chain_begins_one() -> None:
    """A foreign signal has no correlation: its own id takes that place."""
    desk = RiskDesk()
    desk.quote()
    decision = desk.signal(correlation_id=None)
    assert decision.correlation_id == decision.signal_id


def test_an_unconfigured_machine_decides_nothing() -> None:
    """Before its own config event the machine only folds clock and run."""
    desk = RiskDesk(configured=False)
    desk.quote()
    assert desk.outputs == []
    assert desk.machine.summary() == {"trading_state": "UNCONFIGURED"}


# layer 1


def test_without_market_data_everything_that_needs_it_fails() -> None:
    """No quote: data quality, size, spread and age all fail, and the decision says so in the fixed order."""
    decision = RiskDesk().signal()
    assert failing(decision) == {
        "data_quality": "MARKET_DATA_MISSING",
        "position_limits": "SIZING_INPUT_UNKNOWN",
        "spread_check": "MARKET_DATA_MISSING",
        "timeout_check": "TIMESTAMP_MISSING",
    }
    assert decision.reason == "data_quality, position_limits, spread_check, timeout_check"
    assert decision.portfolio.equity == 100_000


def test_unknown_and_unconfigured_symbols_are_refused() -> None:
    """A symbol without a grid fails in several layers, one that is not configured in the first alone."""
    desk = RiskDesk(SYMBOLS="BTCUSDT")
    desk.quote(symbol="ETHUSDT", bid="2999", ask="3001")
    refused(desk, "data_quality", "UNKNOWN_SYMBOL", symbol="ETHUSDT", price=3_000)
    assert desk.quote(symbol="DOGEUSDT") == []
    assert "UNKNOWN_SYMBOL" in failing(desk.signal(symbol="DOGEUSDT")).values()


def test_other_venues_are_refused() -> None:
    """The same symbol on another venue is another instrument."""
    desk = RiskDesk()
    desk.quote()
    assert failing(desk.signal(venue="mexc_perpetual"))["data_quality"] == "UNKNOWN_SYMBOL"


def test_crossed_book_blocks_until_a_good_quote() -> None:
    """The old quote stays for exits, but no entry is made on it."""
    desk = RiskDesk()
    desk.quote()
    desk.quote("50001", "50000")
    refused(desk, "data_quality", "CROSSED_BOOK")
    desk.quote()
    assert desk.signal().approved


def test_feed_gap_blocks_until_healed() -> None:
    """After a gap three good quotes over two seconds are needed."""
    desk = RiskDesk()
    desk.quote(gap=True)
    refused(desk, "data_quality", "FEED_GAP")
    desk.quote(at_ms=1_000)
    desk.quote(at_ms=2_000)
    assert desk.signal().approved


def test_price_off_the_collar_blocks_and_does_not_move_the_mark() -> None:
    """One bad tick 10 % up: no entry, and a held position keeps its mark."""
    desk = RiskDesk()
    desk.hold()
    equity = desk.machine.state.account.equity
    desk.quote("54999", "55001", at_ms=1_000)
    assert desk.machine.state.account.equity == equity
    desk.quote("3000", "3001", symbol="ETHUSDT")
    desk.quote("3300", "3301", symbol="ETHUSDT", at_ms=61_000)
    assert failing(desk.signal(symbol="ETHUSDT", price=3_000))["data_quality"] == "PRICE_COLLAR"


@pytest.mark.parametrize(("price", "approved"), [("52500", True), ("52500.01", False), ("47499.99", False)])
def test_signal_price_is_compared_with_the_market(price: str, approved: bool) -> None:
    """A signal whose price is more than the collar off the market is refused; equality passes."""
    desk = RiskDesk()
    desk.quote()
    if approved:
        assert desk.signal(price=price).approved
    else:
        refused(desk, "data_quality", "SIGNAL_PRICE_COLLAR", price=price)


def test_implausible_signal_price_is_refused() -> None:
    """A price over a billion cannot be compared with anything."""
    desk = RiskDesk()
    desk.quote()
    refused(desk, "data_quality", "IMPLAUSIBLE_DATA", price=2_000_000_000)


def test_stale_marks_of_one_position_block_entries_of_another() -> None:
    """BTC has had no mark for 60.001 s: ETH is not entered; at exactly 60 s it still is."""
    for at_ms, ok in ((60_000, True), (60_001, False)):
        desk = RiskDesk()
        desk.hold()
        desk.quote("2999", "3001", symbol="ETHUSDT", at_ms=at_ms)
        if ok:
            assert desk.signal(symbol="ETHUSDT", price=3_000).approved
        else:
            refused(desk, "data_quality", "MARKS_STALE", symbol="ETHUSDT", price=3_000)


def test_unknown_equity_blocks() -> None:
    """A held position that was never marked makes the equity unknown, and unknown is not zero."""
    desk = RiskDesk()
    desk.hold()
    desk.machine.state.account.portfolio.marks.clear()
    desk.quote("2999", "3001", symbol="ETHUSDT", at_ms=61_000)
    decision = desk.signal(symbol="ETHUSDT", price=3_000)
    assert failing(decision) == {
        "data_quality": "EQUITY_UNKNOWN",
        "position_limits": "SIZING_INPUT_UNKNOWN",
        "daily_drawdown": "START_OF_DAY_UNKNOWN",
        "total_exposure": "EXPOSURE_UNKNOWN",
        "circuit_breaker": "PEAK_UNKNOWN",
    }
    assert decision.portfolio.equity is None
    assert decision.portfolio.drawdown is None


# layer 2


def test_shorts_are_refused_on_spot() -> None:
    """A sell entry has nothing to sell."""
    desk = RiskDesk()
    desk.quote()
    decision = refused(desk, "position_limits", "SHORT_NOT_ALLOWED", signal_type="sell")
    assert decision.side == "SELL"


def test_no_pyramiding() -> None:
    """What is held is not bought again."""
    desk = RiskDesk()
    desk.hold()
    desk.quote(at_ms=60_000)
    refused(desk, "position_limits", "ALREADY_POSITIONED")


def test_one_working_entry_and_it_ends_only_with_a_terminal_result() -> None:
    """A working entry blocks the next one; NEW and UNKNOWN do not end it, a terminal result does."""
    desk = RiskDesk()
    desk.quote()
    order = desk.buy()
    for status in ("NEW", "UNKNOWN", "UNKNOWN"):
        desk.result(order, status)
        desk.quote(at_ms=desk.now_ms + 60_000)
        refused(desk, "position_limits", "ENTRY_WORKING")
    desk.result(order, "EXPIRED")
    assert desk.signal().approved


def test_spacing_between_entries_in_one_direction() -> None:
    """ETH 59.999 s after BTC is too soon, at 60 s it is not."""
    desk = RiskDesk()
    desk.quote()
    desk.buy()
    desk.quote("2999", "3001", symbol="ETHUSDT", at_ms=59_999)
    refused(desk, "position_limits", "ENTRY_SPACING", symbol="ETHUSDT", price=3_000)
    desk.tick(60_000)
    assert desk.signal(symbol="ETHUSDT", price=3_000).approved


def test_rate_of_entries_per_minute_and_symbol() -> None:
    """With two a minute allowed, the third within 60 s is refused and one at 60 s passes."""
    desk = RiskDesk(MAX_ENTRIES_PER_MINUTE=2, ENTRY_SPACING_SEC=0)
    desk.quote()
    for _ in range(2):
        desk.result(desk.buy(), "REJECTED")
    desk.quote(at_ms=59_999)
    refused(desk, "position_limits", "ORDER_RATE")
    desk.quote(at_ms=60_000)
    assert desk.signal().approved


def test_number_of_concurrent_positions_counts_working_entries() -> None:
    """With two allowed: one held and one being entered leave no room for a third."""
    desk = RiskDesk(MAX_CONCURRENT_POSITIONS=2, ENTRY_SPACING_SEC=0)
    desk.hold()
    desk.quote("2999", "3001", symbol="ETHUSDT")
    desk.buy(symbol="ETHUSDT", price=3_000)
    desk.quote("29.99", "30.01", symbol="SOLUSDT", size=1_000)
    decision = refused(desk, "position_limits", "TOO_MANY_POSITIONS", symbol="SOLUSDT", price=30)
    assert layer(decision, "position_limits").value == 2


def test_position_cap_cuts_the_size() -> None:
    """10 % of 100 000 at the worst price 50 101 * 1.0005 = 50126.0505 is 0.19949706..., on the lot 0.199497."""
    desk = RiskDesk(RISK_PER_TRADE_PCT="0.01")  # asks for 50 000 USDT
    desk.quote()
    decision = desk.signal()
    assert decision.approved
    assert decision.sizing.approved == Decimal("0.199497")
    assert decision.sizing.capped_by == "position_limits"
    worst = decision.sizing.approved * Decimal("50126.0505")
    assert worst <= 10_000 < worst + Decimal("0.000001") * Decimal("50126.0505")
    assert layer(decision, "position_limits").value == quantise(worst / 100_000, 12)


def test_order_notional_cap_cuts_the_size() -> None:
    """At most 1 000 USDT an order: 1000 / 50126.0505 = 0.01994970..., on the lot 0.019949."""
    desk = RiskDesk(MAX_ORDER_NOTIONAL_USDT=1_000)
    desk.quote()
    decision = desk.signal()
    assert decision.sizing.approved == Decimal("0.019949")
    assert decision.sizing.capped_by == "position_limits"


def test_no_room_in_the_position_limit() -> None:
    """A limit of zero leaves nothing, and says that it was the limit."""
    desk = RiskDesk(MAX_POSITION_PCT=0)
    desk.quote()
    refused(desk, "position_limits", "POSITION_LIMIT")


def test_a_request_below_the_minimum_order_is_refused() -> None:
    """100 000 * 0.0000001 / 0.02 = 0.5 USDT is under the exchange's 1 USDT."""
    desk = RiskDesk(RISK_PER_TRADE_PCT="0.0000001")
    desk.quote()
    refused(desk, "position_limits", "BELOW_MINIMUM")


def test_a_sizing_method_that_asks_for_nothing_is_refused() -> None:
    """No risk per trade is no trade."""
    desk = RiskDesk(RISK_PER_TRADE_PCT=0)
    desk.quote()
    refused(desk, "position_limits", "SIZING_INPUT_UNKNOWN")


# layer 4


def test_exposure_cap_cuts_the_size_and_counts_pending_entries() -> None:
    """Limit 12 %; BTC pending 0.149997 at mark 50 000 = 7 499.85: 4 500.15 is left for ETH at worst 3010.5045 / unit.

    ask 3 001 * 1.002 = 3007.002 -> 3007.00; * 1.0005 = 3008.5035; 4500.15 / 3008.5035 = 1.49581012 -> lot 1.49581.
    """
    desk = RiskDesk(MAX_TOTAL_EXPOSURE_PCT="0.12", ENTRY_SPACING_SEC=0)
    desk.quote()
    desk.buy()
    desk.quote("2999", "3001", symbol="ETHUSDT")
    decision = desk.signal(symbol="ETHUSDT", price=3_000)
    assert decision.approved
    assert decision.sizing.approved == Decimal("1.49581")
    assert decision.sizing.capped_by == "total_exposure"
    assert decision.portfolio.exposure == Decimal("7499.85")
    assert decision.portfolio.position_notional == 0


def test_exposure_without_room_blocks() -> None:
    """Limit 7.49985 %, all of it pending: nothing is left."""
    desk = RiskDesk(MAX_TOTAL_EXPOSURE_PCT="0.0751876", ENTRY_SPACING_SEC=0)
    desk.quote()
    desk.buy()
    desk.quote("50500", "50502", at_ms=1)
    desk.quote("2999", "3001", symbol="ETHUSDT")
    refused(desk, "total_exposure", "EXPOSURE_LIMIT", symbol="ETHUSDT", price=3_000)


def test_five_signals_in_flight_pass_the_exposure_limit_once() -> None:
    """Signals for three symbols before any fill: the sum of what was ordered stays under the limit."""
    desk = RiskDesk(MAX_TOTAL_EXPOSURE_PCT="0.16", ENTRY_SPACING_SEC=0)
    desk.quote()
    desk.quote("2999", "3001", symbol="ETHUSDT")
    desk.quote("29.99", "30.01", symbol="SOLUSDT", size=1_000)
    for symbol, price in (("BTCUSDT", 50_000), ("ETHUSDT", 3_000), ("SOLUSDT", 30), ("BTCUSDT", 50_000)):
        desk.signal(symbol=symbol, price=price)
    mids = {"BTCUSDT": 50_000, "ETHUSDT": 3_000, "SOLUSDT": 30}
    at_mark = sum(order.quantity * mids[order.symbol] for order in desk.orders)
    assert len(desk.orders) == 3
    assert desk.machine.summary()["exposure"] == at_mark <= 16_000
    assert [decision.sizing.capped_by for decision in desk.decisions] == [None, None] + ["total_exposure"] * 2


# layers 3 and 5: only what a signal sees; tripping them is tested with the states


def test_memory_pressure_blocks_entries() -> None:
    """A tick that reports pressure on the journal blocks entries until one reports none; a strange word blocks."""
    desk = RiskDesk()
    desk.quote()
    for pressure in ("market_data", "entries", 7):
        desk.tick(pressure=pressure)
        desk.quote()
        refused(desk, "circuit_breaker", "JOURNAL_MEMORY")
    desk.tick(pressure="none")
    assert desk.signal().approved


# layer 6


def test_wide_spread_blocks() -> None:
    """250.01 / 50 000 is over 0.005; 250 is exactly 0.005 and passes."""
    desk = RiskDesk()
    desk.quote("49875", "50125.01")
    refused(desk, "spread_check", "SPREAD_LIMIT")
    desk.quote("49875", "50125")
    assert desk.signal().approved


def test_unknown_depth_blocks() -> None:
    """A quote without sizes cannot be priced."""
    desk = RiskDesk()
    desk.quote(size=None)
    refused(desk, "spread_check", "DEPTH_UNKNOWN")


def test_expected_slippage_blocks() -> None:
    """0.149997 on 0.0001 a side walks 1 498.97 levels of 0.00005: about 3.75 % on average, over 2 %."""
    desk = RiskDesk()
    desk.quote(size="0.0001", volume=1_000)
    decision = refused(desk, "spread_check", "SLIPPAGE_LIMIT")
    value = layer(decision, "spread_check").value
    assert value is not None
    assert Decimal("0.036") < value < Decimal("0.039")
    assert "volatility assumed" in layer(decision, "spread_check").detail


def test_measured_volatility_is_used_when_it_is_known() -> None:
    """After six minutes of closes the expected slippage no longer rests on an assumption."""
    desk = RiskDesk()
    for minute in range(6):
        desk.quote(at_ms=60_000 * minute)
    desk.quote(size=None)
    assert "assumed" not in layer(desk.signal(), "spread_check").detail
    desk.quote(volume=1)
    assert desk.signal().approved


# layer 7


@pytest.mark.parametrize(("at_ms", "ok"), [(60_000, True), (60_001, False)])
def test_old_market_data_block(at_ms: int, ok: bool) -> None:
    """A quote of exactly 60 s passes, one millisecond more does not."""
    desk = RiskDesk()
    desk.quote()
    desk.tick(at_ms)
    if ok:
        assert desk.signal().approved
    else:
        refused(desk, "timeout_check", "DATA_STALE")


@pytest.mark.parametrize(
    ("signal_ms", "code"), [(-60_000, None), (-60_001, "SIGNAL_STALE"), (5_000, None), (5_001, "TIMESTAMP_IN_FUTURE")]
)
def test_old_and_future_signals_block(signal_ms: int, code: str | None) -> None:
    """A signal 60 s old or 5 s ahead passes; a millisecond more does not."""
    desk = RiskDesk()
    desk.quote()
    if code is None:
        assert desk.signal(at_ms=signal_ms).approved
    else:
        refused(desk, "timeout_check", code, at_ms=signal_ms)


def test_refusals_are_counted_by_layer() -> None:
    """The status shows how often each layer refused."""
    desk = RiskDesk()
    desk.signal()
    desk.quote(size=None)
    desk.signal()
    decisions = desk.machine.summary()["decisions"]
    assert decisions["approved"] == 0
    assert decisions["refused"]["spread_check"] == 2
    assert decisions["refused"]["data_quality"] == 1


def test_a_new_run_begins_with_fresh_cash_and_keeps_the_settings() -> None:
    """`started` with another run id forgets positions and orders, not the configuration."""
    desk = RiskDesk(ACCOUNT_EQUITY=5_000)
    desk.hold()
    desk.start("run-2")
    state = desk.machine.state
    assert state.account.equity == 5_000
    assert state.reservations.orders == {}
    assert state.account.held(BTC) is False
    desk.quote()
    assert desk.signal().approved


def test_a_changed_configuration_keeps_the_books() -> None:
    """A restart with another ACCOUNT_EQUITY or limit changes limits from then on, never the cash."""
    desk = RiskDesk()
    desk.hold()
    cash = desk.machine.state.account.portfolio.cash
    desk.configure(ACCOUNT_EQUITY=1, MAX_CONCURRENT_POSITIONS=0)
    assert desk.machine.state.account.portfolio.cash == cash
    desk.quote("2999", "3001", symbol="ETHUSDT", at_ms=60_000)
    refused(desk, "position_limits", "TOO_MANY_POSITIONS", symbol="ETHUSDT", price=3_000)


def test_the_first_event_of_a_run_starts_the_day() -> None:
    """The start of day is journalled once, with the equity of that moment."""
    desk = RiskDesk()
    (event,) = desk.outputs
    assert event.type == "control"
    assert getattr(event, "action", None) == "start_of_day"
    details = getattr(event, "details", {})
    assert details == {"day": "2021-05-19", "equity": 100_000, "peak_equity": 100_000}
    assert desk.machine.state.account.day == 18_766  # days from 1970-01-01 to 2021-05-19
    desk.quote()
    assert len(desk.outputs) == 1


def test_equal_entries_give_equal_bytes_and_a_restart_changes_nothing() -> None:
    """A machine restored before every entry gives the same bytes as one that never stopped."""

    def play(desk: RiskDesk) -> list[bytes]:
        desk.hold()
        desk.quote("48900", "48902", at_ms=1_000)
        desk.result([o for o in desk.orders if isinstance(o, Order)][-1], "FILLED", price=48_890)
        desk.tick(70_000)
        desk.command("halt", by="op", reason="r")
        return [event.data for event in desk.outputs]

    assert play(RiskDesk()) == play(RiskDesk(restarting=True))
