"""Perpetual contracts: signed positions with isolated margin, and the arithmetic of tiers, liquidation and funding."""

from __future__ import annotations

from decimal import Decimal

import pytest

from services.common.errors import IllegalTransition
from services.common.instruments import DEFAULT_INSTRUMENTS, PERPETUAL, InstrumentSpec, instrument_key
from services.common.perpetuals import (
    contracts,
    funding_amount,
    is_liquidated,
    liquidation_distance,
    liquidation_price,
    maintenance_fraction,
    margin_ratio,
    settlements_between,
    tier_of,
    within_distance,
)
from services.common.portfolio import Portfolio, Position
from services.common.timestamps import parse_timestamp
from tests.unit.common.test_common_portfolio import NOW, fill, quote

pytestmark = pytest.mark.unit

KEY = "mexc_perpetual:BTCUSDT"
SPECS = {instrument_key(spec.venue, spec.symbol): spec for spec in DEFAULT_INSTRUMENTS}
BTC = SPECS[KEY]
MU = Decimal("0.0014")


def book(portfolio: Portfolio, side: str, quantity: str, price: str, *, leverage: int = 1, fee: str = "0") -> None:
    """Book one fill of an order of its own."""
    order = f"o{len(portfolio.booked)}"
    result = fill(side, quantity, price, order=order, venue=PERPETUAL, fee=Decimal(fee), fee_currency="USDT")
    portfolio.book(result, leverage)


def mark(portfolio: Portfolio, price: str) -> None:
    """Mark the perpetual."""
    portfolio.mark(quote("1", "2", venue=PERPETUAL, mark_price=Decimal(price)))


def balanced(portfolio: Portfolio) -> None:
    """Check both ways to the equity, to the last digit."""
    assert portfolio.unrealized_pnl is not None
    assert portfolio.equity == portfolio.cash + portfolio.margin + portfolio.unrealized_pnl
    made = portfolio.realized_pnl + portfolio.unrealized_pnl + portfolio.funding - portfolio.fees
    assert portfolio.equity == portfolio.initial_cash + made


def position(quantity: str, entry: str, margin: str) -> Position:
    """Return a position."""
    return Position(PERPETUAL, "BTCUSDT", Decimal(quantity), Decimal(quantity) * Decimal(entry), margin=Decimal(margin))


# the ledger


def test_a_long_locks_its_margin_and_gives_it_back() -> None:
    """Buy 2 at 100 with leverage 5: margin 40. Sell 1 at 109: half the margin and 9 come back."""
    portfolio = Portfolio.with_cash(Decimal(1_000))
    book(portfolio, "BUY", "2", "100", leverage=5, fee="0.16")
    held = portfolio.positions[KEY]
    assert (held.quantity, held.cost, held.margin, held.opened_at) == (2, 200, 40, NOW)
    assert portfolio.cash == Decimal("959.84")
    mark(portfolio, "110")
    assert (portfolio.equity, portfolio.value_of(KEY)) == (Decimal("1019.84"), 220)
    book(portfolio, "SELL", "1", "109", leverage=1, fee="0.0872")
    assert (held.quantity, held.cost, held.margin, held.realized_pnl) == (1, 100, 20, 9)
    assert portfolio.cash == Decimal("988.7528")
    assert portfolio.equity == Decimal("1018.7528")
    balanced(portfolio)


def test_a_short_earns_when_the_mark_falls() -> None:
    """Sell 3 at 100 with leverage 3: margin 100. Mark 90: 30 unrealised. Buy 3 back at 91: 27 realised, flat."""
    portfolio = Portfolio.with_cash(Decimal(1_000))
    book(portfolio, "SELL", "3", "100", leverage=3)
    held = portfolio.positions[KEY]
    assert (held.quantity, held.cost, held.margin, held.entry_price, portfolio.cash) == (-3, -300, 100, 100, 900)
    mark(portfolio, "90")
    assert (portfolio.unrealized_pnl, portfolio.equity) == (30, 1_030)
    book(portfolio, "BUY", "3", "91")
    assert (held.quantity, held.cost, held.margin, held.realized_pnl, held.opened_at) == (0, 0, 0, 27, None)
    assert portfolio.equity == portfolio.cash == 1_027
    balanced(portfolio)


def test_adding_in_the_same_direction_adds_cost_and_margin() -> None:
    """Sell 1 at 100 and 1 at 110: entry 105."""
    portfolio = Portfolio.with_cash(Decimal(1_000))
    book(portfolio, "SELL", "1", "100", leverage=2)
    book(portfolio, "SELL", "1", "110", leverage=2)
    held = portfolio.positions[KEY]
    assert (held.quantity, held.entry_price, held.margin) == (-2, 105, 105)


