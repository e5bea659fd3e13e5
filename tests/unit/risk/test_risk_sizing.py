"""The four sizing methods by hand, their inputs, and what an unknown input does."""

from __future__ import annotations

from decimal import Decimal

import pytest

from services.cdb_risk.codes import Code
from services.cdb_risk.estimators import Estimate
from services.cdb_risk.sizing import Request, atr_based, fixed_fractional, kelly_criterion, volatility_targeting
from services.cdb_risk.virtual_trips import TripStatistics

pytestmark = [pytest.mark.unit, pytest.mark.risk]

EQUITY, PRICE = Decimal(100_000), Decimal(50_000)
RISK, STOP = Decimal("0.0015"), Decimal("0.02")
METHODS = ["fixed_fractional", "volatility_targeting", "atr_based", "kelly_criterion"]
NAN, INFINITY = Decimal("NaN"), Decimal("Infinity")


def estimate(value: str | None, seen: int = 240, needed: int = 240) -> Estimate:
    """Return an estimate of one-minute returns."""
    return Estimate(None if value is None else Decimal(value), seen, needed, "one-minute returns")


def trips(win_rate: str | None, win: str | None, loss: str | None, seen: int = 100) -> TripStatistics:
    """Return statistics of round trips."""
    values = [None if value is None else Decimal(value) for value in (win_rate, win, loss)]
    return TripStatistics(*values, seen)


def refused(request: Request) -> str:
    """Return the detail of a request that asks for nothing because an input is not known."""
    assert request.quantity is None
    assert request.refusal is not None
    assert request.refusal.code is Code.SIZING_INPUT_UNKNOWN
    return request.refusal.detail


def test_fixed_fractional_loses_the_risk_at_the_stop() -> None:
    """100 000 * 0.0015 / 0.02 = 7 500 USDT is 0.15 BTC at 50 000; the stop at 49 000 loses 150."""
    request = fixed_fractional(EQUITY, PRICE, RISK, STOP)

    assert request.quantity == Decimal("0.15")
    assert request.inputs == {
        "equity": EQUITY, "price": PRICE, "risk_per_trade_pct": RISK, "stop_loss_pct": STOP, "notional": 7_500,
    }  # fmt: skip
    assert request.refusal is None


def test_volatility_targeting_brings_the_target_into_the_equity() -> None:
    """At 80 % a year, 4 % of the equity's swing are 100 000 * 0.04 / 0.80 = 5 000 USDT: 0.1 BTC."""
    request = volatility_targeting(EQUITY, PRICE, estimate("0.80"), Decimal("0.04"))

    assert request.quantity == Decimal("0.1")
    assert request.inputs == {
        "equity": EQUITY, "price": PRICE, "target_vol_pct": Decimal("0.04"), "volatility": Decimal("0.80"),
        "seen": 240, "needed": 240, "asset_vol": Decimal("0.80"), "notional": 5_000,
    }  # fmt: skip


@pytest.mark.parametrize("volatility", ["0", "0.05", "0.20"])
def test_volatility_is_never_taken_for_less_than_a_fifth(volatility: str) -> None:
    """A quiet week asks for 100 000 * 0.04 / 0.20 = 20 000 USDT, not for more."""
    request = volatility_targeting(EQUITY, PRICE, estimate(volatility), Decimal("0.04"))

    assert request.inputs["asset_vol"] == Decimal("0.20")
    assert request.inputs["notional"] == 20_000


def test_atr_based_loses_the_risk_over_two_true_ranges() -> None:
    """100 000 * 0.0015 / (2 * 500) = 0.15 BTC: a move of 1 000 costs 150."""
    request = atr_based(EQUITY, PRICE, estimate("500", 14, 14), RISK, Decimal(2))

    assert request.quantity == Decimal("0.15")
    assert request.inputs == {
        "equity": EQUITY, "price": PRICE, "risk_per_trade_pct": RISK, "atr": 500, "atr_multiple": 2,
        "seen": 14, "needed": 14, "notional": 7_500,
    }  # fmt: skip


