"""What each check of the seven layers says: its code, value, limit and headroom, and its sentence, computed by hand."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from services.cdb_risk.codes import MEANINGS, Code
from services.cdb_risk.finding import Finding
from services.cdb_risk.layers.circuit_breaker import check_halts, check_memory, check_peak_loss
from services.cdb_risk.layers.daily_drawdown import (
    check_daily_latch,
    check_daily_loss,
    check_pause,
    check_rolling_loss,
    daily_findings,
)
from services.cdb_risk.layers.data_quality import (
    check_book,
    check_equity,
    check_gap,
    check_marks,
    check_problem,
    check_symbol,
    price_collar,
)
from services.cdb_risk.layers.perpetual_limits import (
    check_leverage,
    check_liquidation_distance,
    check_margin,
    check_mark,
)
from services.cdb_risk.layers.position_limits import (
    check_concurrent,
    check_entry_working,
    check_exit,
    check_long_only,
    check_minimum,
    check_not_positioned,
    check_nothing_closing,
    check_order_notional,
    check_order_rate,
    check_rate,
    check_share,
    check_sizing,
    check_spacing,
)
from services.cdb_risk.layers.spread_check import check_slippage, check_spread
from services.cdb_risk.layers.timeout_check import check_age
from services.cdb_risk.layers.total_exposure import check_exposure

pytestmark = [pytest.mark.unit, pytest.mark.risk]

D = Decimal
Numbers = tuple[str | None, str | None, str | None]

FINDINGS: list[tuple[Callable[[], Finding], Code, Numbers, str]] = [
    (
        lambda: check_long_only(is_short=True),
        Code.SHORT_NOT_ALLOWED,
        (None, None, None),
        "spot sells only what is held; perpetuals are sold short only with SIGNAL_ALLOW_SHORT",
    ),
    (lambda: check_long_only(is_short=True, allowed=True), Code.OK, (None, None, None), "short"),
    (lambda: check_long_only(is_short=False), Code.OK, (None, None, None), "long"),
    (lambda: check_not_positioned(D("0.5")), Code.ALREADY_POSITIONED, ("0.5", "0", None), "0.5 is held"),
    (lambda: check_not_positioned(D("0.5"), dust=True), Code.OK, ("0.5", None, None), "not held"),
    (
        lambda: check_entry_working(working=True),
        Code.ENTRY_WORKING,
        (None, None, None),
        "an entry of the instrument is still working",
    ),
    (lambda: check_entry_working(working=False), Code.OK, (None, None, None), "no entry working"),
    (lambda: check_concurrent(1, 3), Code.OK, ("1", "3", "2"), "1 of 3 positions held or being entered"),
    (
        lambda: check_concurrent(3, 3),
        Code.TOO_MANY_POSITIONS,
        ("3", "3", "0"),
        "3 of 3 positions held or being entered",
    ),
    (lambda: check_rate(2, 6), Code.OK, ("2", "6", "4"), "2 of 6 entries within the last minute"),
    (lambda: check_rate(6, 6), Code.ORDER_RATE, ("6", "6", "0"), "6 of 6 entries within the last minute"),
    (
        lambda: check_nothing_closing(working=True),
        Code.EXIT_WORKING,
        (None, None, None),
        "an exit of the instrument still works",
    ),
    (lambda: check_nothing_closing(working=False), Code.OK, (None, None, None), "no exit working"),
    (
        lambda: check_order_rate(4, 10),
        Code.OK,
        ("4", "10", "6"),
        "4 of 10 orders of all symbols within the last minute",
    ),
    (
        lambda: check_order_rate(10, 10),
        Code.TOTAL_ORDER_RATE,
        ("10", "10", "0"),
        "10 of 10 orders of all symbols within the last minute",
    ),
    (
        lambda: check_order_notional(D(1500), D(2000), no_room=False),
        Code.OK,
        ("1500", "2000", "500"),
        "the order costs 1500 at worst, at most 2000",
    ),
    (
        lambda: check_order_notional(D(2500), D(2000), no_room=False),
        Code.ORDER_NOTIONAL_LIMIT,
        ("2500", "2000", "-500"),
        "the order costs 2500 at worst, at most 2000",
    ),
    (
        lambda: check_order_notional(D(2000), D(2000), no_room=True),
        Code.ORDER_NOTIONAL_LIMIT,
        ("2000", "2000", "0"),
        "the order costs 2000 at worst, at most 2000",
    ),
    (lambda: check_spacing(None, 60), Code.OK, (None, None, None), "no earlier entry in this direction"),
    (
        lambda: check_spacing(15_000_000, 60),
        Code.ENTRY_SPACING,
        ("15", "60", "-45"),
        "last entry in this direction 15.000000 s ago",
    ),
    (
        lambda: check_spacing(90_500_000, 60),
        Code.OK,
        ("90.5", "60", "30.5"),
        "last entry in this direction 90.500000 s ago",
    ),
    (
        lambda: check_sizing(None),
        Code.SIZING_INPUT_UNKNOWN,
        ("0", None, None),
        "the sizing method lacks an input, so the size is zero",
    ),
    (lambda: check_sizing(D("0.25")), Code.OK, ("0.25", None, None), "0.25 requested"),
    (
        lambda: check_minimum(D("0.2"), D(100), D("0.1"), D(5), capped_to_nothing=False),
        Code.OK,
        ("20", "5", "15"),
        "0.2 worth 20",
    ),
    (
        lambda: check_minimum(D("0.02"), D(100), D("0.1"), D(5), capped_to_nothing=False),
        Code.BELOW_MINIMUM,
        ("2", "5", "-3"),
        "0.02 worth 2 is left; the exchange takes 0.1 worth 5 at least",
    ),
    (
        lambda: check_minimum(D("0.02"), D(100), D("0.1"), D(5), capped_to_nothing=True),
        Code.POSITION_LIMIT,
        ("2", "5", "-3"),
        "0.02 worth 2 is left; the exchange takes 0.1 worth 5 at least",
    ),
    (
        lambda: check_share(D(900), D(10000), D("0.10"), Code.POSITION_LIMIT),
        Code.OK,
        ("0.09", "0.1", "0.01"),
        "900 of 10000",
    ),
    (
        lambda: check_share(D(1100), D(10000), D("0.10"), Code.POSITION_LIMIT),
        Code.POSITION_LIMIT,
        ("0.11", "0.1", "-0.01"),
        "1100 of 10000",
    ),
    (
        lambda: check_exit(D(0), D(0), D(0), dust=False, too_soon=False),
        Code.NO_POSITION,
        ("0", "0", None),
        "nothing is held",
    ),
    (
        lambda: check_exit(D(3), D(1), D(2), dust=False, too_soon=False),
        Code.EXIT_WORKING,
        ("1", "3", None),
        "1 of 3 is being sold",
    ),
    (
        lambda: check_exit(D(3), D(0), D("0.001"), dust=True, too_soon=False),
        Code.DUST,
        ("0.001", "3", None),
        "3 is below the exchange's minimum",
    ),
    (
        lambda: check_exit(D(3), D(0), D(3), dust=False, too_soon=True),
        Code.EXIT_TOO_SOON,
        ("3", "3", None),
        "the last exit order is less than two seconds old; the latched exit asks again",
    ),
    (lambda: check_exit(D(3), D(0), D(2), dust=False, too_soon=False), Code.OK, ("2", "3", "1"), "sells 2 of 3"),
    (lambda: check_symbol("BTCUSDT", known=True), Code.OK, (None, None, None), "BTCUSDT is traded"),
    (
        lambda: check_symbol("BTCUSDT", known=False),
        Code.UNKNOWN_SYMBOL,
        (None, None, None),
        "BTCUSDT is not traded here",
    ),
    (lambda: check_book(D(99), D(101)), Code.OK, (None, None, None), "bid 99 below ask 101"),
    (lambda: check_book(D(101), D(99)), Code.CROSSED_BOOK, (None, None, None), "bid 101 is not below ask 99"),
    (lambda: check_problem(Code.OK), Code.OK, (None, None, None), "last market data good"),
    (
        lambda: check_problem(Code.PRICE_COLLAR),
        Code.PRICE_COLLAR,
        (None, None, None),
        "the price is further from the last good one than PRICE_COLLAR_PCT",
    ),
    (
        lambda: check_gap(gap_open=True),
        Code.FEED_GAP,
        (None, None, None),
        "the feed lost messages and has not yet shown three good quotes over two seconds",
    ),
    (lambda: check_gap(gap_open=False), Code.OK, (None, None, None), "no feed gap"),
    (lambda: check_equity(None), Code.EQUITY_UNKNOWN, (None, None, None), "a held position has never been marked"),
    (lambda: check_equity(D(-5)), Code.EQUITY_UNKNOWN, ("-5", None, None), "equity is -5"),
    (lambda: check_equity(D(1000)), Code.OK, ("1000", None, None), "equity 1000"),
    (lambda: check_marks(["A", "B"]), Code.MARKS_STALE, (None, None, None), "no good mark for 60 s: A, B"),
    (lambda: check_marks([]), Code.OK, (None, None, None), "marks fresh"),
    (
        lambda: price_collar(Code.PRICE_COLLAR, D(102), D(100), D("0.05")),
        Code.OK,
        ("0.02", "0.05", "0.03"),
        "price 102 against 100",
    ),
    (
        lambda: price_collar(Code.PRICE_COLLAR, D(94), D(100), D("0.05")),
        Code.PRICE_COLLAR,
        ("0.06", "0.05", "-0.01"),
        "price 94 against 100",
    ),
    (lambda: check_spread(D(99), D(101), D("0.05")), Code.OK, ("0.02", "0.05", "0.03"), "spread between 99 and 101"),
    (
        lambda: check_spread(D(99), D(101), D("0.01")),
        Code.SPREAD_LIMIT,
        ("0.02", "0.01", "-0.01"),
        "spread between 99 and 101",
    ),
    (lambda: check_slippage(None, D("0.02")), Code.DEPTH_UNKNOWN, (None, "0.02", None), "no size at the touch"),
    (lambda: check_slippage(None, D("0.02"), "no volume"), Code.DEPTH_UNKNOWN, (None, "0.02", None), "no volume"),
    (lambda: check_slippage(D("0.01"), D("0.02")), Code.OK, ("0.01", "0.02", "0.01"), "expected slippage"),
    (
        lambda: check_slippage(D("0.03"), D("0.02"), "assumed"),
        Code.SLIPPAGE_LIMIT,
        ("0.03", "0.02", "-0.01"),
        "assumed",
    ),
    (
        lambda: check_age("quote", None, 100_000_000, D(60), Code.DATA_STALE),
        Code.TIMESTAMP_MISSING,
        (None, "60", None),
        "quote has no time",
    ),
    (
        lambda: check_age("quote", 70_000_000, 100_000_000, D(60), Code.DATA_STALE),
        Code.OK,
        ("30", "60", "30"),
        "quote is 30.000000 s old",
    ),
    (
        lambda: check_age("quote", 39_000_000, 100_000_000, D(60), Code.DATA_STALE),
        Code.DATA_STALE,
        ("61", "60", "-1"),
        "quote is 61.000000 s old",
    ),
    (
        lambda: check_age("quote", 106_000_000, 100_000_000, D(60), Code.DATA_STALE),
        Code.TIMESTAMP_IN_FUTURE,
        ("-6", "60", "66"),
        "quote is -6.000000 s old",
    ),
    (
        lambda: check_daily_latch(latched=True),
        Code.DAILY_DRAWDOWN_LATCHED,
        (None, None, None),
        "the daily loss limit was reached earlier today; it ends at 00:00 UTC",
    ),
    (lambda: check_daily_latch(latched=False), Code.OK, (None, None, None), "limit not reached today"),
    (
        lambda: check_daily_loss(None, D(-1), D("0.05")),
        Code.START_OF_DAY_UNKNOWN,
        (None, None, None),
        "start of day unknown, pnl -1",
    ),
    (lambda: check_daily_loss(D(1000), D(-20), D("0.05")), Code.OK, ("0.02", "0.05", "0.03"), "pnl -20 today on 1000"),
    (
        lambda: check_daily_loss(D(1000), D(-50), D("0.05")),
        Code.DAILY_DRAWDOWN_LIMIT,
        ("0.05", "0.05", "0"),
        "pnl -50 today on 1000",
    ),
    (lambda: check_rolling_loss(None, D(1), D("0.05")), Code.OK, (None, None, None), "nothing to compare with yet"),
    (
        lambda: check_rolling_loss(D(1000), D(990), D("0.05")),
        Code.OK,
        ("0.01", "0.05", "0.04"),
        "equity 990, highest lately 1000",
    ),
    (
        lambda: check_rolling_loss(D(1000), D(950), D("0.05")),
        Code.ROLLING_DRAWDOWN_LIMIT,
        ("0.05", "0.05", "0"),
        "equity 950, highest lately 1000",
    ),
    (
        lambda: check_mark(None, 5),
        Code.MARK_MISSING,
        (None, None, None),
        "the perpetual has had no mark price for 60 seconds that could be believed",
    ),
    (lambda: check_mark(1, 5), Code.OK, (None, None, None), "mark fresh"),
    (
        lambda: check_leverage(3, None),
        Code.LEVERAGE_LIMIT,
        (None, None, None),
        "the position would be larger than the exchange's largest tier",
    ),
    (
        lambda: check_liquidation_distance(D("0.05"), D("0.02")),
        Code.OK,
        ("0.05", "0.04", "0.01"),
        "liquidation 0.05 away, at least 0.04 is needed",
    ),
    (
        lambda: check_liquidation_distance(D("0.03"), D("0.02")),
        Code.LIQUIDATION_TOO_CLOSE,
        ("0.03", "0.04", "-0.01"),
        "liquidation 0.03 away, at least 0.04 is needed",
    ),
    (lambda: check_margin(D(30), D(50)), Code.OK, ("30", "50", "20"), "30 of margin and fee from 50"),
    (lambda: check_margin(D(60), D(50)), Code.INSUFFICIENT_MARGIN, ("60", "50", "-10"), "60 of margin and fee from 50"),
    (lambda: check_memory("none"), Code.OK, (None, None, None), "journal has room"),
    (lambda: check_memory("entries"), Code.JOURNAL_MEMORY, (None, None, None), "pressure: entries"),
    (lambda: check_peak_loss(None, D(1), D("0.1")), Code.PEAK_UNKNOWN, (None, None, None), "peak unknown, equity 1"),
    (lambda: check_peak_loss(D(1000), D(950), D("0.1")), Code.OK, ("0.05", "0.1", "0.05"), "equity 950, peak 1000"),
    (
        lambda: check_peak_loss(D(1000), D(900), D("0.1")),
        Code.DRAWDOWN_LIMIT,
        ("0.1", "0.1", "0"),
        "equity 900, peak 1000",
    ),
    (
        lambda: check_exposure(D(100), D(50), D(1000), D("0.3"), no_room=False),
        Code.OK,
        ("0.15", "0.3", "0.15"),
        "150 of 1000",
    ),
    (
        lambda: check_exposure(D(300), D(50), D(1000), D("0.3"), no_room=False),
        Code.EXPOSURE_LIMIT,
        ("0.35", "0.3", "-0.05"),
        "350 of 1000",
    ),
    (
        lambda: check_exposure(D(300), D(0), D(1000), D("0.3"), no_room=True),
        Code.EXPOSURE_LIMIT,
        ("0.3", "0.3", "0"),
        "no room for the smallest order beside 300",
    ),
    (
        lambda: check_exposure(None, D(0), D(1000), D("0.3"), no_room=False),
        Code.EXPOSURE_UNKNOWN,
        (None, None, None),
        "exposure unknown, equity 1000",
    ),
    (
        lambda: check_exposure(D(1), D(0), None, D("0.3"), no_room=False),
        Code.EXPOSURE_UNKNOWN,
        (None, None, None),
        "exposure 1, equity unknown",
    ),
    (lambda: check_peak_loss(D("0.5"), D("0.46"), D("0.1")), Code.OK, ("0.08", "0.1", "0.02"), "equity 0.46, peak 0.5"),
    (lambda: check_peak_loss(D(-1), D(1), D("0.1")), Code.PEAK_UNKNOWN, (None, None, None), "peak -1, equity 1"),
    (
        lambda: check_daily_loss(D("0.5"), D("-0.01"), D("0.05")),
        Code.OK,
        ("0.02", "0.05", "0.03"),
        "pnl -0.01 today on 0.5",
    ),
    (
        lambda: check_daily_loss(D(-1), D(-1), D("0.05")),
        Code.START_OF_DAY_UNKNOWN,
        (None, None, None),
        "start of day -1, pnl -1",
    ),
    (
        lambda: check_pause(Code.LOSS_STREAK, latched=True),
        Code.LOSS_STREAK,
        (None, None, None),
        "MAX_LOSS_STREAK round trips in a row were lost; entries pause for LOSS_STREAK_PAUSE_MIN",
    ),
    (lambda: check_pause(Code.LOSS_STREAK, latched=False), Code.OK, (None, None, None), "no pause"),
    (lambda: check_rolling_loss(D(1000), D(990), D(0)), Code.OK, (None, None, None), "no rolling loss limit"),
    (lambda: check_rolling_loss(D(0), D(0), D("0.05")), Code.OK, (None, None, None), "nothing to compare with yet"),
    (
        lambda: check_exposure(D("0.1"), D(0), D("0.5"), D("0.3"), no_room=False),
        Code.OK,
        ("0.2", "0.3", "0.1"),
        "0.1 of 0.5",
    ),
]


@pytest.mark.parametrize(("check", "code", "numbers", "detail"), FINDINGS, ids=[f"{f[1]}-{f[3]}" for f in FINDINGS])
def test_a_finding_has_its_code_its_numbers_and_its_sentence(
    check: Callable[[], Finding], code: Code, numbers: Numbers, detail: str
) -> None:
    """Value, limit and headroom (limit less value) are what explain shows; none is ever left out."""
    expected = tuple(None if number is None else Decimal(number) for number in numbers)

    found = check()

    assert found.code is code
    assert (found.value, found.limit, found.headroom) == expected
    assert found.detail == detail


@pytest.mark.parametrize(
    ("latched", "codes"),
    [
        ({}, [Code.OK]),
        ({"frozen"}, [Code.FROZEN]),
        ({"halted", "breaker"}, [Code.OPERATOR_HALT, Code.BREAKER_LATCHED]),
    ],
)
def test_every_halt_is_named_with_its_meaning(latched: set[str], codes: list[Code]) -> None:
    """What is latched stands there in the words of the table of codes, the strictest first."""
    found = check_halts(**{name: name in latched for name in ("frozen", "halted", "breaker")})

    assert [finding.code for finding in found] == codes
    assert [finding.detail for finding in found] == [
        "nothing latched" if code is Code.OK else MEANINGS[code] for code in codes
    ]


@pytest.mark.parametrize("latched", [True, False])
def test_a_latched_day_shows_the_loss_of_today(latched: bool) -> None:
    """The latch has no number of its own: it shows those of today's loss."""
    latch, loss, *_ = daily_findings(D(1000), D(-20), D("0.05"), latched=latched)

    assert latch.failed is latched
    assert (latch.value, latch.limit, latch.headroom) == (D("0.02"), D("0.05"), D("0.03"))
    assert (loss.code, loss.value) == (Code.OK, D("0.02"))
