"""Daily loss, breaker, operator commands, order results and alerts through the machine."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from services.cdb_risk.account import Account
from services.cdb_risk.alarms import Alarms
from services.cdb_risk.trading_state import Latch, TradingState
from services.common import channels
from services.common.errors import IllegalTransition
from services.common.events import Control
from services.common.timestamps import DAY_US, MS_US
from tests.unit.risk.risk_desk import BTC, START_US, RiskDesk, layer

pytestmark = [pytest.mark.unit, pytest.mark.risk]

MIDNIGHT_MS = (DAY_US - START_US % DAY_US) // MS_US
ALL_IN = {
    "MAX_POSITION_PCT": 1,
    "MAX_TOTAL_EXPOSURE_PCT": 1,
    "RISK_PER_TRADE_PCT": "0.25",
    "STOP_LOSS_PCT": "0.5",
    "MAX_ORDER_NOTIONAL_USDT": 1_000_000,
}
"""Half of the equity in one position with a stop that is far away: 50 000 USDT at 50 000 is one coin."""


def one_coin(**changed: Any) -> RiskDesk:
    """Return a desk that holds exactly one BTC bought at 50 000 of 100 000 USDT, with no fee."""
    desk = RiskDesk(**{**ALL_IN, **changed})
    desk.quote(size=1_000)
    order = desk.buy()
    desk.result(order, "PARTIALLY_FILLED", filled="0.9", price=50_000)
    desk.result(order, "CANCELED", filled="0.9", last=0)
    state = desk.machine.state.account.portfolio
    state.cash -= Decimal(5_000)
    state.positions[BTC].quantity += Decimal("0.1")
    state.positions[BTC].cost += Decimal(5_000)
    assert state.equity == 100_000
    return desk


def mark(desk: RiskDesk, mid: int | str, at_ms: int) -> None:
    """Quote one USDT around `mid`."""
    desk.quote(Decimal(mid) - 1, Decimal(mid) + 1, at_ms=at_ms)


# layer 3


def test_daily_loss_latches_reducing_at_equality_on_a_mark() -> None:
    """One coin from 50 000 to 45 000 in two steps loses exactly 5 %: REDUCING, an alert, no signal needed."""
    desk = one_coin()
    mark(desk, 47_500, 1_000)
    mark(desk, "45125.01", 2_000)
    assert desk.states == []
    mark(desk, 45_000, 3_000)
    assert desk.states == ["REDUCING"]
    assert desk.alert_codes() == [
        "DAILY_DRAWDOWN_WARNING",  # 2 500 of 5 000: 50 %
        "DAILY_DRAWDOWN_WARNING",  # 4 874.99 of 5 000: over 80 %
        "DAILY_DRAWDOWN_LIMIT",
        "TRADING_REDUCING",
        "DRAWDOWN_WARNING",  # 5 000 of 10 000: 50 % of the breaker
    ]
    decision = desk.signal(symbol="ETHUSDT", price=3_000)
    assert layer(decision, "daily_drawdown").code == "DAILY_DRAWDOWN_LATCHED"
    assert layer(decision, "daily_drawdown").value == Decimal("0.05")
    assert desk.exit().approved, "exits go on"


def test_daily_latch_survives_a_recovery_and_ends_at_midnight() -> None:
    """Back at 50 000 it is still REDUCING; the first event after 00:00 UTC ends it with a new start of day."""
    desk = one_coin(ENTRY_SPACING_SEC=0)
    mark(desk, 47_500, 1_000)
    mark(desk, 45_200, 2_000)
    mark(desk, 45_000, 3_000)
    mark(desk, 47_000, 4_000)
    mark(desk, 49_000, 5_000)
    desk.quote("2999", "3001", symbol="ETHUSDT")
    decision = desk.signal(symbol="ETHUSDT", price=3_000)
    assert decision.reason == "daily_drawdown"
    assert layer(decision, "daily_drawdown").code == "DAILY_DRAWDOWN_LATCHED"
    desk.tick(MIDNIGHT_MS - 1)
    assert desk.states == ["REDUCING"]
    desk.tick(MIDNIGHT_MS)
    assert desk.states == ["REDUCING", "ACTIVE"]
    days = [e for e in desk.outputs if isinstance(e, Control) and e.action == "start_of_day"]
    assert [e.details["day"] for e in days] == ["2021-05-19", "2021-05-20"]
    assert days[-1].details["equity"] == 99_000, "with the marks before it"


def test_start_of_day_uses_the_marks_before_its_first_event() -> None:
    """The first quote of the day moves the mark only after the day has begun: its loss is today's."""
    desk = one_coin()
    mark(desk, 49_000, MIDNIGHT_MS)
    assert desk.machine.state.account.start_of_day_equity == 100_000
    assert desk.machine.state.account.daily_pnl == -1_000


