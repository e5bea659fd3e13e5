"""The paper exchange against numbers worked out by hand."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from services.cdb_execution.codes import ExpiryCode
from services.cdb_execution.market import Sigma
from services.cdb_execution.paper_fills import Obstacle, PaperFill, Request, TopOfBook, attempt_fill, fit
from services.common.decimals import format_number

pytestmark = pytest.mark.unit


def request(side: Any = "BUY", quantity: str = "0.2", protection: str = "99999", **changed: Any) -> Request:
    """Return a request for BTC on MEXC's grid with the default share and levels."""
    fields: dict[str, Any] = {
        "side": side,
        "quantity": Decimal(quantity),
        "protection": Decimal(protection),
        "participation": Decimal("0.10"),
        "max_levels": 4,
        "tick_size": Decimal("0.01"),
        "lot_size": Decimal("0.000001"),
    }
    return Request(**fields | changed)


def book(displayed: str = "0.5", volume: str = "100", **changed: Any) -> TopOfBook:
    """Return 39999 / 40001 with 0.5 shown and 100 BTC traded in the last minute at a volatility of 0.001."""
    fields: dict[str, Any] = {
        "bid": Decimal(39_999),
        "ask": Decimal(40_001),
        "displayed": Decimal(displayed),
        "taken": Decimal(0),
        "volume_60s": Decimal(volume),
        "own_60s": Decimal(0),
        "sigma_1m": Sigma(Decimal("0.001"), known=True),
    }
    return TopOfBook(**fields | changed)


def filled(wanted: Request, at: TopOfBook) -> PaperFill:
    """Return the fill, which must exist."""
    made = attempt_fill(wanted, at)
    assert isinstance(made, PaperFill)
    return made


def refused(wanted: Request, at: TopOfBook) -> Obstacle:
    """Return the obstacle, which must exist."""
    made = attempt_fill(wanted, at)
    assert isinstance(made, Obstacle)
    return made


def test_a_buy_within_the_touch_pays_touch_and_impact() -> None:
    """0.2 of 0.5 at 40001; impact 0.001 * sqrt(0.2/100) = 0.00004472135955; 40001 * (1 + impact) = 40002.7889.

    Rounded up, against us: 40002.79.
    """
    made = filled(request(), book())

    assert (made.quantity, made.at_touch, made.price) == (Decimal("0.2"), Decimal("0.2"), Decimal("40002.79"))
    assert made.limited_by == "order"
    assert made.numbers["impact"] == Decimal("0.000044721360")
    assert made.numbers["average"] == Decimal("40002.788899103360")
    assert made.numbers["level_price"] is None


def test_a_sale_within_the_touch_gets_less() -> None:
    """0.2 at 39999; 39999 * (1 - 0.0000447214) = 39997.2112 -> 39997.21, rounded down, against us."""
    made = filled(request("SELL", protection="1"), book())

    assert made.price == Decimal("39997.21")


def test_the_part_beyond_the_touch_climbs_a_ladder() -> None:
    """1.0 with A = 0.4: q1 0.4 at 40001, q2 0.6 at 40001 * (1 + 0.00005 * (1 + 1.5)/2) = 40003.5000625.

    delta = max(0.01/40001, 0.00005, 2/80000 = 0.000025) = 0.00005. Average (0.4*40001 + 0.6*40003.5000625) =
    40002.5000375; impact 0.001 * sqrt(1/100) = 0.0001; 40002.5000375 * 1.0001 = 40006.50028750 -> 40006.51. The worst
    unit: 40001 * (1 + 0.00005 * (0.5 + 1.5)) * 1.0001 = 40005.0001 * 1.0001 = 40009.00060 -> 40009.01.
    """
    made = filled(request(quantity="1"), book("0.4"))

    assert (made.quantity, made.at_touch, made.price) == (Decimal(1), Decimal("0.4"), Decimal("40006.51"))
    assert made.numbers["q2"] == Decimal("0.6")
    assert made.numbers["delta"] == Decimal("0.00005")
    assert made.numbers["level_price"] == Decimal("40003.5000625")
    assert made.numbers["impact"] == Decimal("0.0001")
    assert made.numbers["worst_price"] == Decimal("40009.01")


