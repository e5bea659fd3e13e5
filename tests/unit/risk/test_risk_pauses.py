"""Rolling loss, lost round trips in a row, rates and sizes of orders: what they count, block, and when they end."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cdb_risk.layers.daily_drawdown import check_rolling_loss
from services.cdb_risk.rolling import PARTS, RollingPeak
from services.common import channels
from services.common.events import Control
from services.common.timestamps import HOUR_US, MINUTE_US
from tests.unit.risk.risk_desk import RiskDesk, layer
from tests.unit.risk.test_risk_perpetuals import PerpetualDesk, fact
from tests.unit.risk.test_risk_states import MIDNIGHT_MS, mark, one_coin

pytestmark = [pytest.mark.unit, pytest.mark.risk]

HOUR_MS = 3_600_000
ROLLING = {"MAX_ROLLING_DRAWDOWN_PCT": "0.05", "MAX_DAILY_DRAWDOWN_PCT": "0.9", "CIRCUIT_BREAKER_THRESHOLD_PCT": "0.9"}


def fall(desk: RiskDesk, at_ms: int, *mids: int | str) -> None:
    """Mark these prices a second apart."""
    for step, mid in enumerate(mids):
        mark(desk, mid, at_ms + 1_000 * step)


# rolling loss


def test_rolling_loss_warns_and_latches_reducing_at_equality() -> None:
    """One coin from 50 000 to 45 000 of 100 000: warned at 50 % and 80 %, REDUCING at exactly 5 %; exits go on."""
    desk = one_coin(**ROLLING)
    fall(desk, 1_000, 47_500, 46_000, "45000.01")
    assert desk.states == []
    mark(desk, 45_000, 4_000)
    assert desk.states == ["REDUCING"]
    assert desk.machine.state.trading.causes == ["rolling_loss"]
    assert desk.alert_codes() == [
        "ROLLING_DRAWDOWN_WARNING",
        "ROLLING_DRAWDOWN_WARNING",
        "ROLLING_DRAWDOWN_LIMIT",
        "TRADING_REDUCING",
    ]
    found = layer(desk.signal(symbol="ETHUSDT", price=3_000), "daily_drawdown")
    assert (found.code, found.value, found.limit) == ("ROLLING_DRAWDOWN_LATCHED", Decimal("0.05"), Decimal("0.05"))
    assert desk.exit().approved


def test_rolling_loss_looks_over_midnight_where_the_daily_one_begins_anew() -> None:
    """3 % lost before midnight and 3 % after: no day lost 5 %, the last 24 hours did."""
    desk = one_coin(**{**ROLLING, "MAX_DAILY_DRAWDOWN_PCT": "0.05"})
    fall(desk, 1_000, 48_000, 47_000)
    fall(desk, MIDNIGHT_MS, 47_000, 45_500, 44_900)
    assert desk.machine.state.trading.causes == ["rolling_loss"]


def test_rolling_loss_ends_after_its_hours_and_does_not_latch_again_for_the_same_loss() -> None:
    """24 h after it was reached, not a second before, also over a restart; the old high is forgotten."""
    desk = one_coin(**ROLLING)
    fall(desk, 1_000, 47_500, 46_000, 45_000)
    mark(desk, 45_500, 2 * HOUR_MS)
    desk.restart()
    desk.tick(3_000 + 24 * HOUR_MS - 1)
    assert desk.machine.state.trading.mode == "REDUCING"
    desk.tick(3_000 + 24 * HOUR_MS)
    assert desk.machine.state.trading.mode == "ACTIVE"
    desk.tick(4_000 + 24 * HOUR_MS)
    assert desk.machine.state.trading.mode == "ACTIVE"
    assert desk.machine.summary()["headroom"]["rolling_drawdown"] == Decimal("0.05")


def test_turning_a_limit_off_ends_its_restriction() -> None:
    """Configured to 0 the next tick is ACTIVE again."""
    desk = one_coin(**ROLLING, MAX_LOSS_STREAK=1)
    fall(desk, 1_000, 47_500, 46_000, 45_000)
    desk.exit()
    desk.result(desk.orders[-1], price=45_000)
    assert desk.machine.state.trading.causes == ["rolling_loss", "loss_streak"]
    desk.configure()
    desk.tick(5_000)
    assert desk.machine.state.trading.causes == ["daily_loss"], "the daily limit has come into force"


def test_a_loss_before_the_window_is_none() -> None:
    """What fell 26 hours ago is not of the last 24."""
    desk = one_coin(**ROLLING)
    fall(desk, 1_000, 47_500, 47_000)
    desk.tick(26 * HOUR_MS)
    fall(desk, 26 * HOUR_MS + 1_000, 46_000, 45_000)
    assert desk.states == []


def test_rolling_warnings_begin_anew_below_a_quarter_and_zero_turns_it_off() -> None:
    """Hovering at 50 % warns once; back under 25 % of the limit it may warn again."""
    desk = one_coin(**ROLLING)
    fall(desk, 1_000, 47_500, 48_000, 47_500, 49_000, 47_400)
    assert desk.alert_codes().count("ROLLING_DRAWDOWN_WARNING") == 2
    off = one_coin(**{**ROLLING, "MAX_ROLLING_DRAWDOWN_PCT": 0})
    fall(off, 1_000, 47_500, 46_000, 45_000, 43_000)
    assert off.states == []
    assert off.machine.summary()["headroom"]["rolling_drawdown"] is None


def test_rolling_loss_of_a_portfolio_without_value_is_not_compared() -> None:
    """Nothing seen yet, an equity that is unknown, a peak that is none: other layers refuse, this one has no number."""
    for peak, equity in ((None, Decimal(1)), (Decimal(1), None), (Decimal(0), Decimal(1))):
        found = check_rolling_loss(peak, equity, Decimal("0.05"))
        assert (found.failed, found.value) == (False, None)
    assert check_rolling_loss(Decimal(100), Decimal(95), Decimal("0.05")).code == "ROLLING_DRAWDOWN_LIMIT"
    desk = one_coin(**ROLLING)
    desk.machine.state.account.rolling.highs.clear()
    desk.machine.state.account.portfolio.cash = Decimal(-10_000_000)
    mark(desk, 50_000, 1_000)
    assert desk.machine.summary()["headroom"]["rolling_drawdown"] is None


@given(
    steps=st.lists(st.tuples(st.integers(1, 400 * MINUTE_US), st.integers(1, 1_000)), min_size=1, max_size=60),
    hours=st.integers(1, 48),
)
def test_the_peak_covers_the_window_and_hardly_more(steps: list[tuple[int, int]], hours: int) -> None:
    """Never lower than the highest equity of the window, never higher than that of the window and one part more."""
    rolling, seen, now = RollingPeak(), [], 0
    window = hours * HOUR_US
    for wait, equity in steps:
        now += wait
        seen.append((now, equity))
        peak = rolling.add(now, Decimal(equity), hours)
        assert peak >= max(value for at, value in seen if at >= now - window)
        assert peak <= max(value for at, value in seen if at >= now - window - window // PARTS)
        assert len(rolling.highs) <= PARTS + 2


def test_a_high_counts_to_the_end_of_its_window_and_one_part_longer() -> None:
    """24 h after it a high still counts, and what fell with it 5 minutes later counts 24 h after that."""
    rolling, minute = RollingPeak(), MINUTE_US
    day = 24 * HOUR_US
    rolling.add(0, Decimal(100), 24)
    rolling.add(5 * minute, Decimal(99), 24)
    rolling.add(20 * minute, Decimal(90), 24)
    assert rolling.add(day, Decimal(80), 24) == 100
    assert rolling.add(day + 5 * minute, Decimal(80), 24) >= 99
    assert rolling.add(day + 15 * minute + 1, Decimal(80), 24) == 90


# lost round trips in a row


def lose(desk: RiskDesk, price: int | str = 49_500, entry: int = 50_000, fee: str = "0") -> None:
    """Buy at `entry` and sell at `price` two minutes apart."""
    desk.quote(at_ms=desk.now_ms + 120_000)
    desk.result(desk.buy(), price=entry, fee=fee)
    desk.quote(at_ms=desk.now_ms + 2_000)
    assert desk.exit().approved
    desk.result(desk.orders[-1], price=price, fee=fee)


def test_a_streak_of_losses_pauses_entries_and_ends_by_its_time() -> None:
    """Three in a row: REDUCING with its own code for 60 min, across a restart; then it counts anew."""
    desk = RiskDesk(MAX_LOSS_STREAK=3)
    lose(desk)
    lose(desk)
    assert desk.states == []
    assert desk.machine.summary()["losses_in_a_row"] == 2
    lose(desk)
    assert desk.states == ["REDUCING"]
    assert "LOSS_STREAK" in desk.alert_codes()
    since = desk.now_ms
    desk.restart()
    desk.quote(at_ms=since + 60_000)
    decision = desk.signal()
    assert decision.reason == "daily_drawdown"
    found = layer(decision, "daily_drawdown")
    assert (found.code, found.value, found.limit) == ("LOSS_STREAK", 0, 3)
    desk.tick(since + HOUR_MS - 1)
    assert desk.machine.state.trading.mode == "REDUCING"
    desk.tick(since + HOUR_MS)
    assert desk.states == ["REDUCING", "ACTIVE"]
    lose(desk)
    assert desk.states == ["REDUCING", "ACTIVE"]


def test_a_win_or_an_even_round_trip_ends_a_streak_and_fees_can_lose_one() -> None:
    """Loss, win, loss is one loss in a row; sold at the price of entry is even without fees and lost with them."""
    desk = RiskDesk(MAX_LOSS_STREAK=2)
    lose(desk)
    lose(desk, price=50_500)
    lose(desk)
    lose(desk, price=50_000)
    lose(desk)
    assert desk.states == []
    lose(desk, price=50_000, fee="3")
    assert desk.states == ["REDUCING"]


def test_zero_turns_the_streak_off_and_it_is_still_counted() -> None:
    """By default nothing pauses."""
    desk = RiskDesk()
    for _ in range(5):
        lose(desk)
    assert desk.states == []
    assert desk.machine.summary()["losses_in_a_row"] == 5


def test_a_round_trip_ends_flat_or_at_dust_and_not_between() -> None:
    """Sold in two parts it is one round trip; dust that is left ends it, and dust that an entry left does not."""
    desk = RiskDesk(MAX_LOSS_STREAK=9)
    desk.hold(price=50_000)
    desk.quote(at_ms=1_000)
    desk.exit()
    order = desk.orders[-1]
    desk.result(order, "PARTIALLY_FILLED", filled="0.1", price=49_000)
    desk.result(order, "CANCELED", filled="0.1", last=0)
    assert desk.machine.summary()["losses_in_a_row"] == 0
    desk.quote(at_ms=3_000)
    rest = desk.orders[-1]
    sold = rest.quantity - Decimal("0.00001")
    desk.result(rest, "PARTIALLY_FILLED", filled=sold, price=49_000)
    assert desk.machine.summary()["losses_in_a_row"] == 0, "the order still works"
    desk.result(rest, "CANCELED", filled=sold, last=0)
    assert desk.machine.summary()["losses_in_a_row"] == 1
    dusty = RiskDesk(MAX_LOSS_STREAK=1)
    dusty.hold("0.00001")
    assert dusty.states == []


def test_a_liquidation_is_a_lost_round_trip() -> None:
    """The exchange's fact ends it like a sale."""
    desk = PerpetualDesk(MAX_LOSS_STREAK=1)
    desk.hold_short(50_000)
    fact(desk, "liquidation")
    assert desk.machine.state.trading.causes[-1] == "loss_streak"


