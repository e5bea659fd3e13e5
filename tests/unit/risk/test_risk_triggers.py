"""Take profit, trailing stop and holding time: when they trigger, what they wait for, and what they say when blind."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cdb_risk.settings import RiskSettings
from services.cdb_risk.trading_state import Latch
from services.cdb_risk.triggers import Best, follow, held_too_long, levels, price_trigger
from services.common.portfolio import Position
from services.common.timestamps import MINUTE_US
from tests.unit.risk.risk_desk import BTC, RiskDesk, layer
from tests.unit.risk.test_risk_perpetuals import KEY, PerpetualDesk

pytestmark = [pytest.mark.unit, pytest.mark.risk]


def held_at_50000(**changed: Any) -> RiskDesk:
    """Return a desk that is long BTC from 50 000."""
    desk = RiskDesk(**changed)
    desk.hold(price=50_000)
    return desk


def bids(desk: RiskDesk, *prices: str) -> list[str | None]:
    """Quote these bids one second apart; return the purpose of the order that each brought, if any."""
    seen = []
    for price in prices:
        before = len(desk.orders)
        desk.quote(price, Decimal(price) + 2, at_ms=desk.now_ms + 1_000)
        seen.append(desk.orders[-1].purpose if len(desk.orders) > before else None)
    return seen


# take profit


@pytest.mark.parametrize(("bid", "purpose"), [("50999.99", None), ("51000", "take_profit"), ("51500", "take_profit")])
def test_profit_is_taken_on_the_bid_at_equality(bid: str, purpose: str | None) -> None:
    """Entry 50 000, profit 2 %: a bid of exactly 51 000 sells everything, a cent less does not."""
    desk = held_at_50000(TAKE_PROFIT_PCT="0.02")
    assert bids(desk, bid) == [purpose]
    if purpose:
        order = desk.orders[-1]
        assert (order.side, order.reduce_only, order.quantity) == ("SELL", True, Decimal("0.149997"))
        assert desk.machine.state.exits[BTC].reason == f"bid {bid} reached the profit of 0.02"


def test_zero_turns_profit_trail_and_holding_time_off() -> None:
    """By default only the stop is on."""
    desk = held_at_50000()
    assert bids(desk, "52000", "54000", "52000") == [None, None, None]
    desk.tick(desk.now_ms + 86_400_000)
    assert desk.machine.state.exits == {}


def test_profit_is_not_taken_on_a_bad_tick() -> None:
    """A quote 20 % up is off the collar: it is no profit, and it does not become the best price."""
    desk = held_at_50000(TAKE_PROFIT_PCT="0.02", TRAILING_STOP_PCT="0.01")
    assert bids(desk, "60000", "50000") == [None, None]
    assert desk.machine.state.best[BTC].price == 50_000


def test_profit_taker_stays_latched_and_retries() -> None:
    """The price falls back under the profit: the exit still leaves, as a stop would, at most every two seconds."""
    desk = held_at_50000(TAKE_PROFIT_PCT="0.02")
    bids(desk, "51000")
    desk.result(desk.orders[-1], "EXPIRED")
    assert bids(desk, "50900", "50900") == [None, "take_profit"]
    assert desk.orders[-1].price == Decimal("50492.80")  # 50900 * 0.992


# trailing stop


def test_trailing_stop_follows_the_best_bid_and_triggers_at_equality() -> None:
    """Best bid 51 000, trail 1 %: 50 490.01 stays, 50 490 sells; it never comes down again."""
    desk = held_at_50000(TRAILING_STOP_PCT="0.01")
    assert bids(desk, "50200", "51000", "50700", "50490.01") == [None, None, None, None]
    assert desk.machine.summary()["positions"][0]["trailing_stop_price"] == 50_490
    assert bids(desk, "50490") == ["trailing_stop"]
    assert desk.machine.state.exits[BTC].reason == "bid 50490 reached the trailing stop, 0.01 from 51000"


def test_trailing_stop_works_off_the_collar_and_under_the_stop_loss_the_stop_has_its_name() -> None:
    """A loss is cut on any valid quote; where both are reached the stop loss is named."""
    desk = held_at_50000(TRAILING_STOP_PCT="0.01", STOP_LOSS_PCT="0.5")
    bids(desk, "50000")
    assert bids(desk, "40000") == ["trailing_stop"]
    assert bids(held_at_50000(TRAILING_STOP_PCT="0.01"), "50000", "49000") == [None, "stop_loss"]


def test_best_price_survives_a_restart_and_ends_with_the_position() -> None:
    """Restored before every entry the trail is the same; the next position begins with its own best price."""
    desk = RiskDesk(restarting=True, TRAILING_STOP_PCT="0.01", ENTRY_SPACING_SEC=0)
    desk.hold(price=50_000)
    assert bids(desk, "51000", "50490") == [None, "trailing_stop"]
    desk.result(desk.orders[-1])
    desk.quote("50399", "50401", at_ms=desk.now_ms + 1_000)
    desk.result(desk.buy(price=50_400), price=50_400)
    assert bids(desk, "50300") == [None], "1 % under 51 000, but that was another position"
    assert desk.machine.state.best[BTC].price == 50_300


# holding time


def test_a_position_leaves_after_its_holding_time_as_an_exit() -> None:
    """10 minutes after its fill, not a millisecond before, on the clock or on a quote."""
    desk = held_at_50000(MAX_HOLD_MIN=10)
    desk.quote(at_ms=599_999)
    assert len(desk.orders) == 1
    desk.tick(600_000)
    decision, order = desk.decisions[-1], desk.orders[-1]
    assert (order.purpose, order.side, order.reduce_only, order.signal_id) == ("exit", "SELL", True, None)
    assert decision.approved
    assert desk.machine.state.exits[BTC].reason == "held for 10 min, at most 10 (MAX_HOLD_MIN)"
    desk.tick(601_000)
    assert len(desk.decisions) == 2, "it is latched once"
    by_quote = held_at_50000(MAX_HOLD_MIN=10)
    by_quote.quote(at_ms=600_000)
    assert by_quote.orders[-1].purpose == "exit"


def test_holding_time_on_old_data_is_latched_recorded_and_says_what_it_waits_for() -> None:
    """61 s without a quote: refused by layer 7, told after 30 s with the reason, sent with the next quote."""
    desk = held_at_50000(MAX_HOLD_MIN=2)
    desk.tick(120_000)
    decision = desk.decisions[-1]
    assert (decision.approved, layer(decision, "timeout_check").code) == (False, "DATA_STALE")
    desk.tick(151_000)
    told = next(alert for alert in desk.alerts if alert.code == "EXIT_LATCHED")
    assert told.message == (
        "exit of mexc_spot:BTCUSDT is latched for 31 s after 0 orders: held back by DATA_STALE: "
        "its last quote, 49999 to 50001, is 151 s old"
    )
    desk.quote(at_ms=152_000)
    assert desk.orders[-1].purpose == "exit"


def test_holding_time_rests_while_an_operator_halts_and_stops_run_beside_it() -> None:
    """It is the strategy's kind of exit: held by `halt`, told as such; a stop takes over."""
    desk = held_at_50000(MAX_HOLD_MIN=1)
    desk.command("halt", by="ana")
    desk.quote(at_ms=60_000)
    assert desk.decisions[-1].reason == "circuit_breaker"
    desk.quote(at_ms=90_500)
    desk.tick(91_000)
    assert desk.alerts[-1].message.endswith("held back by OPERATOR_HALT: trading is halted by an operator")
    assert bids(desk, "49000") == ["stop_loss"]


