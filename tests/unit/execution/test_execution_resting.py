"""Limit orders that rest on paper: behind the queue, filled by what trades there and through, ended by rules."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from claire.explain.fill_rule import fill_lines
from services.cdb_execution.settings import ExecutionSettings
from services.common import channels
from services.common.events import Event, OrderResult
from tests.unit.execution.execution_desk import Desk

pytestmark = pytest.mark.unit

PRICE = "39999"


class Book(Desk):
    """A desk whose market is 39999 / 40001 with 2 on the bid and 3 on the ask, and trades at 39999.5."""

    def market(self, at_ms: int, volume: str = "0", low: str = "39999.5", **fields: Any) -> list[OrderResult]:
        """Journal market data; what traded did so from `high` (also at low unless given) to low, which is the last."""
        shown = {"bid": PRICE, "ask": "40001", "bid_size": "2", "size": "3", "price": low, "high": low}
        return results(self.quote(at_ms, volume=volume, low=low, **shown | fields))

    def rest(self, at_ms: int = 0, price: str = PRICE, quantity: str = "1", **decision: Any) -> list[OrderResult]:
        """Let risk order with a limit that rests; a quote after the latency lets it join."""
        self.market(at_ms, volume="1000")
        sent = self.send(at_ms, {"time_in_force": "GTC", "price": Decimal(price)}, quantity=quantity, **decision)
        return results(sent) + self.market(at_ms + 250)


def results(events: list[Event]) -> list[OrderResult]:
    """Return the order results among events."""
    return [event for event in events if isinstance(event, OrderResult)]


def told(events: list[OrderResult]) -> list[tuple[str, Decimal | None]]:
    """Return statuses and what was filled."""
    return [(event.status, event.last_quantity) for event in events]


def numbers(result: OrderResult) -> dict[str, Any]:
    """Return the numbers of a fill."""
    assert result.fill is not None
    return dict(result.fill)


@pytest.mark.parametrize("restarting", [False, True])
def test_it_waits_until_the_queue_is_used_up_and_fills_at_its_price_as_a_maker(restarting: bool) -> None:
    """2 are ahead: 1.5 traded at 39999 are theirs, of the next 1.2 we get 0.7, then the rest; no maker fee."""
    book = Book(restarting=restarting)

    assert told(book.rest()) == [("NEW", None)]
    assert book.market(1_000, "1.5", PRICE) == []
    first = book.market(2_000, "1.2", PRICE)
    second = book.market(3_000, "9", PRICE)

    assert told(first) == [("PARTIALLY_FILLED", Decimal("0.7"))]
    assert told(second) == [("FILLED", Decimal("0.3"))]
    assert {(fill.last_price, fill.liquidity, fill.fee) for fill in first + second} == {(Decimal(PRICE), "maker", 0)}
    assert first[0].slippage_bps == Decimal("-0.25")
    ahead = {name: numbers(first[0])[name] for name in ("rule", "ahead", "counts", "beyond_queue", "limited_by")}
    assert ahead == {
        "rule": "paper_queue_v1", "ahead": Decimal("0.5"), "counts": Decimal("1.2"), "beyond_queue": Decimal("0.7"),
        "limited_by": "volume",
    }  # fmt: skip
    assert numbers(second[0])["limited_by"] == "order"
    assert book.machine.state.positions == {"mexc_spot:BTCUSDT": Decimal(1)}


@pytest.mark.parametrize(
    ("trades", "filled"),
    [
        ({"volume": "5", "low": "39999.5"}, None),
        ({"volume": "0", "low": "39998"}, None),
        ({"volume": "2", "low": "39998"}, None),
        ({"volume": "2.4", "low": "39998"}, "0.4"),
        ({"volume": "2.4", "low": PRICE, "high": "40000"}, None),
        ({"volume": "8", "low": "39998", "high": "39999.01"}, None),
        ({"volume": "5", "low": "39998", "gap": True}, None),
        ({"volume": "5", "low": PRICE, "ask": PRICE, "bid": "39998"}, None),
        ({"volume": "5", "low": "39998.5", "ask": PRICE, "bid": "39998"}, "1"),
        ({"volume": "2.4", "low": PRICE, "bid": None}, "0.4"),
    ],
)
def test_what_traded_at_the_price_or_through_it_counts(trades: dict[str, Any], filled: str | None) -> None:
    """Behind 2: above it nothing, without trades nothing, of a range across it nothing, after a gap nothing.

    At the price of the other side's touch takers trade, as we would have been.
    """
    book = Book()
    book.rest()

    made = book.market(1_000, **trades)

    assert [fill.last_quantity for fill in made] == ([] if filled is None else [Decimal(filled)])


def test_a_price_that_is_only_remembered_is_no_trade() -> None:
    """The low of an event may be the last price of the one before: then the last trade of the event tells."""
    book = Book()
    book.market(0, volume="1000")
    book.send(0, {"time_in_force": "GTC", "price": Decimal(40_000)}, quantity="0.5")
    book.market(250, low="39999.5", bid="40000", bid_size="0.1")

    made = book.market(1_100, "7", low="39999.5", high="40001", price="40001", bid="40000", bid_size="0.1")
    made += book.market(1_200, "0.1", low="40000", bid="40000", bid_size="0.1")

    assert made == []


def test_after_trades_through_it_nobody_is_ahead() -> None:
    """Whatever was before it is gone; the next volume there is ours, as far as our share of the minute lets."""
    book = Book(PAPER_PARTICIPATION="0.05")
    book.rest(quantity="90")
    book.market(1_000, "0.5", "39998", high="40000", bid=None)

    (made,) = book.market(1_100, "150", PRICE, bid=None)

    assert made.last_quantity == Decimal("57.525")  # 0.05 * (1000 + 0.5 + 150)
    assert numbers(made)["limited_by"] == "participation"


@pytest.mark.parametrize(
    ("price", "then", "filled"),
    [
        ("39999.5", {}, "0.6"),
        ("39998", {}, None),
        ("39998", {"bids": (("39999", "2"), ("39998", "0.25"))}, "0.35"),
        ("39998.5", {"bids": (("39999", "2"), ("39998", "0.25"))}, "0.6"),
        ("39997", {"bids": (("39999", "2"), ("39998", "0.25"))}, None),
    ],
)
def test_what_is_ahead_is_what_is_shown_at_its_price(price: str, then: dict[str, Any], filled: str | None) -> None:
    """Before the bid nobody; behind it what the levels say; deeper than the feed looks nobody knows: then nothing."""
    levels = {name: tuple((Decimal(p), Decimal(s)) for p, s in rows) for name, rows in then.items()}
    book = Book()
    book.market(0, volume="1000")
    book.send(0, {"time_in_force": "GTC", "price": Decimal(price)}, quantity="0.6")
    book.market(250, **levels)

    made = book.market(500, "0.6", low=price, bid=None)

    assert [fill.last_quantity for fill in made] == ([] if filled is None else [Decimal(filled)])


def test_less_than_was_ahead_is_shown_so_less_is_ahead() -> None:
    """Cancelled orders are seen only in that; more that is shown stands behind us."""
    book = Book()
    book.rest(quantity="1")
    book.market(1_000, bid_size="0.5")
    book.market(1_100, bid_size="9")

    (made,) = book.market(1_200, "0.75", PRICE, bid_size="9")

    assert made.last_quantity == Decimal("0.25")


def test_a_price_across_the_spread_takes_first_and_rests_with_the_remainder() -> None:
    """3 at 40003: what the rules of taking let fill is a taker's; the rest waits at 40003, and never betters it."""
    book = Book()
    book.market(0, volume="100000")
    book.send(0, {"time_in_force": "GTC", "price": Decimal(40_003)}, quantity="3")

    (taken,) = book.market(250, size="1")
    assert book.market(300, "5", "40003", ask="40003", bid="40002") == []
    (rested,) = book.market(1_000, "2", "40001", ask="40002", bid="40000")

    assert (taken.status, taken.liquidity) == ("PARTIALLY_FILLED", "taker")
    assert (numbers(taken)["rule"], numbers(taken)["limited_by"]) == ("paper_ioc_v1", "protection")
    assert taken.last_quantity is not None
    assert rested.last_quantity == 3 - taken.last_quantity < 2
    assert (rested.status, rested.liquidity, rested.last_price) == ("FILLED", "maker", Decimal(40_003))


