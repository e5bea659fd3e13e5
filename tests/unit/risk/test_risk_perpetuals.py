"""Perpetuals in risk: longs and shorts are decided, protected and closed by the same rules, each in its direction."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from services.cdb_risk.protective import stop_price
from services.common.events import Event, LayerVerdict, Order, RiskDecision
from services.common.instruments import PERPETUAL
from services.common.portfolio import Position
from tests.unit.risk.risk_desk import RiskDesk

pytestmark = [pytest.mark.unit, pytest.mark.risk]

KEY = "mexc_perpetual:BTCUSDT"


class PerpetualDesk(RiskDesk):
    """A desk whose market is the BTC perpetual; sizes are large and the mark is the mid unless it is given."""

    def __init__(self, **changed: Any) -> None:
        super().__init__(**{"VENUE": PERPETUAL, "SIGNAL_ALLOW_SHORT": True} | changed)

    def quote(self, bid: Any = "49999.9", ask: Any = "50000.1", *, mark: Any = "mid", **fields: Any) -> list[Event]:
        """Journal a quote of the perpetual with its mark."""
        if mark == "mid":
            mark = None if bid is None or ask is None else (Decimal(bid) + Decimal(ask)) / 2
        fields = {"venue": PERPETUAL, "size": 1_000, "volume": 1_000} | fields
        return super().quote(bid, ask, mark_price=None if mark is None else Decimal(mark), **fields)

    def signal(self, *args: Any, **fields: Any) -> RiskDecision:
        """Journal a signal on the perpetual."""
        return super().signal(*args, **{"venue": PERPETUAL} | fields)

    def short(self, **fields: Any) -> Order:
        """Give a short entry that must be approved, and return its order."""
        decision = self.signal("sell", **fields)
        assert decision.approved, decision.layers
        return self.orders[-1]

    def hold_short(self, price: Any = 50_000) -> Order:
        """Sell short and fill at `price`, after a quote."""
        self.quote()
        order = self.short()
        self.result(order, price=price)
        return order

    @property
    def held(self) -> Decimal:
        """What is held of the perpetual, signed."""
        return self.machine.state.account.portfolio.position(PERPETUAL, "BTCUSDT").quantity


@pytest.fixture
def desk() -> PerpetualDesk:
    """A desk of perpetuals where shorts are allowed."""
    return PerpetualDesk()


def layer(decision: RiskDecision, name: str) -> LayerVerdict:
    """Return one layer's verdict."""
    return next(verdict for verdict in decision.layers if verdict.layer == name)


def purposes(outputs: list[Event]) -> list[tuple[str, str]]:
    """Return purpose and side of the orders among outputs."""
    return [(event.purpose, event.side) for event in outputs if isinstance(event, Order)]


def test_a_long_is_bought_in_whole_contracts(desk: PerpetualDesk) -> None:
    """7500 USDT at 50000.1 are 0.1499997 BTC: 1499 contracts; limit 0.2 % over the ask on the 0.1 grid."""
    desk.quote()
    order = desk.buy()
    assert (order.side, order.quantity, order.price) == ("BUY", Decimal("0.1499"), Decimal("50100.1"))
    assert (order.venue, order.leverage, order.reduce_only) == (PERPETUAL, 1, False)


def test_a_short_is_sold_at_the_bid(desk: PerpetualDesk) -> None:
    """7500 USDT at 49999.9 are 0.1500003 BTC: 1500 contracts; limit 0.2 % under the bid."""
    desk.quote()
    order = desk.short()
    assert (order.side, order.quantity, order.price) == ("SELL", Decimal("0.15"), Decimal(49900))
    assert (order.purpose, order.reduce_only) == ("entry", False)