def test_daily_warnings_begin_anew_each_day() -> None:
    """50 % is told once a day."""
    desk = one_coin()
    for at_ms in (1_000, 2_000, MIDNIGHT_MS, MIDNIGHT_MS + 1_000):
        mark(desk, 47_500, at_ms)
    assert desk.alert_codes().count("DAILY_DRAWDOWN_WARNING") == 1
    mark(desk, 45_200, MIDNIGHT_MS + 2_000)
    mark(desk, 45_000, MIDNIGHT_MS + 3_000)
    assert desk.alert_codes().count("DAILY_DRAWDOWN_WARNING") == 2


def test_a_loss_by_fill_counts_without_any_mark() -> None:
    """Sold at 45 000 of 50 000: the fill alone reaches the limit."""
    desk = one_coin()
    desk.exit()
    desk.result(desk.orders[-1], price=45_000)
    assert desk.states == ["REDUCING"]


def test_an_unknown_start_of_day_is_tried_again() -> None:
    """A held position without mark at midnight: no start of day, entries refused, until it is marked."""
    desk = one_coin()
    desk.machine.state.account.portfolio.marks.clear()
    desk.tick(MIDNIGHT_MS)
    assert desk.machine.state.account.start_of_day_equity is None
    desk.quote("2999", "3001", symbol="ETHUSDT")
    assert layer(desk.signal(symbol="ETHUSDT", price=3_000), "daily_drawdown").code == "START_OF_DAY_UNKNOWN"
    mark(desk, 50_000, MIDNIGHT_MS + 1_000)
    desk.tick(MIDNIGHT_MS + 2_000)
    assert desk.machine.state.account.start_of_day_equity == 100_000


def test_a_restart_never_recomputes_the_start_of_day() -> None:
    """Restored in the middle of the day, the start of day is what it was."""
    desk = one_coin()
    mark(desk, 49_000, 1_000)
    desk.restart()
    mark(desk, 48_000, 2_000)
    assert desk.machine.state.account.start_of_day_equity == 100_000
    assert desk.machine.state.account.daily_pnl == -2_000


# layer 5


LATE_DAY = {"MAX_DAILY_DRAWDOWN_PCT": "0.9"}


def trip(desk: RiskDesk, at_ms: int = 1_000) -> None:
    """Lose exactly 10 % from the peak on two quotes one second apart."""
    mark(desk, 47_500, at_ms)
    mark(desk, 45_200, at_ms + 100)
    mark(desk, 43_000, at_ms + 200)
    mark(desk, 41_000, at_ms + 300)
    mark(desk, 40_000, at_ms + 400)
    mark(desk, 40_000, at_ms + 1_400)


def test_breaker_trips_at_equality_on_two_quotes_a_second_apart() -> None:
    """10 000 of 100 000: the first quote does not latch, one 999 ms later neither, one a second later does."""
    desk = one_coin(**LATE_DAY)
    mark(desk, 47_500, 1_000)
    mark(desk, 45_200, 1_100)
    mark(desk, 43_000, 1_200)
    mark(desk, 41_000, 1_300)
    mark(desk, 40_000, 2_000)
    mark(desk, 40_000, 2_999)
    assert desk.states == []
    assert layer(desk.signal(), "circuit_breaker").code == "DRAWDOWN_LIMIT", "entries are blocked already"
    mark(desk, 40_000, 3_000)
    assert desk.states == ["HALTED"]
    assert "CIRCUIT_BREAKER" in desk.alert_codes()
    assert layer(desk.signal(), "circuit_breaker").code == "BREAKER_LATCHED"
    assert desk.exit().approved, "strategy exits go on under the breaker"


def test_one_bad_tick_does_not_trip_the_breaker() -> None:
    """The second quote is fine again: nothing is latched and the breach is forgotten."""
    desk = one_coin(CIRCUIT_BREAKER_THRESHOLD_PCT="0.02", **LATE_DAY)
    mark(desk, 47_900, 1_000)
    mark(desk, 49_900, 1_250)
    mark(desk, 47_900, 2_500)
    assert desk.states == []
    mark(desk, 47_900, 3_500)
    assert desk.states == ["HALTED"]


