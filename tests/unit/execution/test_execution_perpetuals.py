"""The paper exchange on perpetuals: no fill flips, fees, funding once per settlement, liquidation on the mark."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from services.cdb_execution.perpetuals import Perpetual
from services.common.events import Alert, Control, Event, OrderResult
from services.common.instruments import PERPETUAL
from services.common.portfolio import Position
from services.common.timestamps import format_timestamp
from tests.unit.execution.execution_desk import START_US, Desk
from tests.unit.execution.test_execution_resolving import answer, command, refusals

pytestmark = pytest.mark.unit

KEY = "mexc_perpetual:BTCUSDT"
HOUR_MS = 3_600_000
AT_16_MS = 4 * HOUR_MS
"""The desk begins at 12:00:00 UTC."""


class PerpetualDesk(Desk):
    """A desk whose market is the BTC perpetual, deep, with the mark at the mid unless it is given."""

    def __init__(self, **changed: Any) -> None:
        super().__init__(**{"VENUE": PERPETUAL, "RISK_SILENCE_SEC": 3_600, "MAX_LEVERAGE": 125} | changed)

    def quote(self, at_ms: int, bid: str | None = "39999.9", ask: str | None = "40000.1", **fields: Any) -> list[Event]:
        """Journal a deep quote of the perpetual."""
        if "mark_price" not in fields and bid is not None and ask is not None:
            fields["mark_price"] = (Decimal(bid) + Decimal(ask)) / 2
        return super().quote(at_ms, bid, ask, **{"venue": PERPETUAL, "size": "1000", "volume": "100000"} | fields)

    def send(self, at_ms: int, order: dict[str, Any] | None = None, **decision: Any) -> list[Event]:
        """Send an order on the perpetual."""
        return super().send(at_ms, order, **{"venue": PERPETUAL} | decision)

    def hold(self, quantity: str, at_ms: int = 0, *, short: bool = False, leverage: int = 1) -> int:
        """Open a position at 40000.1 (a short at 39999.9) and return the time after it, milliseconds."""
        side = "SELL" if short else "BUY"
        price = Decimal("39919.9" if short else "40080.1")
        self.send(at_ms, {"leverage": leverage, "price": price}, quantity=quantity, side=side)
        self.quote(at_ms + 250)
        assert self.results[-1].status == "FILLED", self.results[-1]
        return at_ms + 250

    def close(self, at_ms: int, quantity: str, side: str, **order: Any) -> list[Event]:
        """Send a reduce-only exit."""
        price = Decimal("40160.1" if side == "BUY" else "39839.9")
        return self.send(at_ms, {"price": price} | order, quantity=quantity, side=side, purpose="exit")

    @property
    def held(self) -> Decimal:
        """What the exchange holds for us, signed."""
        quantity = self.machine.state.positions.get(KEY, Decimal(0))
        perpetual = self.machine.state.perpetuals.get(KEY)
        assert perpetual is None or perpetual.position.quantity == quantity
        return quantity

    def facts(self, action: str) -> list[Any]:
        """Details of the facts of one kind so far."""
        return [e.details for e in self.outputs if isinstance(e, Control) and e.action == action]


@pytest.fixture
def desk() -> PerpetualDesk:
    """A configured desk."""
    return PerpetualDesk()


def refused(outputs: list[Event]) -> str:
    """Return the reason of the rejection among outputs."""
    (result,) = [event for event in outputs if isinstance(event, OrderResult)]
    assert result.status == "REJECTED"
    assert result.reason is not None
    return result.reason


# orders and fills


def test_a_long_fills_at_the_ask_with_the_perpetual_fee(desk: PerpetualDesk) -> None:
    """0.25 BTC at 40000.1, a touch of impact beyond: fee 0.08 % of the notional, in quote currency."""
    desk.hold("0.25")
    fill = desk.results[-1]
    assert (fill.last_quantity, fill.fee_currency, fill.liquidity) == (Decimal("0.25"), "USDT", "taker")
    assert fill.last_price is not None
    assert fill.fee == Decimal("0.25") * fill.last_price * Decimal("0.0008")
    assert desk.held == Decimal("0.25")


def test_a_short_is_opened_and_bought_back(desk: PerpetualDesk) -> None:
    """An entry may sell; a reduce-only purchase closes it."""
    at = desk.hold("0.25", short=True)
    assert desk.held == Decimal("-0.25")
    desk.close(at, "0.25", "BUY")
    desk.quote(at + 250)
    assert (desk.results[-1].status, desk.held) == ("FILLED", 0)


def test_partial_fills_come_in_whole_contracts(desk: PerpetualDesk) -> None:
    """A touch of 0.00037 BTC lets four times that through: 14 contracts of 0.0001 BTC, not 14.8."""
    desk.quote(0)
    desk.send(0, {"price": Decimal("40080.1")}, quantity="0.25")
    desk.quote(250, size="0.00037")
    assert desk.held == Decimal("0.0014")
    assert desk.results[-1].status == "CANCELED"


@pytest.mark.parametrize(
    ("order", "decision", "code"),
    [
        ({"reduce_only": True}, {}, "SIDE: entry that is reduce-only"),
        ({"reduce_only": False}, {"purpose": "exit", "side": "SELL"}, "SIDE: exit that is not reduce-only"),
        ({}, {"purpose": "exit", "side": "SELL"}, "EXCEEDS_POSITION: sells 0.2, but only 0 can be sold"),
        ({}, {"purpose": "exit"}, "EXCEEDS_POSITION: buys 0.2, but only 0 can be bought back"),
        ({"quantity": Decimal("0.00015")}, {}, "LOT_GRID: quantity 0.00015 is not a multiple of 0.0001"),
        ({"leverage": 125}, {"quantity": "7"}, "LEVERAGE: leverage 125, allowed is 100 at this size"),
    ],
)
def test_what_perpetuals_refuse(
    desk: PerpetualDesk, order: dict[str, Any], decision: dict[str, Any], code: str
) -> None:
    """Each with its code and numbers."""
    desk.quote(0)
    given = {"price": Decimal("40080.1"), **order}
    assert refused(desk.send(0, given, **decision)) == code


def test_the_leverage_of_the_tier_itself_is_allowed(desk: PerpetualDesk) -> None:
    """7 BTC are of the tier that allows 100."""
    desk.quote(0)
    desk.send(0, {"price": Decimal("40080.1"), "leverage": 100}, quantity="7")
    assert desk.results[-1].status == "NEW"


def test_leverage_over_the_setting_is_refused_whatever_risk_says() -> None:
    """The second key: 5 by default."""
    desk = PerpetualDesk(MAX_LEVERAGE=5)
    desk.quote(0)
    price = {"price": Decimal("40080.1")}
    assert refused(desk.send(0, {**price, "leverage": 6})) == "LEVERAGE: leverage 6, allowed is 5 at this size"
    desk.send(0, {**price, "leverage": 5})
    assert desk.results[-1].status == "NEW"


def test_no_entry_beyond_the_largest_tier(desk: PerpetualDesk) -> None:
    """SOL has at most 1 200 000 contracts of 0.1: nothing that large is opened."""
    price = {"price": Decimal(21), "reference_price": Decimal(20)}
    reason = refused(desk.send(0, price, symbol="SOLUSDT", quantity="120000.1"))
    assert reason == "LEVERAGE: leverage 1, allowed is none beyond the largest tier"


def test_no_entry_turns_a_position_around(desk: PerpetualDesk) -> None:
    """Neither against what is held, nor against an entry that still works."""
    at = desk.hold("0.1")
    sells = {"price": Decimal("39919.9")}
    assert refused(desk.send(at, sells, side="SELL")) == "WOULD_FLIP: SELL, but 0.1 is held and 0 being entered"
    working = PerpetualDesk()
    working.send(0, {"price": Decimal("40080.1")}, quantity="0.1")
    assert refused(working.send(0, sells, side="SELL")) == "WOULD_FLIP: SELL, but 0 is held and 0.1 being entered"


def test_two_exits_do_not_close_more_than_is_held(desk: PerpetualDesk) -> None:
    """What one exit is closing is not there for the next, in both directions."""
    at = desk.hold("0.1", short=True)
    desk.close(at, "0.06", "BUY")
    reason = refused(desk.close(at, "0.05", "BUY"))
    assert reason == "EXCEEDS_POSITION: buys 0.05, but only 0.04 can be bought back"


def test_nothing_fills_before_a_mark_has_come(desk: PerpetualDesk) -> None:
    """Without a mark neither margin nor liquidation is known."""
    desk.send(0, {"price": Decimal("40080.1")})
    desk.quote(250, mark_price=None)
    desk.tick(10_000)
    result = desk.results[-1]
    assert (result.status, result.reason) == (
        "EXPIRED",
        "NO_QUOTE: no mark price has come, so margin and liquidation are not known",
    )


def test_perpetuals_are_off_by_default() -> None:
    """With VENUE=mexc_spot an order on a perpetual is refused."""
    reason = refused(Desk().send(0, venue=PERPETUAL))
    assert reason == "UNKNOWN_INSTRUMENT: BTCUSDT on mexc_perpetual"


# funding


def test_funding_is_paid_once_per_settlement(desk: PerpetualDesk) -> None:
    """Long 0.5 at a mark of 40000 and a rate of 0.01 %: 2 USDT are paid at 16:00 by the first event after it."""
    at = desk.hold("0.5")
    desk.quote(at + 1, funding_rate=Decimal("0.0001"))
    desk.tick(AT_16_MS - 1)
    assert desk.facts("funding") == []
    desk.tick(AT_16_MS)
    desk.tick(AT_16_MS + 1_000)
    desk.quote(AT_16_MS + 2_000)
    assert desk.facts("funding") == [
        {
            "venue": PERPETUAL,
            "symbol": "BTCUSDT",
            "settlement": "2021-05-19T16:00:00.000000Z",
            "rate": Decimal("0.0001"),
            "rate_known": True,
            "flagged": False,
            "mark": 40_000,
            "quantity": Decimal("0.5"),
            "amount": -2,
        }
    ]


def test_what_came_before_the_settlement_decides(desk: PerpetualDesk) -> None:
    """Mark and rate of the quote that shows the settlement to have passed do not count, nor do its fills."""
    at = desk.hold("0.5", short=True)
    desk.quote(at + 1, funding_rate=Decimal("0.0002"))
    desk.close(AT_16_MS - 250, "0.5", "BUY")
    desk.quote(AT_16_MS, "40000.9", "40001.1", funding_rate=Decimal("-0.0003"))
    assert desk.held == 0
    (fact,) = desk.facts("funding")
    assert (fact["mark"], fact["rate"], fact["quantity"], fact["amount"]) == (
        40_000,
        Decimal("0.0002"),
        Decimal("-0.5"),
        4,
    )


@pytest.mark.parametrize(("short", "rate"), [(False, "0.0001"), (True, "-0.0001")])
@pytest.mark.parametrize("stale", [False, True])
def test_an_unknown_rate_is_against_us_and_flagged(*, short: bool, rate: str, stale: bool) -> None:
    """0.0001 of the notional is paid, long or short, when no rate came or the last is over eight hours old."""
    desk = PerpetualDesk()
    if stale:
        desk.quote(0, funding_rate=Decimal("-0.0005" if not short else "0.0005"))
        desk.tick(AT_16_MS + 1)
        desk.hold("0.5", AT_16_MS + 2, short=short)
        desk.tick(AT_16_MS + 8 * HOUR_MS)
    else:
        desk.hold("0.5", short=short)
        desk.tick(AT_16_MS)
    (fact,) = desk.facts("funding")
    assert (fact["flagged"], fact["rate_known"], fact["rate"], fact["amount"]) == (True, False, Decimal(rate), -2)


def test_a_long_silence_settles_everything_that_passed(desk: PerpetualDesk) -> None:
    """A clock that jumps from 12:00 to 00:30 settles 16:00 and 00:00."""
    desk.hold("0.5")
    desk.tick(12 * HOUR_MS + 1_800_000)
    assert [fact["settlement"] for fact in desk.facts("funding")] == [
        format_timestamp(START_US + AT_16_MS * 1_000),
        format_timestamp(START_US + 12 * HOUR_MS * 1_000),
    ]


def test_flat_is_not_funded(desk: PerpetualDesk) -> None:
    """A perpetual without a position settles nothing."""
    desk.quote(0, funding_rate=Decimal("0.01"))
    desk.tick(AT_16_MS)
    assert desk.facts("funding") == []


def test_without_any_mark_the_entry_price_stands_for_it() -> None:
    """A fill by an operator's word of an instrument without market data is funded at its entry, not liquidated."""
    held = Perpetual(Position(PERPETUAL, "BTCUSDT", Decimal(2), Decimal(200), margin=Decimal(1)))
    fact = held.fund(0)
    assert fact is not None
    assert (fact.mark, fact.amount) == (100, Decimal("-0.02"))
    assert held.liquidate(None) is None  # type: ignore[arg-type]


