"""Each check of each layer at its boundary, with real numbers."""

from __future__ import annotations

from decimal import Decimal

import pytest

from services.cdb_risk.account import Account
from services.cdb_risk.codes import MEANINGS, Code
from services.cdb_risk.finding import Finding, bad_value, ok, ratio, shown, verdict, wire
from services.cdb_risk.layers.circuit_breaker import breaker_findings, check_halts, check_memory, check_peak_loss
from services.cdb_risk.layers.daily_drawdown import check_daily_latch, check_daily_loss, check_rolling_loss
from services.cdb_risk.layers.data_quality import (
    check_book,
    check_equity,
    check_gap,
    check_marks,
    check_problem,
    check_symbol,
    price_collar,
)
from services.cdb_risk.layers.position_limits import (
    check_concurrent,
    check_entry_working,
    check_exit,
    check_long_only,
    check_minimum,
    check_not_positioned,
    check_order_notional,
    check_rate,
    check_share,
    check_sizing,
    check_spacing,
)
from services.cdb_risk.layers.spread_check import check_slippage, check_spread
from services.cdb_risk.layers.timeout_check import check_age
from services.cdb_risk.layers.total_exposure import check_exposure
from services.cdb_risk.trading_state import Latch, LatchName, TradingState

pytestmark = [pytest.mark.unit, pytest.mark.risk]

SECOND = 1_000_000
MINUTE = 60 * SECOND


def test_every_code_has_a_meaning() -> None:
    """The table of the handbook is complete: each code has one readable line."""
    assert list(MEANINGS) == list(Code)
    assert all(MEANINGS[code] for code in Code)


# layer 1


@pytest.mark.parametrize(
    ("price", "code"),
    [
        ("52500", Code.OK),  # 52500 / 50000 - 1 = 0.05: equality passes
        ("52500.01", Code.PRICE_COLLAR),
        ("47500", Code.OK),
        ("47499.99", Code.PRICE_COLLAR),
    ],
)
def test_price_collar_allows_equality(price: str, code: Code) -> None:
    """A jump of exactly PRICE_COLLAR_PCT passes, one cent more does not, in both directions."""
    assert price_collar(Code.PRICE_COLLAR, Decimal(price), Decimal(50_000), Decimal("0.05")).code is code


def test_price_collar_shows_its_numbers() -> None:
    """The finding shows the distance, the limit and what is left."""
    found = price_collar(Code.PRICE_COLLAR, Decimal(51_000), Decimal(50_000), Decimal("0.05"))
    assert (found.value, found.limit, found.headroom) == (Decimal("0.02"), Decimal("0.05"), Decimal("0.03"))


def test_crossed_and_locked_books_fail() -> None:
    """The bid must be below the ask; a locked book is no book."""
    assert check_book(Decimal(10), Decimal("10.01")).code is Code.OK
    assert check_book(Decimal(10), Decimal(10)).code is Code.CROSSED_BOOK
    assert check_book(Decimal("10.01"), Decimal(10)).code is Code.CROSSED_BOOK


@pytest.mark.parametrize(
    ("equity", "code"),
    [
        (None, Code.EQUITY_UNKNOWN),
        (Decimal(0), Code.EQUITY_UNKNOWN),
        (Decimal(-1), Code.EQUITY_UNKNOWN),
        (Decimal("0.01"), Code.OK),
        (Decimal(10) ** 12, Code.OK),
        (Decimal(10) ** 12 + 1, Code.EQUITY_UNKNOWN),
    ],
)
def test_equity_must_be_known_positive_and_plausible(equity: Decimal | None, code: Code) -> None:
    """Unknown, zero, negative and absurd equity block."""
    assert check_equity(equity).code is code