def test_the_quote_of_another_instrument_does_not_confirm_a_bad_tick() -> None:
    """ETH's quote a second later still sees BTC's bad mark: only BTC's own next quote counts."""
    desk = one_coin(CIRCUIT_BREAKER_THRESHOLD_PCT="0.02", **LATE_DAY)
    mark(desk, 47_900, 1_000)
    desk.quote("2999", "3001", symbol="ETHUSDT", at_ms=2_500)
    desk.tick(3_000)
    assert desk.states == []
    mark(desk, 49_900, 3_100)
    desk.tick(70_000)
    assert desk.states == []


def test_a_silent_instrument_confirms_after_a_minute() -> None:
    """The instrument of the breach has not been heard of for 60 s: unknown is not good, the breaker trips."""
    desk = one_coin(CIRCUIT_BREAKER_THRESHOLD_PCT="0.02", **LATE_DAY)
    mark(desk, 47_900, 1_000)
    desk.tick(60_999)
    assert desk.states == []
    desk.tick(61_000)
    assert desk.states == ["HALTED"]


def test_a_realised_loss_trips_on_any_later_quote() -> None:
    """Sold 10 % of equity lower: with nothing held, any good quote a second later confirms."""
    desk = one_coin(**LATE_DAY)
    desk.exit()
    desk.result(desk.orders[-1], price=40_000)
    assert desk.states == []
    desk.quote("2999", "3001", symbol="ETHUSDT", at_ms=desk.now_ms + 1_000)
    assert desk.states == ["HALTED"]


def test_a_breach_whose_instrument_was_sold_is_confirmed_by_another() -> None:
    """The breach began on BTC, which was then sold at that price: ETH's quote may confirm."""
    desk = one_coin(CIRCUIT_BREAKER_THRESHOLD_PCT="0.02", **LATE_DAY)
    mark(desk, 47_900, 1_000)
    desk.exit()
    desk.result(desk.orders[-1], price=47_900)
    desk.quote("2999", "3001", symbol="ETHUSDT", at_ms=2_500)
    assert desk.states == ["HALTED"]


def test_breaker_stays_over_midnight_and_restarts_until_it_is_reset_by_name_and_reason() -> None:
    """Only `reset_breaker` with both clears it; then the peak is the equity of now, so it does not trip at once."""
    desk = one_coin(**LATE_DAY)
    trip(desk)
    desk.restart()
    desk.tick(MIDNIGHT_MS)
    assert desk.machine.state.trading.mode == "HALTED"
    for by, reason in ((None, "r"), ("ana", None), (" ", "r"), ("ana", "")):
        desk.command("reset_breaker", by=by, reason=reason)
        assert desk.alert_codes()[-1] == "COMMAND_REFUSED"
    desk.command("resume", by="ana", reason="r")
    assert desk.machine.state.trading.mode == "HALTED", "resume does not reset the breaker"
    desk.command("reset_breaker", by="ana", reason="understood")
    assert desk.machine.state.trading.mode == "ACTIVE"
    assert desk.machine.state.account.peak_equity == 90_000
    mark(desk, 40_000, MIDNIGHT_MS + 1_000)
    mark(desk, 40_000, MIDNIGHT_MS + 3_000)
    assert desk.machine.state.trading.mode == "ACTIVE"


def test_reset_of_the_breaker_does_not_clear_the_daily_limit() -> None:
    """Both latched: after the reset it is still REDUCING."""
    desk = one_coin()
    trip(desk)
    assert desk.machine.state.trading.causes == ["breaker", "daily_loss"]
    desk.command("reset_breaker", by="ana", reason="understood")
    assert desk.machine.state.trading.mode == "REDUCING"


def test_reset_of_an_untripped_breaker_is_refused() -> None:
    """There is nothing to reset, and the peak stays."""
    desk = RiskDesk()
    desk.command("reset_breaker", by="ana", reason="r")
    assert desk.alert_codes() == ["COMMAND_REFUSED"]
    assert desk.machine.state.account.peak_equity == 100_000


