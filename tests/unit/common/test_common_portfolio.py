"""The ledger: positions as a fold of fills, books that balance to the last digit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from services.common.errors import IllegalTransition
from services.common.events import MarketData, OrderResult
from services.common.portfolio import ORDERS_REMEMBERED, Portfolio, mid_price

pytestmark = pytest.mark.unit

NOW = 1_621_425_600_000_000
BTC = "mexc_spot:BTCUSDT"


def fill(
    side: str, quantity: str, price: str | None = "100", *, order: str = "o1", total: str | None = None, **more: Any
) -> OrderResult:
    """Return a result that reports one fill; `total` is cumulative."""
    given: dict[str, Any] = {
        "event_id": "r",
        "timestamp": NOW,
        "producer": "cdb_execution",
        "order_id": order,
        "client_order_id": order,
        "status": "PARTIALLY_FILLED",
        "venue": "mexc_spot",
        "symbol": "BTCUSDT",
        "side": side,
        "quantity": Decimal(1_000),
        "filled_quantity": Decimal(total or quantity),
        "last_quantity": Decimal(quantity),
        "last_price": None if price is None else Decimal(price),
    }
    return OrderResult.model_validate({**given, **more})


def quote(bid: str | None, ask: str | None, **more: Any) -> MarketData:
    """Return market data with quotes."""
    given: dict[str, Any] = {
        "event_id": "m",
        "timestamp": NOW,
        "producer": "cdb_ws",
        "venue": "mexc_spot",
        "symbol": "BTCUSDT",
        "price": Decimal(1),
        "high": Decimal(1),
        "low": Decimal(1),
        "bid": None if bid is None else Decimal(bid),
        "ask": None if ask is None else Decimal(ask),
        "sequence": 1,
    }
    return MarketData.model_validate({**given, **more})


def balanced(portfolio: Portfolio) -> None:
    """Check equity = initial cash + realised + unrealised - fees, to the last digit."""
    assert portfolio.equity is not None
    assert portfolio.unrealized_pnl is not None
    assert portfolio.equity == (
        portfolio.initial_cash + portfolio.realized_pnl + portfolio.unrealized_pnl - portfolio.fees
    )


def test_buy_mark_sell_in_real_numbers() -> None:
    """Buy 2 at 100, fee 0.1; mid 110; sell 1 at 109, fee 0.05: realised 9, unrealised 10, fees 0.15."""
    portfolio = Portfolio.with_cash(Decimal(1_000))
    assert portfolio.book(fill("BUY", "2", fee=Decimal("0.1"), fee_currency="USDT")) == 2
    portfolio.mark(quote("109", "111"))
    assert (portfolio.cash, portfolio.equity) == (Decimal("799.9"), Decimal("1019.9"))
    position = portfolio.position("mexc_spot", "BTCUSDT")
    assert (position.entry_price, position.opened_at) == (100, NOW)
    assert portfolio.book(fill("SELL", "1", "109", order="o2", fee=Decimal("0.05"))) == 1
    assert (portfolio.realized_pnl, portfolio.unrealized_pnl, portfolio.fees) == (9, 10, Decimal("0.15"))
    assert portfolio.equity == Decimal("1018.85")
    balanced(portfolio)


def test_flat_again_leaves_no_cost() -> None:
    """After selling everything cost is zero and the position is not open."""
    portfolio = Portfolio.with_cash(Decimal(1_000))
    portfolio.book(fill("BUY", "3", "33.333333"))
    portfolio.book(fill("SELL", "1", "40", order="o2"))
    portfolio.book(fill("SELL", "2", "41", order="o3"))
    position = portfolio.positions[BTC]
    assert (position.quantity, position.cost, position.opened_at, position.entry_price) == (0, 0, None, None)
    assert portfolio.equity == portfolio.cash == Decimal(1_000) - Decimal("99.999999") + 122
    balanced(portfolio)


def test_cumulative_quantity_decides_what_is_new() -> None:
    """The same result twice is booked once; the next fill adds only its own part."""
    portfolio = Portfolio.with_cash(Decimal(1_000))
    first = fill("BUY", "1")
    assert [portfolio.book(first), portfolio.book(first)] == [1, 0]
    assert portfolio.book(fill("BUY", "0.5", total="1.5")) == Decimal("0.5")
    assert portfolio.position("mexc_spot", "BTCUSDT").quantity == Decimal("1.5")
    assert portfolio.book(fill("BUY", "1")) == 0, "an older result changes nothing"


def test_memory_of_orders_is_bounded_and_forgets_the_oldest() -> None:
    """The last 4096 orders are remembered."""
    portfolio = Portfolio.with_cash(Decimal(10**9))
    for index in range(ORDERS_REMEMBERED + 1):
        portfolio.book(fill("BUY", "1", order=f"o{index}"))
    assert len(portfolio.booked) == ORDERS_REMEMBERED
    assert "o0" not in portfolio.booked


@pytest.mark.parametrize(
    "result",
    [
        fill("BUY", "1", None),
        fill("BUY", "1", total="2"),
        fill("BUY", "1", last_quantity=None),
        fill("SELL", "1"),
    ],
)
def test_results_that_cannot_be_booked_are_faults(result: OrderResult) -> None:
    """No price, a last quantity that is not what the total grew by, a sale of what is not held."""
    with pytest.raises(IllegalTransition):
        Portfolio.with_cash(Decimal(100)).book(result)


def test_of_what_was_told_in_part_already_only_the_rest_is_booked() -> None:
    """0.15 is booked; a result that tells 0.1 and 0.2 in all adds 0.05, at its own price."""
    portfolio = Portfolio.with_cash(Decimal(1_000))
    portfolio.book(fill("BUY", "0.15"))

    assert portfolio.book(fill("BUY", "0.1", total="0.2")) == Decimal("0.05")

    assert portfolio.position("mexc_spot", "BTCUSDT").quantity == Decimal("0.2")


def test_fee_in_base_coin_is_taken_from_the_position() -> None:
    """Buy 1 at 100 with a fee of 0.001 BTC: 0.999 held at cost 99.9, the fee is worth 0.1, cash is untouched by it."""
    portfolio = Portfolio.with_cash(Decimal(1_000))
    portfolio.book(fill("BUY", "1", fee=Decimal("0.001"), fee_currency="BTC"))
    position = portfolio.positions[BTC]
    assert (position.quantity, position.cost, position.fees) == (Decimal("0.999"), Decimal("99.9"), Decimal("0.1"))
    assert portfolio.cash == 900
    portfolio.mark(quote("99", "101"))
    balanced(portfolio)


def test_unknown_is_not_zero() -> None:
    """A held position that was never marked has no value, and then neither has the portfolio."""
    portfolio = Portfolio.with_cash(Decimal(1_000))
    assert portfolio.equity == 1_000
    portfolio.book(fill("BUY", "1"))
    assert portfolio.value_of(BTC) is None
    assert portfolio.equity is None
    assert portfolio.unrealized_pnl is None


@pytest.mark.parametrize(("bid", "ask"), [("101", "100"), ("100", "100"), (None, "100"), ("100", None)])
def test_a_bad_book_keeps_the_last_mark(bid: str | None, ask: str | None) -> None:
    """Crossed, locked or one-sided quotes do not value anything."""
    portfolio = Portfolio()
    portfolio.mark(quote("89", "91"))
    portfolio.mark(quote(bid, ask))
    assert portfolio.marks[BTC].price == 90


def test_perpetuals_are_marked_at_their_mark_price() -> None:
    """Not at mid; without a mark price the last one stays; spot and perpetual are different instruments."""
    portfolio = Portfolio()
    portfolio.mark(quote("99", "101", venue="mexc_perpetual", mark_price=Decimal("99.5")))
    portfolio.mark(quote("99", "101", venue="mexc_perpetual"))
    assert portfolio.marks["mexc_perpetual:BTCUSDT"].price == Decimal("99.5")
    assert BTC not in portfolio.marks


def test_mid_is_exact() -> None:
    """Halving a decimal adds at most one digit."""
    assert mid_price(Decimal("0.01"), Decimal("0.02")) == Decimal("0.015")


def test_two_round_trips_add_up() -> None:
    """What the second trip realises is added to the first, on spot and on a perpetual."""
    for venue in ("mexc_spot", "mexc_perpetual"):
        portfolio = Portfolio.with_cash(Decimal(1_000))
        for order, side, price in (("a", "BUY", "100"), ("b", "SELL", "110"), ("c", "BUY", "100"), ("d", "SELL", "95")):
            portfolio.book(fill(side, "1", price, order=order, venue=venue))
        assert portfolio.realized_pnl == 5
        assert portfolio.equity == 1_005


def test_two_fills_of_one_entry_add_up() -> None:
    """The cost of what is held is that of all fills, not of the last."""
    portfolio = Portfolio.with_cash(Decimal(1_000))
    portfolio.book(fill("BUY", "1", "100"))
    portfolio.book(fill("BUY", "2", "103", total="3"))
    assert portfolio.positions[BTC].cost == 306
    assert portfolio.positions[BTC].entry_price == 102


def test_base_fees_of_two_fills_add_up() -> None:
    """Fees taken in coins are valued at each fill's own price, and all are remembered."""
    portfolio = Portfolio.with_cash(Decimal(1_000))
    portfolio.book(fill("BUY", "1", "100", fee=Decimal("0.001"), fee_currency="BTC"))
    portfolio.book(fill("BUY", "1", "200", total="2", fee=Decimal("0.001"), fee_currency="BTC"))
    assert portfolio.positions[BTC].fees == Decimal("0.3")
    assert portfolio.positions[BTC].quantity == Decimal("1.998")