@pytest.mark.parametrize(("opens", "closes"), [("BUY", "SELL"), ("SELL", "BUY")])
def test_no_fill_flips_a_position(opens: str, closes: str) -> None:
    """Closing more than is held is a fault, not a position in the other direction."""
    portfolio = Portfolio.with_cash(Decimal(1_000))
    book(portfolio, opens, "1", "100")
    with pytest.raises(IllegalTransition, match="would flip the position"):
        book(portfolio, closes, "1.0001", "100")


def test_a_fee_in_base_coin_is_a_fault() -> None:
    """Perpetuals pay in quote currency."""
    result = fill("BUY", "1", venue=PERPETUAL, fee=Decimal("0.001"), fee_currency="BTC")
    with pytest.raises(IllegalTransition, match="a fee in BTC on a perpetual"):
        Portfolio.with_cash(Decimal(1_000)).book(result)


def test_funding_comes_out_of_cash() -> None:
    """Paid 0.5 and received 0.2: cash and equity change by -0.3, margin and liquidation price do not."""
    portfolio = Portfolio.with_cash(Decimal(1_000))
    book(portfolio, "BUY", "1", "100", leverage=2)
    mark(portfolio, "100")
    portfolio.fund(KEY, Decimal("-0.5"))
    portfolio.fund(KEY, Decimal("0.2"))
    assert (portfolio.cash, portfolio.margin, portfolio.equity) == (Decimal("949.7"), 50, Decimal("999.7"))
    assert portfolio.funding == Decimal("-0.3")
    balanced(portfolio)


def test_a_liquidation_loses_the_isolated_margin_and_nothing_else() -> None:
    """Margin 20 is gone, cash is untouched."""
    portfolio = Portfolio.with_cash(Decimal(1_000))
    book(portfolio, "BUY", "1", "100", leverage=5)
    mark(portfolio, "80")
    assert portfolio.liquidate(KEY) == 20
    held = portfolio.positions[KEY]
    assert (held.quantity, held.cost, held.margin, held.realized_pnl, held.opened_at) == (0, 0, 0, -20, None)
    assert portfolio.equity == portfolio.cash == 980
    balanced(portfolio)


def test_what_is_not_held_is_neither_funded_nor_liquidated() -> None:
    """An unknown instrument, spot, and a flat position are faults."""
    portfolio = Portfolio.with_cash(Decimal(1_000))
    with pytest.raises(IllegalTransition, match="no perpetual that was traded"):
        portfolio.fund(KEY, Decimal(1))
    portfolio.book(fill("BUY", "1", order="spot"))
    with pytest.raises(IllegalTransition, match="no perpetual that was traded"):
        portfolio.liquidate("mexc_spot:BTCUSDT")
    book(portfolio, "BUY", "1", "100")
    book(portfolio, "SELL", "1", "100")
    with pytest.raises(IllegalTransition, match="nothing is held"):
        portfolio.liquidate(KEY)


# contracts and tiers


@pytest.mark.parametrize(
    ("key", "quantity", "expected"),
    [(KEY, "0.00019", 1), (KEY, "-0.0123", 123), ("mexc_perpetual:SOLUSDT", "7.49", 74), (KEY, "0.00009", 0)],
)
def test_contracts_are_rounded_down(key: str, quantity: str, expected: int) -> None:
    """floor(q / contract size); 1 contract is 0.0001 BTC, 0.01 ETH or 0.1 SOL; the ledger stays in base units."""
    assert contracts(Decimal(quantity), SPECS[key]) == expected


@pytest.mark.parametrize(
    ("quantity", "rate", "leverage"),
    [("5", "0.001", 500), ("-5.0001", "0.004", 200), ("6.0001", "0.005", 100), ("450", "0.05", 10)],
)
def test_the_tier_follows_the_size(quantity: str, rate: str, leverage: int) -> None:
    """Up to 50 000 contracts (5 BTC) 0.1 % maintenance and leverage 500, and so on."""
    tier = tier_of(Decimal(quantity), BTC)
    assert tier is not None
    assert (tier.maintenance_rate, tier.max_leverage) == (Decimal(rate), leverage)
    assert maintenance_fraction(Decimal(quantity), BTC) == Decimal(rate) + Decimal("0.0004")


def test_beyond_all_tiers_there_is_none() -> None:
    """450.0001 BTC are more than the exchange allows; what is held counts as of the highest tier. Spot has none."""
    assert tier_of(Decimal("450.0001"), BTC) is None
    assert maintenance_fraction(Decimal("450.0001"), BTC) == Decimal("0.0504")
    assert tier_of(Decimal(1), SPECS["mexc_spot:BTCUSDT"]) is None