def test_the_order_carries_the_leverage_and_the_ledger_locks_the_margin() -> None:
    """Leverage 5: a long of 0.1499 BTC at 50000 is 7495 USDT and locks 1499 of them."""
    desk = PerpetualDesk(LEVERAGE=5)
    desk.quote()
    order = desk.buy()
    assert order.leverage == 5
    desk.result(order, price=50_000, fee="5.996")
    portfolio = desk.machine.state.account.portfolio
    assert (portfolio.margin, portfolio.cash) == (1_499, Decimal("98495.004"))
    desk.quote("50999.9", "51000.1")
    assert portfolio.equity == Decimal("99994.004") + Decimal("149.9")


@pytest.mark.parametrize("changed", [{"SIGNAL_ALLOW_SHORT": False}, {"VENUE": "mexc_spot"}])
def test_no_short_without_the_setting_and_never_on_spot(changed: dict[str, Any]) -> None:
    """A short needs SIGNAL_ALLOW_SHORT and a perpetual."""
    desk = PerpetualDesk(**changed)
    venue = changed.get("VENUE", PERPETUAL)
    desk.quote(venue=venue)
    decision = desk.signal("sell", venue=venue)
    assert layer(decision, "position_limits").code == "SHORT_NOT_ALLOWED"
    assert not decision.approved


def test_a_short_counts_with_its_notional_and_blocks_a_second_entry(desk: PerpetualDesk) -> None:
    """Exposure is |q| * mark; no pyramiding and no flip by an entry in the other direction."""
    desk.hold_short()
    decision = desk.signal("buy")
    assert layer(decision, "position_limits").code == "ALREADY_POSITIONED"
    assert decision.portfolio.exposure == decision.portfolio.position_notional == 7_500
    assert decision.portfolio.position == Decimal("-0.15")


def test_a_pending_short_counts_as_filled(desk: PerpetualDesk) -> None:
    """From approval on its notional is part of the exposure."""
    desk.quote()
    desk.short()
    decision = desk.signal("sell")
    assert layer(decision, "position_limits").code == "ENTRY_WORKING"
    assert decision.portfolio.exposure == 7_500


def test_an_exit_of_a_short_buys_reduce_only_at_the_ask(desk: PerpetualDesk) -> None:
    """Buy back what is held, limit 0.4 % over the ask."""
    desk.hold_short()
    decision = desk.signal("buy", "exit")
    order = desk.orders[-1]
    assert (decision.approved, order.side, order.purpose) == (True, "BUY", "exit")
    assert (order.quantity, order.price, order.reduce_only) == (Decimal("0.15"), Decimal("50200.1"), True)
    desk.result(order, price=50_000)
    assert desk.held == 0
    assert not desk.machine.state.exits


def test_an_exit_in_the_wrong_direction_is_nothing_to_do(desk: PerpetualDesk) -> None:
    """A sale does not close a short, and is not latched."""
    desk.hold_short()
    decision = desk.signal("sell", "exit")
    assert (decision.approved, decision.reason, decision.side) == (False, "NO_POSITION", "SELL")
    assert not desk.machine.state.exits


def test_an_exit_waits_for_a_short_entry_that_may_still_fill(desk: PerpetualDesk) -> None:
    """The wish to close is latched while the entry works, and leaves with the first quote after its fill."""
    desk.quote()
    order = desk.short()
    assert desk.signal("buy", "exit").reason == "NO_POSITION"
    assert desk.machine.state.exits[KEY].purpose == "exit"
    desk.result(order, price=50_000)
    assert purposes(desk.quote(at_ms=3_000)) == [("exit", "BUY")]


@pytest.mark.parametrize(
    ("mark", "stopped"), [("50999.9", False), ("51000", True), ("51500", True), (None, False), ("49000", False)]
)
def test_a_short_stops_on_the_mark(desk: PerpetualDesk, mark: str | None, stopped: bool) -> None:
    """Entry 50000, stop 2 %: at a mark of 51000 it buys back, wherever bid and ask are; without a mark it cannot."""
    desk.hold_short()
    outputs = desk.quote(mark=mark, at_ms=1_000)
    assert purposes(outputs) == ([("stop_loss", "BUY")] if stopped else [])