# liquidation


def test_a_long_is_liquidated_when_the_mark_reaches_its_price(desk: PerpetualDesk) -> None:
    """Leverage 5 at 40001 or so: (entry - margin/q) / (1 - 0.0014) is about 32046; margin lost, position gone, once."""
    desk.hold("0.5", leverage=5)
    entry = desk.results[-1].last_price
    assert entry is not None
    margin = entry / 10
    price = (entry * Decimal("0.8")) / Decimal("0.9986")
    desk.quote(1_000, "32199.9", "32200.1")
    assert desk.facts("liquidation") == []
    outputs = desk.quote(2_000, "31999.9", "32000.1")
    (fact,) = desk.facts("liquidation")
    assert abs(fact["price"] - price) < Decimal("1e-11")
    assert (fact["entry"], fact["mark"], fact["quantity"]) == (entry, 32_000, Decimal("0.5"))
    assert fact["margin"] == fact["loss"] == margin
    assert fact["maintenance"] == Decimal("0.0014")
    assert [event.code for event in outputs if isinstance(event, Alert)] == ["POSITION_LIQUIDATED"]
    assert desk.held == 0
    assert desk.quote(3_000, "31899.9", "31900.1") == []


def test_a_short_is_liquidated_above(desk: PerpetualDesk) -> None:
    """Leverage 5: at about 1.2 / 1.0014 of the entry."""
    desk.hold("0.5", short=True, leverage=5)
    desk.quote(1_000, "47899.9", "47900.1")
    assert desk.facts("liquidation") == []
    desk.quote(2_000, "47949.9", "47950.1")
    assert len(desk.facts("liquidation")) == 1
    assert desk.held == 0