def test_perpetuals_are_traded_in_whole_contracts() -> None:
    """The lot is one contract, and the feed counts in contracts; spot counts in base units."""
    for spec in DEFAULT_INSTRUMENTS:
        perpetual: InstrumentSpec = spec
        if perpetual.venue == PERPETUAL:
            assert perpetual.lot_size == perpetual.min_quantity == perpetual.contract_size
            assert (perpetual.volume_unit, bool(perpetual.tiers)) == ("contracts", True)
        else:
            assert (perpetual.volume_unit, perpetual.tiers, perpetual.contract_size) == ("base", (), 1)


# liquidation


@pytest.mark.parametrize(
    ("held", "price"),
    [
        (position("1", "50000", "10000"), "40056.078509913879"),  # (50000 - 10000) / 0.9986
        (position("-1", "50000", "10000"), "59916.117435590174"),  # (50000 + 10000) / 1.0014
        (position("2", "50000", "20000"), "40056.078509913879"),  # twice of both is the same
        (position("1", "50000", "50000"), "0"),  # leverage 1: a long is never liquidated
        (position("1", "50000", "60000"), "0"),
        (position("-1", "50000", "50000"), "99860.195725983623"),
    ],
)
def test_liquidation_price(held: Position, price: str) -> None:
    """Long (entry - margin/q) / (1 - mu), short (entry + margin/q) / (1 + mu)."""
    assert liquidation_price(held, MU) == Decimal(price)


def test_nothing_held_is_never_liquidated() -> None:
    """Flat: no price, no distance, no ratio."""
    flat = position("0", "50000", "0")
    assert liquidation_price(flat, MU) is None
    assert liquidation_distance(flat, Decimal(1), MU) is None
    assert margin_ratio(flat, Decimal(1), MU) is None
    assert not is_liquidated(flat, Decimal(1), MU)


def test_distance_is_a_share_of_the_mark() -> None:
    """Long with liquidation at 40056.0785 and mark 41000: 2.3022 %; the guard at 0.0231 sees it, at 0.0230 not."""
    held = position("1", "50000", "10000")
    distance = liquidation_distance(held, Decimal(41_000), MU)
    assert distance == Decimal("0.023022475368")
    assert within_distance(held, Decimal(41_000), MU, Decimal("0.0231"))
    assert not within_distance(held, Decimal(41_000), MU, Decimal("0.0230"))


def test_distance_of_a_short() -> None:
    """Short with liquidation at 59916.1174 and mark 59000: 1.5527 %."""
    held = position("-1", "50000", "10000")
    assert liquidation_distance(held, Decimal(59_000), MU) == Decimal("0.015527414163")
    assert within_distance(held, Decimal(59_000), MU, Decimal("0.0156"))
    assert not within_distance(held, Decimal(59_000), MU, Decimal("0.0155"))


def test_margin_ratio() -> None:
    """Long 1 at 50000, margin 10000, mark 45000: 0.0014 * 45000 / (10000 - 5000) = 0.0126; unknown when it is gone."""
    held = position("1", "50000", "10000")
    assert margin_ratio(held, Decimal(45_000), MU) == Decimal("0.0126")
    assert margin_ratio(held, Decimal(40_000), MU) is None
    assert is_liquidated(held, Decimal(40_056), MU)
    assert not is_liquidated(held, Decimal(40_057), MU)


def test_equality_liquidates() -> None:
    """Long 1 at 11000 with 1014: at a mark of 10000 exactly the 14 of maintenance are left."""
    held = position("1", "11000", "1014")
    assert is_liquidated(held, Decimal(10_000), MU)
    assert not is_liquidated(held, Decimal("10000.1"), MU)
    assert margin_ratio(held, Decimal(10_000), MU) == 1


# funding


@pytest.mark.parametrize(
    ("quantity", "rate", "amount"),
    [("2", "0.0001", "-10"), ("-2", "0.0001", "10"), ("2", "-0.0003", "30"), ("0", "0.0001", "0")],
)
def test_longs_pay_shorts_when_the_rate_is_positive(quantity: str, rate: str, amount: str) -> None:
    """-q * mark * rate with q signed; mark 50000."""
    assert funding_amount(Decimal(quantity), Decimal(50_000), Decimal(rate)) == Decimal(amount)


def test_settlements_are_at_0_8_and_16_utc() -> None:
    """What lies in (after, until]: the first excluded, the last included."""

    def at(text: str) -> int:
        return parse_timestamp(text)

    assert settlements_between(at("2024-08-08T07:59:59Z"), at("2024-08-08T08:00:00Z")) == [at("2024-08-08T08:00:00Z")]
    assert settlements_between(at("2024-08-08T08:00:00Z"), at("2024-08-08T15:59:59Z")) == []
    assert settlements_between(at("2024-08-08T15:00:00Z"), at("2024-08-09T01:00:00Z")) == [
        at("2024-08-08T16:00:00Z"),
        at("2024-08-09T00:00:00Z"),
    ]
