"""Account and reservations by themselves: days, peaks, the confirmation of a breach, and what working orders claim."""

from __future__ import annotations

from decimal import Decimal

import pytest

from services.cdb_risk.account import BREAKER_CONFIRM_US, MARK_STALE_US, Account, Breach
from services.cdb_risk.reservations import Reservation, Reservations
from services.cdb_risk.sizing import headroom_quantity
from services.common.events import OrderResult, Purpose, Side
from services.common.portfolio import Mark, Position
from services.common.timestamps import DAY_US, MINUTE_US

pytestmark = [pytest.mark.unit, pytest.mark.risk]

BTC, ETH = "mexc_spot:BTCUSDT", "mexc_spot:ETHUSDT"
DAY_MIN = DAY_US // MINUTE_US


def account(*held: str) -> Account:
    """Return an account of 1000 that holds one unit of each instrument named, marked at 0 at time 0."""
    opened = Account.open(Decimal(1_000))
    for key in held:
        opened.portfolio.positions[key] = Position("mexc_spot", key.split(":")[1], quantity=Decimal(1))
        opened.portfolio.marks[key] = Mark(Decimal(0), 0)
    return opened


def test_a_day_starts_once_and_again_only_after_midnight() -> None:
    """The equity at the first event of a day stays; warnings begin anew with the day."""
    day = account()
    assert not day.in_day(DAY_MIN)
    day.daily_warned = 80
    assert day.start_day(DAY_US)
    assert (day.day, day.start_of_day_equity, day.daily_warned) == (1, 1_000, 0)
    assert day.in_day(2 * DAY_MIN - 1)
    assert not day.in_day(2 * DAY_MIN)


def test_a_day_without_a_known_equity_has_not_started() -> None:
    """Held and never marked: no start of day, and it is tried again."""
    day = account(BTC)
    del day.portfolio.marks[BTC]
    assert not day.start_day(DAY_US)
    assert not day.in_day(DAY_MIN)
    day.portfolio.marks[BTC] = Mark(Decimal(5), 0)
    assert day.start_day(DAY_US)
    assert day.start_of_day_equity == 1_005


def test_only_a_higher_equity_raises_the_peak_and_forgets_the_warning() -> None:
    """At the peak itself the warning stays: or a loss that hovers there would warn again and again."""
    risen = account()
    risen.drawdown_warned = 50
    risen.raise_peak(Decimal(1_000))
    risen.raise_peak(Decimal(999))
    assert (risen.peak_equity, risen.drawdown_warned) == (1_000, 50)
    risen.raise_peak(Decimal(1_001))
    assert (risen.peak_equity, risen.drawdown_warned) == (1_001, 0)
    unknown = Account()
    unknown.raise_peak(Decimal(1))
    assert unknown.peak_equity == 1


def test_a_reset_begins_at_the_equity_of_now() -> None:
    """Peak, warning and the waiting breach are gone."""
    lost = account()
    lost.peak_equity, lost.drawdown_warned, lost.breach = Decimal(2_000), 80, Breach(0, None)
    lost.reset_peak()
    assert (lost.peak_equity, lost.drawdown_warned, lost.breach) == (1_000, 0, None)


@pytest.mark.parametrize(
    ("first", "second", "after_us", "confirmed"),
    [
        (BTC, BTC, BREAKER_CONFIRM_US - 1, False),
        (BTC, BTC, BREAKER_CONFIRM_US, True),
        (BTC, ETH, BREAKER_CONFIRM_US, False),
        (BTC, None, BREAKER_CONFIRM_US, False),
        (BTC, ETH, MARK_STALE_US - 1, False),
        (BTC, ETH, MARK_STALE_US, True),
        (BTC, None, MARK_STALE_US, True),
        (None, ETH, BREAKER_CONFIRM_US, True),
        (None, None, BREAKER_CONFIRM_US, False),
        ("mexc_spot:SOLUSDT", ETH, BREAKER_CONFIRM_US, True),
    ],
)
def test_a_breach_is_confirmed_by_its_own_instrument(
    first: str | None, second: str | None, after_us: int, confirmed: bool
) -> None:
    """A second later by the same instrument, any when the first was a fill or is no longer held, or after a minute."""
    lost = account(BTC, ETH)
    assert not lost.confirm_breach(7, first)
    assert lost.breach == Breach(7, first)
    assert lost.confirm_breach(7 + after_us, second) is confirmed