@pytest.mark.parametrize("atr", ["37.5", "0.01", "0.000000000001"])
def test_no_method_asks_for_more_than_the_equity(atr: str) -> None:
    """However small the range: at most 100 000 USDT, 2 BTC. The same holds for any risk and any target."""
    assert atr_based(EQUITY, PRICE, estimate(atr), RISK, Decimal(2)).quantity == 2
    assert fixed_fractional(EQUITY, PRICE, Decimal(1), STOP).quantity == 2
    assert volatility_targeting(EQUITY, PRICE, estimate("0.3"), Decimal(1)).quantity == 2
    assert kelly_criterion(EQUITY, PRICE, trips("1", "0.01", None), Decimal(1)).quantity == 2


def test_kelly_stakes_a_part_of_its_fraction() -> None:
    """P = 0.45, w = 1 %, l = 0.5 %: f = 0.45 - 0.55 * 0.5 = 0.175, a quarter of it 4.375 % are 4 375 USDT."""
    request = kelly_criterion(EQUITY, PRICE, trips("0.45", "0.01", "0.005"), Decimal("0.25"))

    assert request.quantity == Decimal("0.0875")
    assert request.inputs == {
        "equity": EQUITY, "price": PRICE, "kelly_fraction": Decimal("0.25"), "win_rate": Decimal("0.45"),
        "avg_win": Decimal("0.01"), "avg_loss": Decimal("0.005"), "seen": 100, "needed": 30,
        "kelly": Decimal("0.175"), "notional": 4_375,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "kelly"),
    [
        (("0.50", "0.01", "0.01"), Decimal(0)),
        (("0.40", "0.01", "0.01"), Decimal("-0.2")),
        (("0", None, "0.01"), None),
        (("0.5", "0", "0.01"), None),
    ],
)
def test_kelly_without_an_edge_asks_for_nothing(given: tuple[str, str | None, str], kelly: Decimal | None) -> None:
    """F = p - (1 - p) l / w of zero or less is known and says no; never having won does, too."""
    request = kelly_criterion(EQUITY, PRICE, trips(*given), Decimal("0.25"))

    assert request.quantity == 0
    assert request.refusal is not None
    assert request.refusal.code is Code.KELLY_NON_POSITIVE
    assert request.inputs["kelly"] == kelly


@pytest.mark.parametrize("bad", [None, NAN, INFINITY, Decimal(0), Decimal(-1), Decimal("1E13")])
def test_without_equity_every_method_asks_for_nothing(bad: Decimal | None) -> None:
    """Missing, non-finite, absurd or no equity: the size is zero, and the reason names the equity."""
    requests = (
        fixed_fractional(bad, PRICE, RISK, STOP),
        volatility_targeting(bad, PRICE, estimate("0.8"), RISK),
        atr_based(bad, PRICE, estimate("500"), RISK, Decimal(2)),
        kelly_criterion(bad, PRICE, trips("0.45", "0.01", "0.005"), RISK),
    )

    for request in requests:
        assert refused(request) == "size is zero: equity is not known or not above 0"
        assert request.refusal is not None
        assert request.refusal.value == 0
    assert [request.method for request in requests] == METHODS


def test_the_greatest_equity_is_still_one() -> None:
    """A trillion is sized, at the smallest stop and the lowest price as well: 10^12 / 10^-6 base units."""
    assert fixed_fractional(Decimal("1E12"), Decimal("0.000001"), Decimal(1), Decimal("0.0001")).quantity == 10**18


@pytest.mark.parametrize("bad", [None, NAN, INFINITY, Decimal(0), Decimal(-1)])
def test_without_a_price_nothing_is_asked_for(bad: Decimal | None) -> None:
    """The reason names the price."""
    request = fixed_fractional(EQUITY, bad, RISK, STOP)

    assert refused(request) == "size is zero: price is not known"
    assert request.refusal is not None
    assert request.refusal.value == 0


def test_a_request_carries_the_name_of_its_method() -> None:
    """Decisions record the method beside the numbers, also when there is nothing to bet on; half a dollar is sized."""
    asked = (
        fixed_fractional(Decimal("0.5"), PRICE, RISK, STOP),
        volatility_targeting(EQUITY, PRICE, estimate("0.8"), RISK),
        atr_based(EQUITY, PRICE, estimate("500"), RISK, Decimal(2)),
        kelly_criterion(EQUITY, PRICE, trips("0.45", "0.01", "0.005"), RISK),
    )
    lost = kelly_criterion(EQUITY, PRICE, trips("0.1", "0.01", "0.02"), RISK)

    assert [request.method for request in asked] == METHODS
    assert all(request.quantity is not None for request in asked)
    assert lost.method == "kelly_criterion"
    assert lost.refusal is not None
    assert lost.refusal.detail == "the last round trips, net of fees, leave nothing to bet on"