def test_dust_is_not_exited_by_time() -> None:
    """What cannot be sold is not asked for."""
    desk = RiskDesk(MAX_HOLD_MIN=1)
    desk.hold("0.00001")
    desk.tick(60_000)
    desk.quote(at_ms=61_000)
    assert len(desk.orders) == 1


# entries blocked, data stale


@pytest.mark.parametrize(
    ("cause", "leaves"), [("reducing", True), ("breaker", True), ("halt", True), ("freeze", False), ("pressure", True)]
)
@pytest.mark.parametrize(("bid", "purpose"), [("51000", "take_profit"), ("50400", "trailing_stop")])
def test_protective_exits_leave_when_entries_are_blocked(cause: str, leaves: bool, bid: str, purpose: str) -> None:
    """Reducing, breaker, an operator's halt or a full journal do not keep a protective exit; a freeze does."""
    desk = held_at_50000(TAKE_PROFIT_PCT="0.02", TRAILING_STOP_PCT="0.01")
    bids(desk, "50950")
    if cause == "freeze":
        desk.command("halt", by="ana", details={"freeze": True})
    elif cause == "halt":
        desk.command("halt", by="ana")
    elif cause == "pressure":
        desk.tick(pressure="entries")
    else:
        desk.machine.state.trading.set("daily_loss" if cause == "reducing" else "breaker", Latch(0, "test", "test"))
    assert bids(desk, bid) == [purpose if leaves else None]
    assert desk.decisions[-1].purpose == purpose


def test_what_cannot_be_known_is_said_and_nothing_is_guessed() -> None:
    """61 s without a quote: the alert names every level that may have been reached, and the last quote; no order."""
    desk = held_at_50000(TAKE_PROFIT_PCT="0.1", TRAILING_STOP_PCT="0.01")
    bids(desk, "51000")
    desk.tick(62_001)
    (alert,) = desk.alerts
    assert (alert.level, alert.code) == ("CRITICAL", "BLIND_WHILE_POSITIONED")
    assert alert.message == (
        "mexc_spot:BTCUSDT is held and its last quote, 51000 to 51002, is 61 s old; whether it has reached "
        "stop_loss 49000, trailing_stop 50490, take_profit 55000 cannot be known, and nothing is guessed"
    )
    assert len(desk.orders) == 1