def test_an_entry_that_never_filled_is_no_round_trip() -> None:
    """After a loss an entry expires: still one loss in a row."""
    desk = RiskDesk(MAX_LOSS_STREAK=2)
    lose(desk)
    desk.quote(at_ms=desk.now_ms + 120_000)
    desk.result(desk.buy(), "EXPIRED")
    assert desk.machine.summary()["losses_in_a_row"] == 1


# rates and sizes


def test_orders_of_all_symbols_are_counted_and_only_entries_wait() -> None:
    """Two orders within the minute: a third entry waits, an exit does not, and a minute later the entry may go."""
    desk = RiskDesk(MAX_ORDERS_PER_MINUTE=2, ENTRY_SPACING_SEC=0)
    desk.hold()
    desk.quote("2999", "3001", symbol="ETHUSDT")
    desk.hold(symbol="ETHUSDT", price=3_000)
    desk.quote("29", "29.01", symbol="SOLUSDT")
    found = layer(desk.signal(symbol="SOLUSDT", price=29), "position_limits")
    assert (found.code, found.value, found.limit, found.headroom) == ("TOTAL_ORDER_RATE", 2, 2, 0)
    assert desk.exit().approved
    desk.result(desk.orders[-1])
    for at_ms, code in ((59_999, "TOTAL_ORDER_RATE"), (60_000, "OK")):
        desk.quote("49999", "50001", at_ms=at_ms)
        desk.quote("2999", "3001", symbol="ETHUSDT")
        desk.quote("29", "29.01", symbol="SOLUSDT")
        assert layer(desk.signal(symbol="SOLUSDT", price=29), "position_limits").code == code