def test_leverage_one_is_never_liquidated_long(desk: PerpetualDesk) -> None:
    """The whole value is margin."""
    desk.hold("0.5")
    desk.quote(1_000, "99.9", "100.1")
    assert desk.facts("liquidation") == []


def test_a_mark_far_from_its_quote_is_not_believed(desk: PerpetualDesk) -> None:
    """One bad tick of the mark, 20 % under the quote beside it, liquidates nothing; without a quote it is believed."""
    desk.hold("0.5", leverage=5)
    desk.quote(1_000, mark_price=Decimal(32_000))
    assert desk.facts("liquidation") == []
    desk.quote(2_000, None, None, mark_price=Decimal(32_000))
    assert len(desk.facts("liquidation")) == 1


def test_a_working_exit_of_a_liquidated_position_is_cancelled(desk: PerpetualDesk) -> None:
    """First its order ends, then the position: so that reservations end properly. A later exit is refused."""
    at = desk.hold("0.5", leverage=5)
    desk.close(at, "0.5", "SELL")
    outputs = desk.quote(at + 300, "31999.9", "32000.1")
    kinds = [event.status if isinstance(event, OrderResult) else event.type for event in outputs]
    assert kinds == ["CANCELED", "control", "alert"]
    assert desk.results[-1].reason == "LIQUIDATED: at mark 32000"
    assert refused(desk.close(at + 400, "0.5", "SELL")).startswith("EXCEEDS_POSITION")
    assert desk.machine.state.working == []