def test_drawdown_warnings_begin_anew_with_a_new_peak() -> None:
    """50 % of the breaker is told once, and again after a new peak."""
    desk = one_coin(**LATE_DAY)
    for step, mid in enumerate((47_600, 45_300, 44_900, 44_800, 47_000, 49_000, 51_000, 48_500, 46_100, 45_000)):
        mark(desk, mid, 1_000 * (step + 1))
    assert desk.alert_codes().count("DRAWDOWN_WARNING") == 2


# commands


def test_halt_needs_no_name_and_resume_needs_both() -> None:
    """Anyone may halt, also the writer for a foreign message; resuming takes an operator, a name and a reason."""
    desk = RiskDesk()
    desk.command("halt", producer=channels.WRITER)
    assert desk.states == ["HALTED"]
    assert desk.machine.summary()["causes"]["halt"]["by"] == channels.WRITER
    desk.command("resume", by="ana")
    desk.command("resume", producer=channels.WRITER, by="ana", reason="r")
    assert desk.states == ["HALTED"]
    assert [alert.level for alert in desk.alerts[-2:]] == ["WARNING", "WARNING"]
    desk.command("resume", by="ana", reason="checked")
    assert desk.states == ["HALTED", "ACTIVE"]
    assert desk.alerts[-1].level == "INFO"


def test_resume_of_nothing_is_refused() -> None:
    """Nothing is halted by an operator: the answer names what is set."""
    desk = RiskDesk()
    desk.command("resume", by="ana", reason="r")
    assert "set are: nothing" in desk.alerts[-1].message


def test_a_second_halt_keeps_the_first_reason_and_freeze_is_stricter() -> None:
    """Halting twice announces once; freezing a halted system announces FROZEN, CRITICAL."""
    desk = RiskDesk()
    desk.command("halt", by="ana", reason="one")
    desk.command("halt", by="bob", reason="two")
    assert desk.states == ["HALTED"]
    assert desk.machine.state.trading.latches["halt"].by == "ana"
    desk.command("halt", by="bob", details={"freeze": True})
    assert desk.states == ["HALTED", "FROZEN"]
    assert desk.alerts[-1].level == "CRITICAL"
    desk.command("resume", by="ana", reason="both")
    assert desk.states[-1] == "ACTIVE"


def test_a_command_is_done_once() -> None:
    """The same command id twice: the second does nothing, also after a resume; the memory of ids is bounded."""
    desk = RiskDesk()
    desk.command("halt", command_id="c-1")
    desk.command("resume", command_id="c-2", by="ana", reason="r")
    desk.command("halt", command_id="c-1")
    assert desk.states == ["HALTED", "ACTIVE"]
    for index in range(300):
        desk.command("halt", command_id=f"x-{index}")
    assert len(desk.machine.state.commands) == 256
    assert desk.machine.state.commands[-1] == "x-299"


def test_flatten_by_others_than_the_operator_is_refused() -> None:
    """A foreign flatten sells nothing."""
    desk = RiskDesk()
    desk.hold()
    desk.command("flatten", producer=channels.WRITER)
    assert desk.alert_codes()[-1] == "COMMAND_REFUSED"
    assert len(desk.orders) == 1


def test_other_controls_change_nothing() -> None:
    """Starts and configs of others, resolve_order, finished, and ticks of another producer are not risk's."""
    desk = RiskDesk()
    before = desk.machine.dump()
    for action in ("warmup", "finished", "resolve_order"):
        desk.command(action)
    desk.command("tick", producer=channels.CORE, details={"pressure": "entries"})
    assert desk.machine.state.pressure == "none"
    assert desk.machine.dump().partition(b'"state"')[2] == before.partition(b'"state"')[2]


def test_trading_state_takes_the_strictest_latch() -> None:
    """FROZEN over HALTED over REDUCING over ACTIVE."""
    trading = TradingState()
    assert trading.mode == "ACTIVE"
    for name, mode in (("daily_loss", "REDUCING"), ("breaker", "HALTED"), ("halt", "HALTED"), ("freeze", "FROZEN")):
        assert trading.set(name, Latch(1, "a", "r"))  # type: ignore[arg-type]
        assert trading.mode == mode
    assert trading.causes == ["freeze", "halt", "breaker", "daily_loss"]
    assert not trading.set("halt", Latch(2, "b", "s"))
    assert trading.clear("halt", "freeze")
    assert not trading.clear("halt", "freeze")
    assert trading.mode == "HALTED"


# order results