def test_a_latched_stop_says_why_it_has_not_left() -> None:
    """Its order works; or it waits its two seconds and the next quote."""
    desk = held_at_50000()
    bids(desk, "49000")
    desk.tick(32_000)
    assert desk.alerts[-1].message.endswith("after 1 orders: its order works")
    desk.result(desk.orders[-1], "EXPIRED")
    desk.tick(32_000 + 901_000)
    assert "DATA_STALE" in desk.alerts[-1].message
    later = held_at_50000()
    bids(later, "49000")
    later.result(later.orders[-1], "EXPIRED")
    later.quote("49000", "49000.5", at_ms=1_500)
    later.tick(31_500)
    assert later.alerts[-1].message.endswith("it asks again with the next quote")


# shorts


def test_a_short_is_protected_in_its_own_direction() -> None:
    """Short from 50 000: profit at a mark of 49 000, trail 1 % over the lowest mark, both closed by a purchase."""
    desk = PerpetualDesk(TAKE_PROFIT_PCT="0.02", TRAILING_STOP_PCT="0.01")
    desk.hold_short(50_000)
    desk.quote("49399.9", "49400.1", at_ms=1_000)
    assert desk.machine.state.best[KEY].price == 49_400
    desk.quote("49893.8", "49894.0", at_ms=2_000)
    assert len(desk.orders) == 1
    desk.quote("49893.9", "49894.1", at_ms=3_000)  # 49 400 * 1.01 = 49 894
    assert (desk.orders[-1].purpose, desk.orders[-1].side) == ("trailing_stop", "BUY")
    other = PerpetualDesk(TAKE_PROFIT_PCT="0.02")
    other.hold_short(50_000)
    other.quote("49000.0", "49000.2", at_ms=1_000)
    assert len(other.orders) == 1
    other.quote("48999.9", "49000.1", at_ms=2_000)
    assert (other.orders[-1].purpose, other.orders[-1].side) == ("take_profit", "BUY")


# properties

PRICE = st.decimals("1000", "1000000", places=2)
QUANTITY = st.decimals("0.001", "1000", places=3)
PCT = st.decimals("0.001", "0.5", places=3)


@given(entry=PRICE, quantity=QUANTITY, prices=st.lists(PRICE, min_size=1, max_size=12), trail=PCT, profit=PCT, stop=PCT)
def test_a_short_is_the_mirror_of_a_long_and_triggers_are_the_levels(  # noqa: PLR0917 -- drawn by name
    entry: Decimal, quantity: Decimal, prices: list[Decimal], trail: Decimal, profit: Decimal, stop: Decimal
) -> None:
    """In either direction each trigger fires exactly when its level is reached, and the best price is the extreme."""
    settings = RiskSettings(TRAILING_STOP_PCT=trail, TAKE_PROFIT_PCT=profit, STOP_LOSS_PCT=stop)
    for sign in (1, -1):
        position = Position("mexc_spot", "BTCUSDT", sign * quantity, sign * quantity * entry, opened_at=1)
        best: dict[str, Best] = {}
        for price in prices:
            follow(best, "k", position, price)
        price, extreme = prices[-1], (max if sign > 0 else min)(prices)
        assert best["k"].price == extreme
        found = price_trigger(settings, position, best["k"], "price", price, good=True)
        at = levels(settings, position, best["k"])
        reached = [
            sign * price <= sign * entry * (1 - sign * stop),
            sign * price <= sign * extreme * (1 - sign * trail),
            sign * price >= sign * entry * (1 + sign * profit),
        ]
        names = ["stop_loss", "trailing_stop", "take_profit"]
        assert (None if found is None else found.purpose) == next(
            (name for name, hit in zip(names, reached, strict=True) if hit), None
        )
        assert at["trailing_stop"] == extreme * (1 - sign * trail)


@given(opened=st.integers(0, 10**15), waited=st.integers(0, 10**12), limit=st.integers(1, 10_000))
def test_holding_time_is_over_exactly_at_its_minutes(opened: int, waited: int, limit: int) -> None:
    """Never a microsecond earlier, whatever the times are."""
    position = Position("mexc_spot", "BTCUSDT", Decimal(1), Decimal(1), opened_at=opened)
    found = held_too_long(RiskSettings(MAX_HOLD_MIN=limit), position, opened + waited)
    assert (found is not None) == (waited >= limit * MINUTE_US)