def test_a_mark_is_stale_after_a_minute() -> None:
    """Exactly a minute is fresh; dust that is named and what is flat are left out; never marked is stale."""
    held = account(BTC, ETH)
    held.portfolio.positions["mexc_spot:SOLUSDT"] = Position("mexc_spot", "SOLUSDT")
    assert held.stale_marks(MARK_STALE_US) == []
    assert held.stale_marks(MARK_STALE_US + 1) == [BTC, ETH]
    assert held.stale_marks(MARK_STALE_US + 1, frozenset({BTC})) == [ETH]
    del held.portfolio.marks[BTC]
    assert held.stale_marks(0) == [BTC]


@pytest.mark.parametrize(("loss", "level"), [("0", 0), ("24.99", 0), ("25", 50), ("39.99", 50), ("40", 80), ("-1", 0)])
def test_warnings_are_due_at_half_and_four_fifths_of_the_limit(loss: str, level: int) -> None:
    """5 % of 1000 are 50: a warning at 25 and at 40, equality included."""
    assert Account().warning_due(Decimal(loss), Decimal(50)) == level


def reserved(order_id: str, key: str, side: Side, purpose: Purpose, quantity: str) -> Reservation:
    """Return an order that has just been approved."""
    return Reservation(order_id, key, side, purpose, Decimal(quantity), 0)


def test_working_orders_claim_by_instrument_and_purpose() -> None:
    """Entries grow, exits reduce, each its own instrument only; without any the sums are numbers of money."""
    empty = Reservations()
    assert isinstance(empty.pending_increasing(BTC), Decimal)
    assert isinstance(empty.pending_reducing(BTC), Decimal)
    orders = Reservations()
    orders.add(reserved("a", BTC, "BUY", "entry", "1"))
    orders.add(reserved("b", ETH, "SELL", "entry", "2"))
    orders.add(reserved("c", ETH, "BUY", "stop_loss", "4"))
    assert [orders.pending_increasing(key) for key in (BTC, ETH)] == [1, 2]
    assert [orders.pending_reducing(key) for key in (BTC, ETH)] == [0, 4]
    assert [orders.entry_side(key) for key in (BTC, ETH, "mexc_spot:SOLUSDT")] == ["BUY", "SELL", None]
    assert [orders.entry_working(key) for key in (BTC, ETH, "mexc_spot:SOLUSDT")] == [True, True, False]
    assert [orders.exit_working(key) for key in (BTC, ETH)] == [False, True]
    assert orders.entered_keys() == [BTC, ETH]
    lone = Reservations()
    lone.add(reserved("d", ETH, "SELL", "exit", "1"))
    assert (lone.entry_side(ETH), lone.entry_working(ETH), lone.entered_keys()) == (None, False, [])


def test_what_became_unknown_counts_from_its_first_word() -> None:
    """A second UNKNOWN does not begin the time anew; an answer ends it."""
    orders = Reservations()
    orders.add(reserved("a", BTC, "BUY", "entry", "1"))

    def told(status: str) -> OrderResult:
        fields = {"order_id": "a", "client_order_id": "a", "venue": "mexc_spot", "symbol": "BTCUSDT", "side": "BUY"}
        amounts = {"quantity": Decimal(1), "filled_quantity": Decimal(0)}
        known = {"event_id": "r", "timestamp": 0, "producer": "cdb_execution", "status": status}
        return OrderResult.model_validate(fields | amounts | known)

    for status, now, since in (("UNKNOWN", 5, 5), ("UNKNOWN", 9, 5), ("NEW", 10, None), ("UNKNOWN", 11, 11)):
        kept = orders.settle(told(status), now)
        assert kept is not None
        assert (kept.unknown_since, kept.remaining) == (since, 1)
    assert orders.settle(told("CANCELED"), 12) is not None
    assert orders.settle(told("CANCELED"), 13) is None


@pytest.mark.parametrize(
    ("limit", "used", "unit_cost", "fits"),
    [
        ("100", "40", "20", "3"),
        ("100", "100", "20", "0"),
        ("100", "101", "20", "0"),
        ("1.5", "1", "20", "0.025"),
        ("2", "0", "3", "0.66666666"),
        ("1", "0", "3", "0.33333333"),
    ],
)
def test_headroom_in_units(limit: str, used: str, unit_cost: str, fits: str) -> None:
    """What is left, divided by the cost of a unit, rounded down in the eighth decimal."""
    assert headroom_quantity(Decimal(limit), Decimal(used), Decimal(unit_cost)) == Decimal(fits)
