"""Whatever the exchange says, in whatever numbers: it stops neither execution nor the books of risk and writer."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.cdb_execution.exchange import Balance, FundingPayment, OrderReport, PositionReport, Trade
from services.cdb_execution.live.facts import Snapshot
from services.cdb_execution.live.intake import Answered
from services.common import channels
from services.common.account_facts import book_adjustment
from services.common.events import Control, OrderResult
from services.common.perpetual_facts import book_fact
from services.common.portfolio import Portfolio
from tests.property.effort import examples
from tests.unit.execution.live_world import World
from tests.unit.execution.perpetual_world import PerpetualWorld
from tests.unit.execution.test_live_machine import fold_all, opened, report, stuck, trade

pytestmark = [pytest.mark.unit, pytest.mark.risk]

amounts = st.sampled_from(["0.000001", "0.05", "0.1", "0.2", "0.3", "1000000"]).map(Decimal)
numbers = st.sampled_from(["-1000000", "-0.5", "0", "0.01", "40000", "999999999999"]).map(Decimal)
prices = st.sampled_from(["0.000001", "39000", "40000", "999999999"]).map(Decimal)
symbols = st.sampled_from(["BTCUSDT", "BTCUSDT", "ETHUSDT"])
sides = st.sampled_from(["BUY", "SELL"])
ids = st.sampled_from(["ours", "ours", "theirs", None])
numbered = st.sampled_from(["C1", "C2"])


def trades(venue: str) -> st.SearchStrategy[dict[str, Any]]:
    """Draw the fields of a fill, possible or not."""
    return st.fixed_dictionaries(
        {
            "venue": st.sampled_from([venue, venue, "mexc_spot"]), "symbol": symbols, "side": sides,
            "trade_id": st.sampled_from(["T1", "T2", "T3"]), "exchange_order_id": numbered, "client_order_id": ids,
            "quantity": amounts, "price": prices, "fee": numbers, "liquidity": st.just("taker"),
            "fee_currency": st.sampled_from(["USDT", "BTC", "MX"]),
        }
    )  # fmt: skip


def reports(venue: str) -> st.SearchStrategy[dict[str, Any]]:
    """Draw the fields of what is said of an order."""
    return st.fixed_dictionaries(
        {
            "venue": st.just(venue), "symbol": symbols, "side": sides, "client_order_id": ids,
            "exchange_order_id": numbered, "quantity": amounts, "filled_quantity": st.just(Decimal(0)) | amounts,
            "status": st.sampled_from(["NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED", "REJECTED"]),
            "filled_notional": st.none(), "error_code": st.none() | st.just("30004"),
        }
    )  # fmt: skip


def accounts(venue: str) -> st.SearchStrategy[dict[str, Any]]:
    """Draw what an account says of itself."""
    return st.fixed_dictionaries(
        {
            "free": numbers, "equity": st.none() | numbers, "held": st.none() | numbers, "entry": prices,
            "margin": numbers, "leverage": st.sampled_from([1, 2, 500]), "isolated": st.booleans(), "paid": numbers,
            "open": st.none() | reports(venue), "trades": st.lists(trades(venue), max_size=2),
        }
    )  # fmt: skip


def words(venue: str) -> st.SearchStrategy[list[tuple[str, Any]]]:
    """Draw what is heard, and what the operator says to it."""
    each = st.one_of(
        st.tuples(st.just("trade"), trades(venue)),
        st.tuples(st.just("report"), reports(venue)),
        st.tuples(st.just("answer"), st.tuples(reports(venue), st.lists(trades(venue), max_size=2))),
        st.tuples(st.just("account"), accounts(venue)),
        st.tuples(st.sampled_from(["accept", "tick"]), st.none()),
    )
    return st.lists(each, min_size=1, max_size=8)


def say(world: World, order: Any, what: str, told: Any) -> None:
    """Let one thing be said."""
    state = world.machine.state

    def made(kind: Any, fields: dict[str, Any]) -> Any:
        name = order.client_order_id if fields["client_order_id"] == "ours" else fields["client_order_id"]
        return kind(**{**fields, "client_order_id": name}, time=world.exchange.now)

    if what == "trade":
        world.desk.inbox.append(made(Trade, told))
    elif what == "report":
        world.desk.inbox.append(made(OrderReport, told))
    elif what == "answer":
        fills = tuple(made(Trade, fields) for fields in told[1])
        world.desk.inbox.append(Answered(order.order_id, made(OrderReport, told[0]), fills))
    elif what == "account":
        held = [] if told["held"] is None else [
            PositionReport(
                symbol="BTCUSDT", quantity=told["held"], entry_price=told["entry"], margin=told["margin"],
                leverage=told["leverage"], liquidation_price=None, isolated=told["isolated"],
            )
        ]  # fmt: skip
        paid = FundingPayment(
            symbol="BTCUSDT", payment_id=f"F{told['paid']}", amount=told["paid"], rate=Decimal(0), time=1
        )
        money = Balance(venue=order.venue, currency="USDT", free=told["free"], locked=Decimal(0), equity=told["equity"])
        open_orders = [] if told["open"] is None else [made(OrderReport, told["open"])]
        fills = tuple(made(Trade, fields) for fields in told["trades"])
        world.desk.inbox.append(Snapshot(state.live.revision, [money], open_orders, held, fills, funding=[paid]))
    elif what == "accept":
        named: dict[str, Any] = {"accept": state.live.difference_names()}
        world.control("resume", producer=channels.OPERATOR, by="ada", reason="so it is", details=named)
    else:
        world.tick(6_000)


def listen(world: World, said: list[tuple[str, Any]]) -> None:
    """Let everything be said to an order that works, and fold it in other books beside."""
    order = stuck(world)
    world.jobs.clear()
    for what, told in said:
        say(world, order, what, told)
        for _ in range(12):
            world.state()
            world.jobs.clear()
            fold_all(world)
        assert not world.desk.inbox
    books = Portfolio.with_cash(Decimal(10**9))
    for entry in world.entries:
        event = entry.event
        if isinstance(event, OrderResult):
            books.book(event, 2)
        elif isinstance(event, Control) and event.action == "adjustment":
            book_adjustment(books, event)
        elif isinstance(event, Control) and event.action == "funding":
            book_fact(books, event)
    key = order.instrument
    assert books.position(order.venue, "BTCUSDT").quantity == world.machine.state.held(key)
    assert order.venue != "mexc_spot" or world.machine.state.held(key) >= 0
    filled = [result.filled_quantity for result in world.results]
    assert filled == sorted(filled)
    assert order.filled_quantity <= order.quantity
    world.machine.dump()


@given(said=words("mexc_spot"))
@settings(max_examples=examples(30), deadline=None)
def test_nothing_that_is_said_of_spot_stops_anybody(said: list[tuple[str, Any]]) -> None:
    """Fills of other sides and symbols, absurd sizes, impossible accounts: booked, named or left out."""
    listen(opened(), said)


@given(said=words("mexc_perpetual"))
@settings(max_examples=examples(30), deadline=None)
def test_nothing_that_is_said_of_perpetuals_stops_anybody(said: list[tuple[str, Any]]) -> None:
    """The same with positions, margins and fundings of all kinds."""
    listen(PerpetualWorld(), said)


def test_an_order_that_the_exchange_takes_and_then_refuses_is_cancelled() -> None:
    """NEW, then REJECTED: the table has no such way, so it ends as cancelled by the exchange."""
    world = opened()
    order = stuck(world)
    for status in ("NEW", "REJECTED"):
        world.desk.inbox.append(report(order, status))
        world.state()
        fold_all(world)
    assert [result.status for result in world.results] == ["SUBMITTING", "NEW", "CANCELED"]


def test_billions_of_a_small_coin_are_a_balance_like_any_other() -> None:
    """More digits before the point leave fewer behind it; nothing is choked on."""
    world = opened()
    world.exchange.totals["PEPE"] = Decimal("123456789012345.123456789012345678")
    world.settle(70)
    assert world.verdicts()[-1] == "agreed"


@pytest.mark.parametrize(
    "odd",
    [
        {"side": "SELL"}, {"symbol": "ETHUSDT"}, {"venue": "mexc_perpetual"}, {"quantity": Decimal("0.3")},
        {"fee": Decimal("0.2"), "fee_currency": "BTC"},
    ],
)  # fmt: skip
def test_a_fill_that_cannot_be_of_its_order_is_a_stranger(odd: dict[str, Any]) -> None:
    """Another side, symbol or venue, more than ordered, a fee above all of it: not booked, named, frozen."""
    world = opened()
    order = stuck(world)
    world.exchange.booked.append(trade(order, **{"quantity": "0.1", "number": "T1", "time": world.exchange.now} | odd))
    world.settle(70)
    assert world.machine.state.held("mexc_spot:BTCUSDT") == 0
    assert "trade:T1" in world.machine.state.live.difference_names()
    assert world.machine.state.trading_state == "FROZEN"
