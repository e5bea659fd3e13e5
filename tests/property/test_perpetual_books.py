"""Perpetual books for all inputs: additive funding, no flips, equity to the last digit, liquidation at maintenance."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.decimals import use_fixed_context
from services.common.errors import IllegalTransition
from services.common.instruments import PERPETUAL
from services.common.perpetuals import funding_amount, is_liquidated, liquidation_price, margin_ratio, within_distance
from services.common.portfolio import Mark, Portfolio, Position
from tests.property.effort import examples
from tests.unit.common.test_common_portfolio import fill

pytestmark = pytest.mark.unit

KEY = "mexc_perpetual:BTCUSDT"
LOTS = st.integers(1, 1_000_000).map(lambda lots: Decimal(lots) * Decimal("0.0001"))
PRICES = st.integers(1, 2_000_000).map(lambda ticks: Decimal(ticks) * Decimal("0.1"))
RATES = st.integers(-30_000, 30_000).map(lambda n: Decimal(n) * Decimal("0.0000001"))
LEVERAGES = st.sampled_from([1, 2, 3, 5, 7, 125])
MUS = st.sampled_from([Decimal("0.0014"), Decimal("0.0054"), Decimal("0.0504")])


@pytest.fixture(autouse=True)
def _context() -> None:
    use_fixed_context()


@given(parts=st.lists(LOTS, min_size=1, max_size=8), short=st.booleans(), mark=PRICES, rate=RATES)
def test_funding_is_additive_over_splits_of_a_position(
    parts: list[Decimal], short: bool, mark: Decimal, rate: Decimal
) -> None:
    """Funding of the whole is the sum of the funding of its parts, to the last digit."""
    sign = -1 if short else 1
    whole = funding_amount(sign * sum(parts, Decimal(0)), mark, rate)
    assert whole == sum((funding_amount(sign * part, mark, rate) for part in parts), Decimal(0))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("fill"), st.sampled_from(["BUY", "SELL"]), LOTS, PRICES, LEVERAGES),
        st.tuples(st.just("fund"), PRICES, RATES),
        st.tuples(st.just("mark"), PRICES),
        st.tuples(st.just("liquidate")),
    ),
    max_size=20,
)


@given(steps=STEPS)
@settings(max_examples=examples(150))
def test_equity_balances_and_no_fill_flips(steps: list[tuple[object, ...]]) -> None:
    """After any fills, funding and liquidations both ways to the equity agree; a flip is refused, whatever it is."""
    portfolio = Portfolio.with_cash(Decimal(100_000))
    portfolio.marks[KEY] = Mark(Decimal(1), 0)
    portfolio.positions[KEY] = held = Position(PERPETUAL, "BTCUSDT")
    for index, step in enumerate(steps):
        before = held.quantity
        match step:
            case ("fill", str() as side, Decimal() as quantity, Decimal() as price, int() as leverage):
                result = fill(side, str(quantity), str(price), order=str(index), venue=PERPETUAL, fee=price / 1000)
                signed = quantity if side == "BUY" else -quantity
                if before * (before + signed) < 0:
                    with pytest.raises(IllegalTransition):
                        portfolio.book(result, leverage)
                    return
                portfolio.book(result, leverage)
                assert held.quantity == before + signed
            case ("fund", Decimal() as mark, Decimal() as rate):
                portfolio.fund(KEY, funding_amount(held.quantity, mark, rate))
            case ("mark", Decimal() as mark):
                portfolio.marks[KEY] = Mark(mark, 0)
            case _ if before:
                cash = portfolio.cash
                portfolio.liquidate(KEY)
                assert portfolio.cash == cash
        assert portfolio.unrealized_pnl is not None
        assert portfolio.equity == portfolio.cash + held.margin + portfolio.unrealized_pnl
        made = portfolio.realized_pnl + portfolio.unrealized_pnl + portfolio.funding - portfolio.fees
        assert portfolio.equity == 100_000 + made
        assert (held.margin == 0) == (held.cost == 0) == (held.quantity == 0)


@given(trade=st.tuples(st.sampled_from(["BUY", "SELL"]), LOTS, PRICES, LEVERAGES), mu=MUS, ticks=st.integers(-3, 3))
def test_the_liquidation_price_is_where_equity_reaches_maintenance(
    trade: tuple[str, Decimal, Decimal, int], mu: Decimal, ticks: int
) -> None:
    """Around the price, being liquidated by products, by price, by ratio and at distance 0 are the same thing."""
    held = Position(PERPETUAL, "BTCUSDT")
    held.trade(*trade)
    short = trade[0] == "SELL"
    price = liquidation_price(held, mu)
    assert price is not None
    mark = price + ticks * Decimal("0.1")
    if not ticks or mark <= 0:
        return
    beyond = mark >= price if short else mark <= price
    assert is_liquidated(held, mark, mu) == beyond
    assert within_distance(held, mark, mu, Decimal(0)) == beyond
    ratio = margin_ratio(held, mark, mu)
    assert (ratio is None or ratio >= 1) == beyond