def test_an_order_of_another_instrument_works_on(desk: PerpetualDesk) -> None:
    """Only what worked on the liquidated position ends."""
    desk.hold("0.5", leverage=5)
    desk.send(1_000, {"price": Decimal(2_001), "reference_price": Decimal(2_000)}, symbol="ETHUSDT", quantity="1")
    desk.quote(1_100, "31999.9", "32000.1")
    assert [order.symbol for order in desk.machine.state.working] == ["ETHUSDT"]


def test_the_state_survives_a_restart() -> None:
    """Position, margin, mark, rate and settled interval come back: restored at every step, the outputs are the same."""
    steady, restarting = PerpetualDesk(), PerpetualDesk(restarting=True)
    for desk in (steady, restarting):
        at = desk.hold("0.5", leverage=5)
        desk.quote(at + 1, funding_rate=Decimal("0.0003"))
        desk.tick(AT_16_MS)
        desk.quote(AT_16_MS + 1, "31999.9", "32000.1")
    assert [e.data for e in steady.outputs] == [e.data for e in restarting.outputs]
    assert len(steady.facts("funding")) == len(steady.facts("liquidation")) == 1
    assert steady.machine.summary()["perpetuals"][KEY]["mark"] == 32_000


# an operator's word on an order whose end is unknown


def test_a_resolved_fill_has_its_margin(desk: PerpetualDesk) -> None:
    """An entry that execution never saw filled at 40000 with leverage 5: 0.2 BTC, 1600 of margin, perpetual fee."""
    asked = command(desk, outcome="filled", price=Decimal(40_000))
    answer(desk, asked, "filled", "0.2", price=Decimal(40_000), venue=PERPETUAL, leverage=5)
    result = desk.results[-1]
    assert (result.status, result.fee, desk.held) == ("FILLED", Decimal("6.4"), Decimal("0.2"))
    assert desk.machine.state.perpetuals[KEY].position.margin == 1_600


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"side": "BUY", "purpose": "exit"}, "order ord-lost is said to close 0.2, but -0.1 is held"),
        ({"side": "SELL", "purpose": "exit"}, "order ord-lost is said to close 0.2, but -0.1 is held"),
        ({"side": "BUY"}, "order ord-lost is said to enter against the -0.1 that is held"),
    ],
)
def test_a_resolution_that_cannot_be_is_refused(desk: PerpetualDesk, fields: dict[str, Any], told: str) -> None:
    """What would turn the position around is not booked: every ledger would stop at it."""
    desk.hold("0.1", short=True)
    asked = command(desk, outcome="filled", price=Decimal(40_000))
    answer(desk, asked, "filled", "0.2", price=Decimal(40_000), venue=PERPETUAL, **fields)
    assert refusals(desk) == [told]
    assert desk.held == Decimal("-0.1")