def test_a_sale_beyond_the_touch_goes_down_the_ladder() -> None:
    """q2 0.6 at 39999 * (1 - 0.0000625) = 39996.5000625… ; average 39997.5000375; * 0.9999 = 39993.50028750 -> .50."""
    made = filled(request("SELL", quantity="1", protection="1"), book("0.4"))

    assert made.numbers["level_price"] == Decimal("39996.5000625")
    assert made.price == Decimal("39993.50")


@pytest.mark.parametrize(
    ("bid", "ask", "tick", "delta"),
    [
        ("39999", "40001", "0.01", "0.00005"),  # the floor
        ("39900", "40100", "0.01", "0.0025"),  # half the spread: 200 / 80000
        ("99", "101", "1", "0.01"),  # half the spread 0.01; the tick is 1/101 = 0.0099
        ("100", "101", "1", "0.009900990099"),  # the tick: 1/101; half the spread is 1/201
    ],
)
def test_the_step_of_the_ladder_is_the_largest_of_three(bid: str, ask: str, tick: str, delta: str) -> None:
    """Delta is max(tick/touch, 0.00005, half-spread)."""
    at = book("0.1", bid=Decimal(bid), ask=Decimal(ask))

    made = filled(request(tick_size=Decimal(tick)), at)

    assert made.numbers["delta"] == Decimal(delta)


def test_our_share_of_the_volume_limits_the_fill() -> None:
    """V60 = 1: cap = 0.10 * 1 - 0.03 own = 0.07 of the 0.2 wanted."""
    made = filled(request(), book(volume="1", own_60s=Decimal("0.03")))

    assert (made.quantity, made.limited_by) == (Decimal("0.07"), "participation")


def test_the_levels_limit_the_fill() -> None:
    """A = 0.5 - 0.47 taken = 0.03: at most 4 * 0.03 = 0.12."""
    made = filled(request(), book(taken=Decimal("0.47")))

    assert (made.quantity, made.at_touch, made.limited_by) == (Decimal("0.12"), Decimal("0.03"), "levels")
    assert made.numbers["available"] == Decimal("0.03")


def test_without_volume_the_touch_is_the_cap_and_the_base_of_the_impact() -> None:
    """V60 = 0: cap = A = 0.1; impact 0.001 * sqrt(0.1/0.1) = 0.001; 40001 * 1.001 = 40041.001 -> 40041.01."""
    made = filled(request(), book("0.1", volume="0"))

    assert (made.quantity, made.limited_by, made.price) == (Decimal("0.1"), "participation", Decimal("40041.01"))


def test_quantities_stay_on_the_lot_grid() -> None:
    """The cap is 0.10 * 1.2345678 = 0.12345678, on a grid of 0.01: 0.12."""
    made = filled(request(lot_size=Decimal("0.01")), book(volume="1.2345678"))

    assert made.quantity == Decimal("0.12")


def test_the_fill_shrinks_until_its_worst_price_is_protected() -> None:
    """Protected at 40006.00: the largest quantity whose last unit costs at most that, and not a lot more."""
    wanted = request(quantity="1", protection="40006.00")

    made = filled(wanted, book("0.4"))

    assert made.limited_by == "protection"
    assert Decimal("0.4") < made.quantity < 1
    assert made.numbers["worst_price"] == Decimal("40006.00")
    one_lot_more = request(quantity=str(made.quantity + Decimal("0.000001")), protection="50000")
    assert filled(one_lot_more, book("0.4")).numbers["worst_price"] == Decimal("40006.01")


def test_a_sale_shrinks_to_its_protection_too() -> None:
    """Protected at 39994.00 from below."""
    made = filled(request("SELL", quantity="1", protection="39994.00"), book("0.4"))

    assert made.limited_by == "protection"
    assert made.numbers["worst_price"] == Decimal("39994.00")
    assert made.price >= Decimal("39994.00")