def test_simple_data_quality_checks() -> None:
    """Unknown symbols, market data problems, gaps and stale marks each block with their own code."""
    assert check_symbol("BTCUSDT", known=True).code is Code.OK
    assert check_symbol("DOGEUSDT", known=False).code is Code.UNKNOWN_SYMBOL
    assert check_problem(Code.OK).code is Code.OK
    assert check_problem(Code.CROSSED_BOOK).code is Code.CROSSED_BOOK
    assert check_gap(gap_open=False).code is Code.OK
    assert check_gap(gap_open=True).code is Code.FEED_GAP
    assert check_marks([]).code is Code.OK
    assert check_marks(["mexc_spot:BTCUSDT"]).code is Code.MARKS_STALE


# layer 2


@pytest.mark.parametrize(
    ("worst", "code"), [("10000", Code.OK), ("10000.01", Code.POSITION_LIMIT), ("9999.99", Code.OK)]
)
def test_share_of_equity_allows_equality(worst: str, code: Code) -> None:
    """10 % of 100 000 is 10 000: exactly that passes, a cent more does not."""
    assert check_share(Decimal(worst), Decimal(100_000), Decimal("0.10"), Code.POSITION_LIMIT).code is code


def test_share_shows_what_is_left() -> None:
    """7 500 of 100 000 against 10 % leaves 2.5 %."""
    found = check_share(Decimal(7_500), Decimal(100_000), Decimal("0.10"), Code.POSITION_LIMIT)
    assert (found.value, found.limit, found.headroom) == (Decimal("0.075"), Decimal("0.10"), Decimal("0.025"))


def test_pyramiding_is_blocked_and_dust_is_not_a_position() -> None:
    """Any holding blocks an entry unless it is dust."""
    assert check_not_positioned(Decimal(0)).code is Code.OK
    assert check_not_positioned(Decimal("0.1")).code is Code.ALREADY_POSITIONED
    assert check_not_positioned(Decimal("0.0000001"), dust=True).code is Code.OK


def test_concurrent_positions_count_the_new_one() -> None:
    """With three allowed, two held leave room and three held do not."""
    assert check_concurrent(2, 3).code is Code.OK
    assert check_concurrent(2, 3).headroom == 1
    assert check_concurrent(3, 3).code is Code.TOO_MANY_POSITIONS
    assert check_concurrent(0, 0).code is Code.TOO_MANY_POSITIONS


def test_rate_blocks_the_seventh_entry_of_a_minute() -> None:
    """Six a minute are allowed: after five the sixth passes, after six the seventh does not."""
    assert check_rate(5, 6).code is Code.OK
    assert check_rate(6, 6).code is Code.ORDER_RATE


def test_spacing_is_over_at_exactly_its_time() -> None:
    """An entry 60 s after the last one in this direction passes, 59.999999 s does not."""
    assert check_spacing(None, 60).code is Code.OK
    assert check_spacing(60 * SECOND, 60).code is Code.OK
    found = check_spacing(60 * SECOND - 1, 60)
    assert (found.code, found.value) == (Code.ENTRY_SPACING, Decimal("59.999999"))


def test_sizing_long_only_and_working_entries() -> None:
    """Unknown or zero size, shorts on spot and a second entry block."""
    assert check_sizing(Decimal("0.1")).code is Code.OK
    assert check_sizing(Decimal(0)).code is Code.SIZING_INPUT_UNKNOWN
    assert check_sizing(None).code is Code.SIZING_INPUT_UNKNOWN
    assert check_long_only(is_short=False).code is Code.OK
    assert check_long_only(is_short=True).code is Code.SHORT_NOT_ALLOWED
    assert check_entry_working(working=False).code is Code.OK
    assert check_entry_working(working=True).code is Code.ENTRY_WORKING


@pytest.mark.parametrize(
    ("quantity", "price", "capped", "code"),
    [
        ("0.001", "1000", False, Code.OK),  # worth exactly 1 USDT
        ("0.001", "999.99", False, Code.BELOW_MINIMUM),
        ("0.0009", "50000", False, Code.BELOW_MINIMUM),  # under the lot
        ("0", "50000", True, Code.POSITION_LIMIT),  # the cap took it
    ],
)
def test_minimum_order(quantity: str, price: str, capped: bool, code: Code) -> None:
    """Lot 0.001 and 1 USDT: both minimums are allowed exactly; the cap is named when it was the cap."""
    found = check_minimum(Decimal(quantity), Decimal(price), Decimal("0.001"), Decimal(1), capped_to_nothing=capped)
    assert found.code is code