@pytest.mark.parametrize("venue", ["mexc_spot", "mexc_perpetual"])
def test_a_third_leaves_with_a_third_of_cost_and_margin(venue: str) -> None:
    """Closing 2 of 6 takes a third of the cost (and of the margin), closing the rest leaves exactly nothing."""
    portfolio = Portfolio.with_cash(Decimal(10_000))
    portfolio.book(fill("BUY", "6", "100", venue=venue), leverage=4)
    portfolio.book(fill("SELL", "2", "110", order="b", venue=venue), leverage=4)
    position = portfolio.position(venue, "BTCUSDT")
    assert (position.cost, position.margin) == (400, 100 if venue == "mexc_perpetual" else 0)
    assert position.realized_pnl == 20
    portfolio.book(fill("SELL", "4", "110", order="c", venue=venue), leverage=4)
    assert (position.quantity, position.cost, position.margin) == (0, 0, 0)
    assert portfolio.cash == 10_060


def test_a_whole_close_leaves_no_crumb_where_thirds_do_not_divide() -> None:
    """A third of 100 has no end, but what is closed whole leaves cost and margin of exactly 0."""
    for venue in ("mexc_spot", "mexc_perpetual"):
        portfolio = Portfolio.with_cash(Decimal(1_000))
        portfolio.book(fill("BUY", "3", "33.333333", venue=venue), leverage=7)
        portfolio.book(fill("SELL", "1", "34", order="b", venue=venue), leverage=7)
        portfolio.book(fill("SELL", "0.7", "34", order="c", venue=venue), leverage=7)
        portfolio.book(fill("SELL", "1.3", "34", order="d", venue=venue), leverage=7)
        position = portfolio.position(venue, "BTCUSDT")
        assert (position.quantity, position.cost, position.margin) == (0, 0, 0)