def test_an_entry_waits_for_an_exit_that_may_still_fill() -> None:
    """What is left is dust, but its exit still works: an entry would trade against it."""
    desk = RiskDesk(ENTRY_SPACING_SEC=0)
    desk.hold()
    desk.quote(at_ms=1_000)
    desk.exit()
    order = desk.orders[-1]
    desk.result(order, "PARTIALLY_FILLED", filled=order.quantity - Decimal("0.00001"), price=50_000)
    assert layer(desk.signal(), "position_limits").code == "EXIT_WORKING"
    desk.result(order, "CANCELED", filled=order.quantity - Decimal("0.00001"), last=0)
    assert desk.signal().approved


def test_the_largest_order_is_a_check_of_its_own() -> None:
    """Capped to 5 000 USDT at worst; where the limit leaves no order its code says so, with what is missing."""
    desk = RiskDesk(MAX_ORDER_NOTIONAL_USDT=5_000)
    desk.quote()
    decision = desk.signal()
    assert decision.approved
    assert decision.sizing.capped_by == "position_limits"
    assert decision.sizing.approved * Decimal(50101) * Decimal("1.0005") <= 5_000
    small = RiskDesk(MAX_ORDER_NOTIONAL_USDT=1)
    small.quote()
    found = layer(small.signal(), "position_limits")
    assert (found.code, found.limit) == ("ORDER_NOTIONAL_LIMIT", 1)


@pytest.mark.parametrize("changed", [{"MAX_LOSS_STREAK": 1}, ROLLING])
def test_every_pause_is_a_trading_state_in_the_journal(changed: dict[str, Any]) -> None:
    """It leaves as an event with its cause, so that execution cancels what works and refuses entries, too."""
    desk = one_coin(**{**ROLLING, "MAX_ROLLING_DRAWDOWN_PCT": 0, **changed})
    fall(desk, 1_000, 47_500, 46_000, 45_000)
    desk.exit()
    desk.result(desk.orders[-1], price=45_000)
    told = [event for event in desk.outputs if isinstance(event, Control) and event.action == "trading_state"]
    assert [event.details["state"] for event in told] == ["REDUCING"]
    assert told[0].producer == channels.RISK
    assert list(told[0].details["causes"]) == ["loss_streak" if "MAX_LOSS_STREAK" in changed else "rolling_loss"]