def test_exit_checks_name_what_there_is_to_sell() -> None:
    """An exit needs a position, no working exit, two seconds since the last, and more than dust."""

    def found(position: str, pending: str, quantity: str, *, dust: bool = False, too_soon: bool = False) -> Code:
        return check_exit(Decimal(position), Decimal(pending), Decimal(quantity), dust=dust, too_soon=too_soon).code

    assert found("1", "0", "1") is Code.OK
    assert found("0", "0", "0", dust=True) is Code.NO_POSITION
    assert found("-1", "0", "0", dust=True) is Code.NO_POSITION
    assert found("1", "1", "0", dust=True) is Code.EXIT_WORKING
    assert found("1", "0.5", "0.5") is Code.EXIT_WORKING
    assert found("0.0000001", "0", "0", dust=True) is Code.DUST
    assert found("1", "0", "1", too_soon=True) is Code.EXIT_TOO_SOON


# layer 3


@pytest.mark.parametrize(
    ("pnl", "code"),
    [
        ("-4999.99", Code.OK),
        ("-5000", Code.DAILY_DRAWDOWN_LIMIT),  # 5 % of 100 000: equality blocks
        ("-5000.01", Code.DAILY_DRAWDOWN_LIMIT),
        ("5000", Code.OK),
    ],
)
def test_daily_loss_blocks_at_equality(pnl: str, code: Code) -> None:
    """A loss of exactly the limit blocks; a cent less does not; a profit never does."""
    assert check_daily_loss(Decimal(100_000), Decimal(pnl), Decimal("0.05")).code is code


def test_daily_loss_shows_its_numbers_and_needs_its_inputs() -> None:
    """The loss is shown as a fraction; without a start of day or a pnl the layer fails."""
    found = check_daily_loss(Decimal(100_000), Decimal(-1_000), Decimal("0.05"))
    assert (found.value, found.limit, found.headroom) == (Decimal("0.01"), Decimal("0.05"), Decimal("0.04"))
    assert check_daily_loss(None, Decimal(0), Decimal("0.05")).code is Code.START_OF_DAY_UNKNOWN
    assert check_daily_loss(Decimal(0), Decimal(0), Decimal("0.05")).code is Code.START_OF_DAY_UNKNOWN
    assert check_daily_loss(Decimal(1), None, Decimal("0.05")).code is Code.START_OF_DAY_UNKNOWN


def test_daily_latch() -> None:
    """A day whose limit was reached stays closed."""
    assert check_daily_latch(latched=False).code is Code.OK
    assert check_daily_latch(latched=True).code is Code.DAILY_DRAWDOWN_LATCHED


# layer 4


def test_exposure_allows_equality() -> None:
    """22 500 held and pending plus 7 500 is exactly 30 % of 100 000 and passes; a cent more does not."""
    limit = Decimal("0.30")
    assert check_exposure(Decimal(22_500), Decimal(7_500), Decimal(100_000), limit, no_room=False).code is Code.OK
    assert (
        check_exposure(Decimal(22_500), Decimal("7500.01"), Decimal(100_000), limit, no_room=False).code
        is Code.EXPOSURE_LIMIT
    )