@pytest.mark.parametrize(("mark", "stopped"), [("49000.1", False), ("49000", True)])
def test_a_long_stops_on_the_mark(desk: PerpetualDesk, mark: str, stopped: bool) -> None:
    """Entry 50000, stop 2 %: at a mark of 49000 it sells, whatever the bid."""
    desk.quote()
    desk.result(desk.buy(), price=50_000)
    outputs = desk.quote(mark=mark, at_ms=1_000)
    assert purposes(outputs) == ([("stop_loss", "SELL")] if stopped else [])
    if stopped:
        reason = desk.machine.state.exits[KEY].reason
        assert reason == "mark 49000 reached the stop, 0.02 under the entry"


def test_flatten_closes_a_short(desk: PerpetualDesk) -> None:
    """The operator's flatten buys it back."""
    desk.hold_short()
    outputs = desk.command("flatten", by="ana", reason="enough")
    assert purposes(outputs) == [("flatten", "BUY")]


def test_the_screen_shows_the_stop_of_a_short(desk: PerpetualDesk) -> None:
    """Over the entry."""
    desk.hold_short()
    shown = desk.machine.summary()["positions"][0]
    assert (shown["quantity"], shown["stop_price"]) == (Decimal("-0.15"), 51_000)
    assert stop_price(Position(PERPETUAL, "BTCUSDT"), Decimal("0.02")) is None


# what the exchange does


def fact(desk: PerpetualDesk, action: str, producer: str = "cdb_execution", **details: Any) -> list[Event]:
    """Journal funding or a liquidation of the BTC perpetual."""
    return desk.command(action, producer, details={"venue": PERPETUAL, "symbol": "BTCUSDT", **details})


def test_funding_counts_in_equity_and_losses() -> None:
    """A payment of 2 USDT lowers cash and equity; one that reaches the daily limit ends the day's entries."""
    desk = PerpetualDesk(LEVERAGE=5)
    desk.hold_short()
    portfolio = desk.machine.state.account.portfolio
    before = portfolio.equity
    fact(desk, "funding", amount=Decimal(-2))
    assert before is not None
    assert (portfolio.funding, portfolio.equity) == (-2, before - 2)
    fact(desk, "funding", amount=Decimal(-5_000))
    assert desk.states == ["REDUCING"]


def test_a_liquidation_empties_the_position_and_drops_what_was_wanted_of_it() -> None:
    """The working exit ends with its own result; then the position is gone, and nothing is latched any more."""
    desk = PerpetualDesk(LEVERAGE=5)
    desk.hold_short()
    desk.quote(mark=51_000, at_ms=1_000)
    stop = desk.orders[-1]
    assert stop.purpose == "stop_loss"
    desk.result(stop, "CANCELED", reason="LIQUIDATED: at mark 59990")
    assert KEY in desk.machine.state.exits
    fact(desk, "liquidation")
    portfolio = desk.machine.state.account.portfolio
    assert (desk.held, portfolio.margin, portfolio.realized_pnl) == (0, 0, -1_500)
    assert not desk.machine.state.exits
    assert not desk.machine.state.reservations.orders
    assert portfolio.equity == 98_500


def test_facts_of_others_are_not_believed(desk: PerpetualDesk) -> None:
    """Only cdb_execution speaks for the exchange."""
    desk.hold_short()
    fact(desk, "liquidation", "operator")
    assert desk.held == Decimal("-0.15")


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_mark_over_the_quote_makes_the_order_smaller(side: str) -> None:
    """A mark of 52000 beside a quote of 50000 values the position: 10 % of 100000 are 0.1922 BTC at it, no more."""
    desk = PerpetualDesk(RISK_PER_TRADE_PCT="0.01")
    desk.quote(mark="52000")
    decision = desk.signal(side)
    assert decision.approved, decision.layers
    (order,) = desk.orders
    assert order.quantity == Decimal("0.1921")  # 10000 / (52000 * 1.0008) = 0.192154...
    assert order.quantity * 52_000 <= 10_000
    assert decision.sizing.capped_by == "position_limits"