def test_a_flat_position_says_whose_it_is() -> None:
    """An instrument that was never traded is flat under its own name."""
    flat = Portfolio().position("mexc_spot", "ETHUSDT")
    assert (flat.venue, flat.symbol, flat.quantity) == ("mexc_spot", "ETHUSDT", 0)


def test_facts_of_what_was_never_traded_are_named() -> None:
    """Funding and liquidation of a stranger say which of them it was."""
    with pytest.raises(IllegalTransition, match=r"^funding of mexc_perpetual:BTCUSDT, which is no perpetual"):
        Portfolio().fund("mexc_perpetual:BTCUSDT", Decimal(1))
    with pytest.raises(IllegalTransition, match=r"^liquidation of mexc_perpetual:BTCUSDT, which is no perpetual"):
        Portfolio().liquidate("mexc_perpetual:BTCUSDT")


def test_of_coins_that_went_no_more_go_than_are_held() -> None:
    """An operator's word that a sale has crossed takes what is left, and no book goes below zero."""
    portfolio = Portfolio.with_cash(Decimal(1_000))
    portfolio.book(fill("BUY", "1"))

    portfolio.adjust("mexc_spot", "BTCUSDT", Decimal(-3), Decimal(100), 1)

    position = portfolio.position("mexc_spot", "BTCUSDT")
    assert (position.quantity, position.cost, position.opened_at) == (0, 0, None)