def test_exposure_fails_without_room_or_without_a_value() -> None:
    """No room for the smallest order fails although nothing is over; unknown exposure or equity fails."""
    limit = Decimal("0.30")
    found = check_exposure(Decimal(30_000), Decimal(0), Decimal(100_000), limit, no_room=True)
    assert (found.code, found.headroom) == (Code.EXPOSURE_LIMIT, Decimal(0))
    assert (
        check_exposure(Decimal(30_001), Decimal(0), Decimal(100_000), limit, no_room=True).code is Code.EXPOSURE_LIMIT
    )
    assert check_exposure(None, Decimal(0), Decimal(100_000), limit, no_room=False).code is Code.EXPOSURE_UNKNOWN
    assert check_exposure(Decimal(0), Decimal(0), None, limit, no_room=False).code is Code.EXPOSURE_UNKNOWN
    assert check_exposure(Decimal(0), Decimal(0), Decimal(0), limit, no_room=False).code is Code.EXPOSURE_UNKNOWN


# layer 5


@pytest.mark.parametrize(
    ("equity", "code"),
    [("90000.01", Code.OK), ("90000", Code.DRAWDOWN_LIMIT), ("89999.99", Code.DRAWDOWN_LIMIT)],
)
def test_peak_loss_blocks_at_equality(equity: str, code: Code) -> None:
    """A tenth lost from a peak of 100 000 blocks at exactly 90 000."""
    assert check_peak_loss(Decimal(100_000), Decimal(equity), Decimal("0.10")).code is code


def test_peak_loss_needs_its_inputs() -> None:
    """Without a peak above zero or without equity the layer fails."""
    assert check_peak_loss(None, Decimal(1), Decimal("0.1")).code is Code.PEAK_UNKNOWN
    assert check_peak_loss(Decimal(0), Decimal(1), Decimal("0.1")).code is Code.PEAK_UNKNOWN
    assert check_peak_loss(Decimal(1), None, Decimal("0.1")).code is Code.PEAK_UNKNOWN


def test_halts_are_named_strictest_first() -> None:
    """Freeze, halt and breaker are found in this order; memory pressure blocks too."""
    found = check_halts(frozen=True, halted=True, breaker=True)
    assert [f.code for f in found] == [Code.FROZEN, Code.OPERATOR_HALT, Code.BREAKER_LATCHED]
    assert [f.code for f in check_halts(frozen=False, halted=False, breaker=False)] == [Code.OK]
    assert check_memory("none").code is Code.OK
    assert check_memory("market_data").code is Code.JOURNAL_MEMORY
    assert check_memory("").code is Code.JOURNAL_MEMORY


# layer 6


@pytest.mark.parametrize(
    ("bid", "ask", "code"),
    [
        ("997.5", "1002.5", Code.OK),  # 5 / 1000 = 0.005: equality passes
        ("997.49", "1002.5", Code.SPREAD_LIMIT),
        ("999", "1001", Code.OK),
    ],
)
def test_spread_allows_equality(bid: str, ask: str, code: Code) -> None:
    """A spread of exactly MAX_SPREAD_PCT of mid passes."""
    assert check_spread(Decimal(bid), Decimal(ask), Decimal("0.005")).code is code


def test_slippage_allows_equality_and_needs_depth() -> None:
    """Expected slippage at the limit passes, over it fails, unknown depth fails."""
    assert check_slippage(Decimal("0.02"), Decimal("0.02")).code is Code.OK
    assert check_slippage(Decimal("0.020001"), Decimal("0.02")).code is Code.SLIPPAGE_LIMIT
    assert check_slippage(None, Decimal("0.02")).code is Code.DEPTH_UNKNOWN
    assert check_slippage(Decimal(0), Decimal("0.02"), "assumed").detail == "assumed"


# layer 7


@pytest.mark.parametrize(
    ("timestamp", "code"),
    [
        (MINUTE, Code.OK),  # 60 s old: equality passes
        (MINUTE - 1, Code.DATA_STALE),
        (2 * MINUTE, Code.OK),
        (2 * MINUTE + 5 * SECOND, Code.OK),  # 5 s ahead is tolerated
        (2 * MINUTE + 5 * SECOND + 1, Code.TIMESTAMP_IN_FUTURE),
        (None, Code.TIMESTAMP_MISSING),
    ],
)
def test_age_at_its_boundaries(timestamp: int | None, code: Code) -> None:
    """At two minutes with a limit of 60 s: exactly a minute old passes, a microsecond more does not."""
    assert check_age("quote", timestamp, 2 * MINUTE, Decimal(60), Code.DATA_STALE).code is code