def test_what_is_known_stands_beside_what_is_not() -> None:
    """Without an estimate the recorded inputs still have equity, price and settings."""
    atr = atr_based(EQUITY, PRICE, estimate(None, 3, 14), RISK, Decimal(2))
    kelly = kelly_criterion(EQUITY, PRICE, trips(None, None, None, 7), Decimal("0.25"))

    assert (atr.method, atr.inputs["equity"], atr.inputs["atr_multiple"], atr.inputs["seen"]) == (
        "atr_based",
        EQUITY,
        2,
        3,
    )
    assert (kelly.method, kelly.inputs["price"], kelly.inputs["seen"]) == ("kelly_criterion", PRICE, 7)


def test_an_unknown_estimate_says_how_many_of_how_many_there_are() -> None:
    """57 of 240 returns: size zero with exactly these words, and the numbers as value, limit and headroom."""
    request = volatility_targeting(EQUITY, PRICE, estimate(None, seen=57), Decimal("0.04"))

    assert refused(request) == "size is zero: volatility is not known, 57 of 240 one-minute returns"
    assert request.refusal is not None
    assert (request.refusal.value, request.refusal.limit, request.refusal.headroom) == (57, 240, -183)
    assert (request.inputs["volatility"], request.inputs["seen"], request.inputs["needed"]) == (None, 57, 240)


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "-0.1"])
def test_an_estimate_that_is_no_number_asks_for_nothing(bad: str) -> None:
    """Non-finite and negative estimates are as good as none."""
    assert "volatility" in refused(volatility_targeting(EQUITY, PRICE, estimate(bad), Decimal("0.04")))
    assert "atr" in refused(atr_based(EQUITY, PRICE, estimate(bad), RISK, Decimal(2)))


def test_a_range_of_zero_is_no_range() -> None:
    """Fourteen hours without any movement are dead data, not an invitation."""
    assert refused(atr_based(EQUITY, PRICE, estimate("0"), RISK, Decimal(2))) == "size is zero: atr is 0"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((None, None, None), "win_rate, avg_win, avg_loss are not known, 12 of 30 round trips"),
        (("0.5", None, "0.01"), "avg_win is not known"),
        (("0.5", "0.01", "NaN"), "avg_loss is not known"),
        (("1", None, None), "avg_win is not known"),
    ],
)
def test_kelly_names_the_inputs_that_it_lacks(given: tuple[str | None, ...], words: str) -> None:
    """Each missing one, and how many round trips of how many there are."""
    win_rate, win, loss = given

    assert words in refused(kelly_criterion(EQUITY, PRICE, trips(win_rate, win, loss, seen=12), Decimal("0.25")))


def test_a_tiny_range_asks_for_all_of_the_equity_and_no_more() -> None:
    """At risk * price = k * ATR the order is worth the equity; a smaller range asks for the same, by the same name."""
    at_it = atr_based(Decimal(1_000), Decimal(100), estimate("0.5"), Decimal("0.01"), Decimal(2))
    under_it = atr_based(Decimal(1_000), Decimal(100), estimate("0.1"), Decimal("0.01"), Decimal(2))
    assert (at_it.quantity, under_it.quantity) == (10, 10)
    assert (at_it.method, under_it.method) == ("atr_based", "atr_based")


def test_a_quantity_has_eight_decimals_at_most() -> None:
    """1000 * 0.01 / (2 * 3) = 1.66666667 base units, as all methods write them."""
    request = atr_based(Decimal(1_000), Decimal(100), estimate("3"), Decimal("0.01"), Decimal(2))
    assert request.quantity == Decimal("1.66666667")


def test_an_edge_that_is_none_is_shown() -> None:
    """With p = 0.3 and w = l = 1 %: f = 0.3 - 0.7 = -0.4 beside the limit of 0; an ATR of 0 stands there as 0."""
    request = kelly_criterion(EQUITY, PRICE, trips("0.3", "0.01", "0.01"), Decimal("0.25"))
    assert request.refusal is not None
    assert (request.refusal.value, request.refusal.limit) == (Decimal("-0.4"), 0)
    dead = atr_based(EQUITY, PRICE, estimate("0"), RISK, Decimal(2)).refusal
    assert dead is not None
    assert dead.value == 0