def test_partial_fills_move_the_reservation_into_the_position() -> None:
    """0.1 of 0.149997 filled: 0.1 held, 0.049997 still reserved; exposure is the same as before."""
    desk = RiskDesk()
    desk.quote()
    order = desk.buy()
    assert desk.machine.summary()["exposure"] == Decimal("7499.85")
    desk.result(order, "PARTIALLY_FILLED", filled="0.1", price=50_000)
    summary = desk.machine.summary()
    assert summary["exposure"] == Decimal("7499.85")
    assert summary["positions"][0]["quantity"] == Decimal("0.1")
    assert summary["working_orders"][0]["filled"] == Decimal("0.1")
    desk.result(order, "CANCELED", filled="0.1", last=0)
    assert desk.machine.summary()["exposure"] == 5_000


def test_repeated_results_change_nothing() -> None:
    """The same partial fill and the same end again: books and reservations stay."""
    desk = RiskDesk()
    desk.quote()
    order = desk.buy()
    desk.result(order, "PARTIALLY_FILLED", filled="0.1", price=50_000)
    before = desk.machine.state.account.portfolio.cash
    desk.result(order, "PARTIALLY_FILLED", filled="0.1", price=50_000)
    desk.result(order, "NEW")
    assert desk.machine.state.reservations.orders[order.order_id].remaining == Decimal("0.049997")
    desk.result(order, "CANCELED", filled="0.1", last=0)
    desk.result(order, "CANCELED", filled="0.1", last=0)
    desk.result(order, "PARTIALLY_FILLED", filled="0.1", price=50_000)
    assert desk.machine.state.account.portfolio.cash == before
    assert desk.states == []


def test_an_unexpected_fill_is_booked_and_freezes() -> None:
    """A fill of an order that risk never approved is a fact, and a reason to stop everything."""
    desk = RiskDesk()
    desk.quote()
    order = desk.buy()
    desk.result(order.model_copy(update={"order_id": "ord-other"}), price=50_000)
    assert desk.machine.state.account.held(BTC)
    assert "UNEXPECTED_FILL" in desk.alert_codes()
    assert desk.states == ["FROZEN"]


@pytest.mark.parametrize("change", [{"symbol": "ETHUSDT"}, {"filled": "0.2"}])
def test_a_fill_that_contradicts_its_order_freezes(change: dict[str, str]) -> None:
    """Another symbol, or more than was ordered."""
    desk = RiskDesk()
    desk.quote()
    order = desk.buy()
    told = order.model_copy(update={name: value for name, value in change.items() if name != "filled"})
    desk.result(told, "PARTIALLY_FILLED", filled=change.get("filled", "0.1"), price=50_000)
    assert desk.states == ["FROZEN"]
    remaining = [reservation.remaining for reservation in desk.machine.state.reservations.orders.values()]
    assert all(value >= 0 for value in remaining)


def test_a_sale_of_more_than_is_held_stops_the_service() -> None:
    """The books cannot be kept on such a result: a fault, never ignored."""
    desk = RiskDesk()
    desk.quote()
    order = desk.buy()
    with pytest.raises(IllegalTransition):
        desk.result(order.model_copy(update={"order_id": "ord-x", "side": "SELL"}), price=50_000)


def test_results_of_others_are_not_booked() -> None:
    """Only execution reports fills; anything else is a CRITICAL alert."""
    desk = RiskDesk()
    desk.quote()
    order = desk.buy()
    desk.result(order, producer="somebody", price=50_000)
    assert desk.alert_codes() == ["FOREIGN_ORDER_RESULT"]
    assert not desk.machine.state.account.held(BTC)
    assert order.order_id in desk.machine.state.reservations.orders


def test_equity_is_cash_plus_marked_positions_to_the_last_digit() -> None:
    """0.149997 at 50 001.23 with fee 3.75 marked at 51 000: 100000 - 7500.03449631 - 3.75 + 7649.847."""
    desk = RiskDesk()
    desk.quote()
    order = desk.buy()
    desk.result(order, price="50001.23", fee="3.75")
    mark(desk, 51_000, 1_000)
    cash = Decimal(100_000) - Decimal("0.149997") * Decimal("50001.23") - Decimal("3.75")
    summary = desk.machine.summary()
    assert summary["cash"] == cash
    assert summary["equity"] == cash + Decimal("0.149997") * 51_000
    assert summary["equity"] == 100_000 + summary["realized_pnl"] + summary["unrealized_pnl"] - summary["fees"]
    assert summary["positions"][0]["stop_price"] == Decimal("49001.2054")  # 50001.23 * 0.98