# findings and verdicts


def test_verdict_shows_the_first_failure_and_names_the_others() -> None:
    """The first failing finding is the code; further ones stand in the detail."""
    made = verdict(
        "spread_check",
        [
            ok("fine"),
            Finding(Code.SPREAD_LIMIT, "wide", Decimal(2), Decimal(1), Decimal(-1)),
            Finding(Code.DEPTH_UNKNOWN, "thin"),
        ],
    )
    assert (made.code, made.status, made.value, made.limit, made.headroom) == ("SPREAD_LIMIT", "fail", 2, 1, -1)
    assert made.detail == "wide; also DEPTH_UNKNOWN: thin"


def test_verdict_of_passing_findings_shows_the_last() -> None:
    """The principal number of a layer is its last finding."""
    made = verdict("spread_check", [ok("first"), ok("principal", Decimal(1), Decimal(2), Decimal(1))])
    assert (made.code, made.status, made.detail, made.value) == ("OK", "pass", "principal", Decimal(1))


def test_verdict_bypass_keeps_the_finding() -> None:
    """A bypassed layer records code, value and limit but does not fail."""
    made = verdict(
        "spread_check", [Finding(Code.SPREAD_LIMIT, "wide", Decimal(2), Decimal(1), Decimal(-1))], bypass=True
    )
    assert (made.code, made.status, made.value) == ("SPREAD_LIMIT", "bypass", Decimal(2))


def test_verdict_without_findings_is_not_evaluated() -> None:
    """A layer with nothing to look at says so instead of passing."""
    assert verdict("spread_check", []).status == "not_evaluated"


def test_numbers_are_made_fit_for_the_wire() -> None:
    """12 decimals; absurd numbers become null rather than stop the service."""
    assert wire(None) is None
    assert wire(Decimal(1) / Decimal(3)) == Decimal("0.333333333333")
    assert wire(Decimal(10) ** 15) is None
    assert wire(-(Decimal(10) ** 15)) is None
    assert shown(Decimal("1.500")) == "1.5"
    assert shown(Decimal(7)) == "7"
    assert shown(None) == "unknown"
    assert ratio(Decimal(1), Decimal(8)) == Decimal("0.125")
    assert ratio(Decimal(10) ** 20, Decimal("0.00001")) is None


def test_bad_values_are_shown_only_when_that_is_safe() -> None:
    """Plain values are quoted; a giant integer or an object is named by its type."""
    assert bad_value("price", "abc").detail == "price is 'abc'"
    assert bad_value("price", float("nan")).detail == "price is nan"
    assert bad_value("price", 10**5000).detail == "price is a int"
    assert bad_value("price", [1]).detail == "price is a list"


def test_an_order_at_the_largest_notional_passes_and_shows_it() -> None:
    """20000 of 20000 passes, a cent more does not, and neither does a limit that leaves no order at all."""
    allowed = check_order_notional(Decimal(20_000), Decimal(20_000), no_room=False)
    assert (allowed.code, allowed.value, allowed.headroom) == (Code.OK, 20_000, 0)
    assert allowed.detail == "the order costs 20000 at worst, at most 20000"
    over = check_order_notional(Decimal("20000.01"), Decimal(20_000), no_room=False)
    assert (over.code, over.headroom) == (Code.ORDER_NOTIONAL_LIMIT, Decimal("-0.01"))
    assert check_order_notional(Decimal(0), Decimal(1), no_room=True).code is Code.ORDER_NOTIONAL_LIMIT