def test_it_joins_on_a_quote_that_is_believed() -> None:
    """Not before the latency, not without a quote, not at one that is too good to be true."""
    book = Book()
    book.market(0, volume="1000")
    book.send(0, {"time_in_force": "GTC", "price": Decimal(PRICE)}, quantity="1")
    order = book.machine.state.working[0]

    seen = []
    for at_ms, fields in ((249, {}), (250, {"ask": None}), (260, {"bid": "30000", "ask": "30001"}), (270, {})):
        book.market(at_ms, "5", **fields)
        seen.append(order.resting is not None)

    assert seen == [False, False, False, True]


def test_a_sale_rests_on_the_other_side() -> None:
    """At 40001 behind 3; what trades above it has gone through."""
    book = Book()
    after = book.hold("1")
    book.rest(after, price="40001", side="SELL", purpose="exit")

    (made,) = book.market(after + 500, "3.25", "40002", ask="40003", bid="40001.5")

    assert (made.side, made.last_quantity, made.last_price, made.liquidity) == (
        "SELL", Decimal("0.25"), Decimal(40_001), "maker",
    )  # fmt: skip


def test_its_life_is_six_times_that_of_an_immediate_order() -> None:
    """After 60 s the rest is cancelled, by the clock or by a quote, and its place is told."""
    by_clock, by_quote = Book(), Book()
    for book in (by_clock, by_quote):
        book.rest()
        book.market(1_000, "2.5", PRICE)
        book.tick(59_999)

    (ticked,) = results(by_clock.tick(60_000))
    (quoted,) = by_quote.market(60_000, "50", PRICE)

    for ended in (ticked, quoted):
        assert (ended.status, ended.filled_quantity) == ("CANCELED", Decimal("0.5"))
        assert ended.reason == "LIFETIME: 0.5 of 1 has not filled; RESTING: 0 ahead of it at 39999"


