"""What holds for limit orders that rest on paper: never more, earlier or better than a true queue would give."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.cdb_execution.order_state import TERMINAL
from services.common.events import MarketData, Order, OrderResult
from services.common.timestamps import MINUTE_US
from tests.property.effort import examples
from tests.unit.execution.execution_desk import Desk

pytestmark = [pytest.mark.unit, pytest.mark.risk]

QUIET = settings(derandomize=True, deadline=None, max_examples=examples(60))

PRICE, LOT = 39_999, Decimal("0.000001")
sizes = st.integers(min_value=1, max_value=40).map(lambda tenths: Decimal(tenths) / 10)
happenings = st.lists(
    st.one_of(
        st.tuples(st.just("sell"), sizes),
        st.tuples(st.just("sell"), sizes),
        st.tuples(st.sampled_from(["buy", "better", "behind", "cancel"]), sizes),
        st.tuples(st.just("event"), sizes),
        st.tuples(st.just("event"), sizes),
    ),
    max_size=40,
)


class Queue:
    """One price of a true book with price-time priority, where our order stands between those before and behind it."""

    def __init__(self, ahead: Decimal, ours: Decimal) -> None:
        self.ahead, self.ours, self.behind, self.filled = ahead, ours, Decimal(0), Decimal(0)
        self.theirs_behind = Decimal(0)
        self.trades: list[tuple[int, Decimal]] = []
        self.last = PRICE + 1

    def sell(self, size: Decimal) -> None:
        """A market sale: in our world it meets us, in the recorded one it meets everybody but us."""
        self.filled += min(self.ours - self.filled, max(Decimal(0), size - self.ahead))
        at_price = min(size, self.ahead + self.behind)
        for price, traded in ((PRICE, at_price), (PRICE - 1, size - at_price)):
            if traded:
                self.trades.append((price, traded))
        self.behind -= max(Decimal(0), at_price - self.ahead)
        self.ahead -= min(size, self.ahead)

    def happens(self, what: str, size: Decimal) -> None:
        """Let something happen."""
        if what == "sell":
            self.sell(size)
        elif what == "behind":
            self.behind += size
        elif what == "cancel":
            self.ahead -= min(self.ahead, size)
        else:
            self.trades.append((PRICE + (2 if what == "buy" else 1), size))

    def event(self) -> dict[str, Any]:
        """Return what a conflated event says of everything since the one before."""
        prices = [self.last, *(price for price, _ in self.trades)]
        shown = self.ahead + self.behind
        told = {
            "volume": sum((size for _, size in self.trades), Decimal(0)),
            "price": str(prices[-1]),
            "high": str(max(prices)),
            "low": str(min(prices)),
            "bid": str(PRICE if shown else PRICE - 1),
            "bid_size": str(shown or 7),
        }
        self.last, self.trades = prices[-1], []
        return told


@given(st.integers(min_value=0, max_value=50), sizes, happenings)
@QUIET
def test_it_never_fills_more_or_earlier_than_in_a_true_queue(
    ahead: int, quantity: Decimal, happened: list[tuple[str, Decimal]]
) -> None:
    """At every event what has filled on paper is at most what the exchange would have filled by then, at its price."""
    desk, queue = Desk(PAPER_PARTICIPATION=1), Queue(Decimal(ahead) / 10, quantity)
    desk.quote(0, volume="100000")
    desk.send(0, quantity=quantity, order={"time_in_force": "GTC", "price": Decimal(PRICE)})
    desk.quote(250, **queue.event() | {"volume": "0"})
    at_ms = 250
    for what, size in happened:
        if what != "event":
            queue.happens(what, size)
            continue
        at_ms += 250
        made = desk.quote(at_ms, **queue.event())
        filled = sum((fill.last_quantity or 0 for fill in desk.results), Decimal(0))
        assert filled <= queue.filled
        assert all(isinstance(fill, OrderResult) and fill.last_price == PRICE for fill in made)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("order"), st.integers(-300, 300), st.integers(20, 5_000_000), st.booleans()),
        st.tuples(
            st.just("market"),
            st.integers(-300, 300),
            st.integers(0, 400),
            st.integers(0, 9_000_000),
            st.integers(1, 200),
        ),
        st.tuples(
            st.just("market"),
            st.integers(-300, 300),
            st.integers(0, 400),
            st.integers(0, 9_000_000),
            st.integers(1, 200),
        ),
        st.tuples(st.sampled_from(["tick", "halt", "resume", "flatten"])),
    ),
    min_size=8,
    max_size=40,
)


def play(story: list[tuple[Any, ...]], **kwargs: Any) -> Desk:
    """Let a desk that holds 2 BTC live through resting orders on both sides of a market that moves."""
    desk = Desk(**kwargs)
    at_ms = desk.hold("2") + 60_000
    for step in story:
        at_ms += 300
        if step[0] == "order":
            side, purpose = ("BUY", "entry") if step[3] else ("SELL", "exit")
            price = Decimal(40_000) + step[1] * Decimal("0.01")
            given_order = {"time_in_force": "GTC", "price": price}
            desk.send(at_ms, given_order, quantity=str(step[2] * LOT), side=side, purpose=purpose)
        elif step[0] == "market":
            bid, other = (Decimal(40_000) + cents * Decimal("0.01") for cents in (step[1], step[1] + step[2]))
            desk.quote(
                at_ms, str(bid), str(bid + step[4] * Decimal("0.01")), volume=step[3] * LOT, size="1",
                price=str(bid), high=str(max(bid, other)), low=str(bid),
            )  # fmt: skip
        elif step[0] == "tick":
            at_ms += 21_000
            desk.tick(at_ms)
        elif step[0] == "halt":
            desk.halt()
        elif step[0] == "resume":
            desk.resume()
        else:
            desk.send(at_ms, {"price": Decimal(39_000)}, quantity="0.1", side="SELL", purpose="flatten")
    desk.tick(at_ms + 70_000)
    return desk


@given(steps)
@QUIET
def test_a_resting_order_keeps_its_price_its_share_and_its_end(story: list[tuple[Any, ...]]) -> None:
    """Rested: exactly at its price, without more than our share of the minute; taken: no worse. Each ends once."""
    desk = play(story)
    orders = {entry.event.order_id: entry.event for entry in desk.entries if isinstance(entry.event, Order)}
    traded = [entry.event for entry in desk.entries if isinstance(entry.event, MarketData)]
    own: list[tuple[int, Decimal]] = []
    ended: dict[str, str] = {}

    for result in desk.results:
        assert result.order_id not in ended
        if result.status in TERMINAL:
            ended[result.order_id] = result.status
        order = orders[result.order_id]
        if result.last_quantity is None or order.time_in_force == "IOC":
            continue
        direction = 1 if result.side == "BUY" else -1
        assert order.price is not None
        assert result.last_price is not None
        assert (result.last_price - order.price) * direction <= 0
        if result.liquidity == "maker":
            assert (result.last_price, result.fee) == (order.price, 0)
            since = result.timestamp - MINUTE_US
            share = sum((one.volume for one in traded if since < one.timestamp <= result.timestamp), Decimal(0)) / 10
            ours = sum((quantity for at, quantity in own if at > since), Decimal(0))
            assert ours + result.last_quantity <= share
        own.append((result.timestamp, result.last_quantity))

    assert ended.keys() == orders.keys()
    assert desk.machine.state.working == []


@given(steps)
@settings(QUIET, max_examples=examples(10))
def test_a_restart_in_between_changes_nothing(story: list[tuple[Any, ...]]) -> None:
    """The place in the queue is part of the state."""
    undisturbed, restarted = play(story), play(story, restarting=True)
    assert [event.data for event in restarted.outputs] == [event.data for event in undisturbed.outputs]
    assert restarted.machine.dump() == undisturbed.machine.dump()