def test_an_exit_shows_what_it_sells_of_what() -> None:
    """Each verdict on an exit carries its quantity and the position: explain and status show them."""
    sells = check_exit(Decimal(3), Decimal(0), Decimal(2), dust=False, too_soon=False)
    assert (sells.code, sells.value, sells.limit, sells.headroom) == (Code.OK, 2, 3, 1)
    assert sells.detail == "sells 2 of 3"
    working = check_exit(Decimal(3), Decimal(3), Decimal(0), dust=True, too_soon=False)
    assert (working.code, working.value, working.limit) == (Code.EXIT_WORKING, 3, 3)
    assert working.detail == "3 of 3 is being sold"
    dust = check_exit(Decimal("0.5"), Decimal(0), Decimal("0.4"), dust=True, too_soon=False)
    assert (dust.code, dust.value, dust.limit) == (Code.DUST, Decimal("0.4"), Decimal("0.5"))
    assert dust.detail == "0.5 is below the exchange's minimum"
    soon = check_exit(Decimal(3), Decimal(0), Decimal(3), dust=False, too_soon=True)
    assert (soon.code, soon.value, soon.limit) == (Code.EXIT_TOO_SOON, 3, 3)
    assert soon.detail == MEANINGS[Code.EXIT_TOO_SOON]
    flat = check_exit(Decimal(0), Decimal(0), Decimal(0), dust=True, too_soon=False)
    assert (flat.code, flat.value, flat.limit, flat.detail) == (Code.NO_POSITION, 0, 0, "nothing is held")


@pytest.mark.parametrize(
    ("latch", "code"),
    [("freeze", Code.FROZEN), ("halt", Code.OPERATOR_HALT), ("breaker", Code.BREAKER_LATCHED)],
)
def test_each_latch_halts_the_layer_by_its_own_name(latch: LatchName, code: Code) -> None:
    """A latch blocks alone, with the drawdown of now beside it; memory and loss are looked at besides."""
    account, trading = Account.open(Decimal(1_000)), TradingState()
    trading.set(latch, Latch(0, "ana", "test"))
    found = breaker_findings(account, trading, "none", Decimal("0.1"))
    assert [finding.code for finding in found] == [code, Code.OK, Code.OK]
    assert (found[0].value, found[0].limit) == (0, Decimal("0.1"))
    pressed = breaker_findings(account, TradingState(), "entries", Decimal("0.1"))
    assert [finding.code for finding in pressed] == [Code.OK, Code.JOURNAL_MEMORY, Code.OK]


@pytest.mark.parametrize(
    ("peak", "equity", "limit", "code"),
    [
        ("1000", "950.01", "0.05", Code.OK),
        ("1000", "950", "0.05", Code.ROLLING_DRAWDOWN_LIMIT),
        ("1000", "1", "0", Code.OK),
        ("0.5", "0.1", "0.05", Code.ROLLING_DRAWDOWN_LIMIT),
        (None, "1", "0.05", Code.OK),
        ("0", "1", "0.05", Code.OK),
    ],
)
def test_rolling_loss_blocks_at_equality_and_only_then(peak: str | None, equity: str, limit: str, code: Code) -> None:
    """5 % of 1000 blocks at 950 and not a cent above; a limit of 0 is off, and without a peak nothing is compared."""
    found = check_rolling_loss(None if peak is None else Decimal(peak), Decimal(equity), Decimal(limit))
    assert found.code is code


def test_age_and_exposure_show_their_numbers() -> None:
    """What explain prints beside the limits: 2.5 s of 60; 300 of 1000 as a share, also where there is no room."""
    aged = check_age("quote", 0, 2_500_000, Decimal(60), Code.DATA_STALE)
    assert (aged.value, aged.limit, aged.headroom) == (Decimal("2.5"), 60, Decimal("57.5"))
    full = check_exposure(Decimal(300), Decimal(0), Decimal(1_000), Decimal("0.3"), no_room=True)
    assert (full.code, full.value, full.limit, full.headroom) == (
        Code.EXPOSURE_LIMIT,
        Decimal("0.3"),
        Decimal("0.3"),
        0,
    )