def test_nothing_fills_when_even_one_lot_is_too_dear() -> None:
    """Touch 40001 plus impact rounds up to 40001.01: a protection of 40001.00 lets nothing through."""
    obstacle = refused(request(protection="40001.00"), book())

    assert obstacle.code == ExpiryCode.PROTECTION_PRICE
    assert "40001.01, protected at 40001" in obstacle.detail


@pytest.mark.parametrize("changed", [{"displayed": Decimal(0)}, {"taken": Decimal("0.5")}, {"taken": Decimal("0.7")}])
def test_nothing_fills_without_size(changed: dict[str, Any]) -> None:
    """No size shown, or all taken by us already."""
    assert refused(request(), book(**changed)).code == ExpiryCode.NO_SIZE


def test_nothing_fills_when_our_share_is_used_up() -> None:
    """Own fills of 10 % and more of the minute's volume leave nothing."""
    obstacle = refused(request(), book(own_60s=Decimal(12)))

    assert obstacle.code == ExpiryCode.PARTICIPATION_CAP
    assert obstacle.detail == "0.1 of 100 traded in 60 s, 12 filled by us"


def test_one_lot_is_enough_to_fill() -> None:
    """A share of exactly one lot fills it, and so do levels of exactly one lot; less than a lot does not."""
    share = filled(request(), book(volume="0.00001"))
    levels = filled(request(max_levels=1), book("0.000001"))

    assert (share.quantity, share.limited_by) == (Decimal("0.000001"), "participation")
    assert (levels.quantity, levels.limited_by) == (Decimal("0.000001"), "levels")
    assert refused(request(), book(volume="0.0000099")).code == ExpiryCode.PARTICIPATION_CAP
    assert refused(request(max_levels=1), book("0.0000009")).code == ExpiryCode.NO_SIZE


def test_where_cap_and_levels_are_equal_the_share_is_named() -> None:
    """0.10 * 1 = 0.1 and 4 * 0.025 = 0.1."""
    assert filled(request(), book("0.025", volume="1")).limited_by == "participation"


def test_an_assumed_volatility_is_flagged() -> None:
    """The record of a fill says whether its volatility was measured."""
    made = filled(request(), book(sigma_1m=Sigma(Decimal("0.001"), known=False)))

    assert made.numbers["sigma_known"] is False


def test_a_price_cannot_fall_below_nothing() -> None:
    """With an absurd volatility a sale would fetch less than nothing: it does not fill."""
    at = book(volume="0", displayed="1", sigma_1m=Sigma(Decimal(3), known=True))

    made = attempt_fill(request("SELL", quantity="1", protection="0.01"), at)

    # impact 3 * sqrt(Q/1) < 1 only for Q < 1/9
    assert isinstance(made, PaperFill)
    assert Decimal("0.1") < made.quantity < Decimal(1) / 9


def test_every_number_of_a_fill_stands_on_the_wire() -> None:
    """Also absurdly large and small books give numbers that can be journalled."""
    for displayed, volume in [
        ("0.000000000000000001", "9999999999999999999999999999"),
        ("9" * 28, "0"),
        ("9" * 28, "1" * 28),
    ]:
        made = attempt_fill(
            request(lot_size=Decimal("0.000000000000000001"), quantity="0.000000000000000003"), book(displayed, volume)
        )
        assert isinstance(made, PaperFill)
        for value in made.numbers.values():
            if isinstance(value, Decimal):
                format_number(value)


@pytest.mark.parametrize(
    ("value", "fitted"),
    [
        ("1.0000000000005", "1.0000000000000"),
        ("1.0000000000015", "1.000000000002"),
        ("1234567890123456789012345678", "1234567890123456789012345678"),
        ("12345678901234567890.123456789", "12345678901234567890.12345679"),
        ("0E-18", "0"),
        ("4E+28", "9" * 28),
        ("-4E+28", "-" + "9" * 28),
    ],
)
def test_numbers_are_fitted_to_the_wire(value: str, fitted: str) -> None:
    """12 decimals half-even, fewer where 28 digits do not reach."""
    assert fit(Decimal(value)) == Decimal(fitted)