# alerts


def test_blind_while_positioned_is_told_after_a_minute_and_every_fifteen() -> None:
    """60 s without a quote is not yet blind, 61 s is; then every 15 minutes, and at once after it was over."""
    desk = RiskDesk()
    desk.hold()
    desk.tick(60_000)
    assert desk.alert_codes() == []
    for at_ms in (61_000, 62_000, 900_000, 960_999):
        desk.tick(at_ms)
    assert desk.alert_codes() == ["BLIND_WHILE_POSITIONED"]
    assert desk.alerts[0].level == "CRITICAL"
    desk.tick(961_000)
    assert len(desk.alerts) == 2
    desk.quote(at_ms=1_000_000)
    desk.tick(1_001_000)
    desk.tick(1_062_000)
    assert len(desk.alerts) == 3


def test_blind_without_any_quote() -> None:
    """Held without ever a quote is blind at once."""
    desk = RiskDesk()
    desk.hold()
    desk.machine.state.market.clear()
    desk.tick(1_000)
    assert desk.alert_codes() == ["BLIND_WHILE_POSITIONED"]


def test_stale_marks_are_told() -> None:
    """Quotes come but none is good for over 60 s: not blind, but the mark is stale."""
    desk = RiskDesk(STOP_LOSS_PCT="0.9")
    desk.hold()
    for second, mid in ((20, 60_000), (40, 70_000), (61, 60_000)):
        mark(desk, mid, 1_000 * second)
    desk.tick(61_500)
    assert desk.alert_codes() == ["MARKS_STALE"]
    assert desk.machine.summary()["stale_marks"] == [BTC]


def test_a_latched_exit_is_told_after_half_a_minute() -> None:
    """An exit that has not come through for over 30 s pages."""
    desk = RiskDesk()
    desk.hold()
    desk.command("halt")
    desk.exit()
    desk.tick(30_000)
    desk.quote(at_ms=30_000)
    assert "EXIT_LATCHED" not in desk.alert_codes()
    desk.tick(30_001)
    assert desk.alert_codes()[-1] == "EXIT_LATCHED"
    assert desk.machine.summary()["latched_exits"][0]["purpose"] == "exit"


@pytest.mark.parametrize(("status", "code"), [(None, "ORDER_UNANSWERED"), ("UNKNOWN", "ORDER_UNKNOWN"), ("NEW", None)])
def test_unanswered_and_unknown_orders_are_told_and_stay_reserved(status: str | None, code: str | None) -> None:
    """After over 60 s without an answer, or UNKNOWN: an alert, and no timer frees the reservation."""
    desk = RiskDesk()
    desk.quote()
    order = desk.buy()
    if status is not None:
        desk.result(order, status)
    desk.tick(60_000)
    assert desk.alert_codes() == []
    desk.tick(60_001)
    assert desk.alert_codes() == ([] if code is None else [code])
    desk.tick(3_600_000)
    assert order.order_id in desk.machine.state.reservations.orders


def test_an_order_that_is_known_again_starts_its_clock_anew() -> None:
    """UNKNOWN, then NEW, then UNKNOWN: the minute counts from the last."""
    desk = RiskDesk()
    desk.quote()
    order = desk.buy()
    desk.result(order, "UNKNOWN")
    desk.result(order, "NEW")
    desk.tick(50_000)
    desk.result(order, "UNKNOWN")
    desk.tick(110_000)
    assert desk.alert_codes() == []
    desk.tick(110_001)
    assert desk.alert_codes() == ["ORDER_UNKNOWN"]


def test_alarms_that_flap_are_told_at_most_once_a_minute() -> None:
    """On, off, on within a minute: one alert; an alarm that is over for a minute is forgotten."""
    minute = 60_000_000
    alarms = Alarms()
    assert alarms.settle(["a"], 0) == ["a"]
    assert alarms.settle([], 10) == []
    assert alarms.settle(["a"], 20) == []
    assert alarms.settle([], 30) == []
    assert alarms.settle(["a"], minute) == ["a"]
    assert alarms.settle([], 2 * minute) == []
    assert alarms.sent == {}


def test_a_day_is_started_once() -> None:
    """The first valuation of a UTC day is its start; later ones of that day are not."""
    account = Account.open(Decimal(100))
    assert account.start_day(START_US)
    assert not account.start_day(START_US + 1)
    assert account.start_day(START_US + DAY_US)