def test_an_operators_halt_cancels_it() -> None:
    """As any working entry."""
    book = Book()
    book.rest()
    (ended,) = results(book.halt())
    assert (ended.status, (ended.reason or "")[:13]) == ("CANCELED", "TRADING_STATE")


def test_an_exit_ends_the_entry_that_still_rests() -> None:
    """Who leaves an instrument does not go on entering it."""
    book = Book()
    book.rest()
    book.market(1_000, "2.5", PRICE)

    new, ended = results(book.send(2_000, side="SELL", purpose="stop_loss", quantity="0.5"))

    assert (new.status, new.side) == ("NEW", "SELL")
    assert (ended.status, ended.reason, ended.filled_quantity) == ("CANCELED", "EXIT: stop_loss came", Decimal("0.5"))


@pytest.mark.parametrize("mode", ["shadow", "live"])
def test_nothing_that_rests_goes_to_an_exchange(mode: str) -> None:
    """There only immediate-or-cancel orders are sent."""
    book = Book(TRADING_MODE=mode)
    (refused,) = results(book.send(0, {"time_in_force": "GTC"}))
    assert refused.reason == "TIME_IN_FORCE: GTC is not supported"


def test_on_a_perpetual_it_waits_for_a_mark_pays_a_makers_fee_and_ends_with_a_liquidation() -> None:
    """0.0006 of the value by the exchange's schedule for its API; what still rests goes with the position."""
    book = Book(VENUE="mexc_perpetual")
    fields = {"venue": "mexc_perpetual"}
    book.market(0, volume="1000", **fields)
    book.send(0, {"time_in_force": "GTC", "price": Decimal(PRICE), "leverage": 5}, quantity="1", **fields)
    book.market(250, **fields)
    assert book.machine.state.working[0].resting is None
    book.market(500, mark_price=Decimal(40_000), **fields)

    (fill,) = book.market(1_000, "2.5", PRICE, mark_price=Decimal(40_000), **fields)
    *_, ended = book.market(2_000, bid="31999", ask="32001", mark_price=Decimal(32_000), **fields)

    assert (fill.last_quantity, fill.liquidity, fill.fee) == (Decimal("0.5"), "maker", Decimal("11.9997"))
    assert (ended.status, (ended.reason or "")[:10], ended.filled_quantity) == (
        "CANCELED",
        "LIQUIDATED",
        Decimal("0.5"),
    )
    assert ExecutionSettings().maker_fee("mexc_spot") == 0


def test_explain_shows_queue_and_volume() -> None:
    """What traded, what counted, what was ahead, and what decided; a size nobody has shown is named."""
    book = Book()
    book.rest()
    (fill,) = book.market(1_000, "2.4", PRICE)

    text = "\n".join(fill_lines(fill))

    assert "as maker" in text
    assert "rule: paper_queue_v1, rested at 39,999.00" in text
    assert "2.4 BTC traded, to 39,999.00; 2.4 of it counts, 2 was ahead, 0.4 came to us" in text
    assert "decided by what traded beyond the queue" in text


def test_nobody_but_risk_may_rest() -> None:
    """The gate of decisions is the same: an order without one is refused."""
    book = Book()
    decision = book.decision(0)
    (refused,) = results(book.append(book.order_of(decision, time_in_force="GTC", price=Decimal(PRICE))))
    assert (refused.status, (refused.reason or "")[:16]) == ("REJECTED", "DECISION_MISSING")
    assert decision.producer == channels.RISK
