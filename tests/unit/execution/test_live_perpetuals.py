"""Perpetuals at the exchange: wallet, positions, their terms and funding are compared, and settlements counted once."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from services.cdb_execution.adapters.keys import Keys, MexcAddresses
from services.cdb_execution.adapters.open_account import open_account
from services.cdb_execution.live.account import Account, Held
from services.cdb_execution.live.perpetual_books import PerpetualBooks, compare_perpetuals, price_of_change
from services.cdb_sandbox.clock import SteppedClock
from services.cdb_sandbox.house import SandboxOptions
from services.cdb_sandbox.sandbox import SandboxExchange
from services.common import channels
from services.common.account_facts import book_adjustment
from services.common.errors import ContractViolation
from services.common.events import Control
from services.common.perpetual_facts import book_fact, read_payment
from services.common.portfolio import Portfolio, Position
from services.common.timestamps import HOUR_US
from tests.unit.execution.execution_desk import START_US
from tests.unit.execution.perpetual_world import PERP, PerpetualWorld

pytestmark = [pytest.mark.unit, pytest.mark.risk]


def controls(world: PerpetualWorld, action: str) -> list[Control]:
    """All control events of an action."""
    found = (entry.event for entry in world.entries)
    return [event for event in found if isinstance(event, Control) and event.action == action]


def accept(world: PerpetualWorld, *names: str) -> None:
    """Give the operator's word on differences."""
    details: dict[str, Any] = {"accept": list(names)}
    world.control("resume", producer=channels.OPERATOR, by="ada", reason="seen", details=details)
    world.compare()


def test_a_round_trip_with_profit_agrees_to_the_cent() -> None:
    """Fees and realised profit are in the wallet, the margin comes and goes: books and exchange agree all along."""
    world = PerpetualWorld()
    world.hold()
    world.quote("41000")
    world.compare()
    assert world.verdicts()[-1] == "agreed"
    world.order("SELL", "0.2", "take_profit")
    world.compare()

    assert world.exchange.held == 0
    assert world.verdicts()[-1] == "agreed"
    assert "RECONCILIATION_DIFFERENCE" not in world.alerts()
    assert world.machine.state.live.wallet == world.exchange.wallet - 10_000


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("balance:USDT", {"wallet": Decimal(9_000)}),
        ("position:BTCUSDT", {"held": Decimal("0.1")}),
        ("entry:BTCUSDT", {"entry": Decimal(40_100)}),
        ("leverage:BTCUSDT", {"leverage": 5}),
        ("margin:BTCUSDT", {"margin": Decimal(4_500)}),
        ("margin_mode:BTCUSDT", {"isolated": False}),
        ("available:USDT", {"hidden": Decimal(500)}),
        ("equity:USDT", {"mark": Decimal(45_000)}),
    ],
)
def test_each_thing_that_differs_freezes_alerts_and_can_be_accepted(name: str, change: dict[str, Any]) -> None:
    """Wallet, quantity, entry, leverage, margin, margin mode, available, equity: seen twice, it freezes by its name."""
    world = PerpetualWorld()
    world.hold()
    world.quote()
    for field, value in change.items():
        setattr(world.exchange, field, value)
    world.compare()

    live = world.machine.state.live
    assert name in live.difference_names()
    assert world.machine.state.trading_state == "FROZEN"
    assert world.alerts().count("RECONCILIATION_DIFFERENCE") == 1
    told = controls(world, "reconciliation")[-1].details["differences"]
    assert name in [found["name"] for found in told]

    for _ in range(3):
        if live.differences:
            accept(world, *live.difference_names())
    world.compare()
    assert world.verdicts()[-1] == "agreed"
    assert world.machine.state.trading_state == "ACTIVE"


def test_an_old_mark_of_ours_says_nothing_about_the_equity() -> None:
    """A feed that is silent while the market moves is no difference: trading does not freeze for it."""
    world = PerpetualWorld()
    world.hold()
    world.settle(30)
    world.exchange.mark = Decimal(45_000)
    world.compare()
    assert world.verdicts()[-1] == "agreed"


def test_what_was_accepted_as_it_is_is_told_again_when_it_changes() -> None:
    """A leverage that an operator accepted is no difference; another one is."""
    world = PerpetualWorld()
    world.hold()
    world.exchange.leverage = 5
    world.compare()
    accept(world, "leverage:BTCUSDT")
    assert world.machine.state.trading_state == "ACTIVE"

    world.exchange.leverage = 7
    world.compare()
    assert world.machine.state.live.difference_names() == ["leverage:BTCUSDT"]


@pytest.mark.parametrize("by_hand", ["0.3", "-0.1", "-0.2", "-0.5", "0.1"])
def test_a_position_changed_by_hand_is_taken_over_with_its_terms(by_hand: str) -> None:
    """Accepted, our books are the exchange's in quantity, entry and wallet, in every ledger that folds the event."""
    world = PerpetualWorld()
    world.hold()
    ledger = Portfolio.with_cash(Decimal(10_000))
    for result in world.results:
        ledger.book(result, 2)
    world.exchange.mark = Decimal(40_500)
    signed = Decimal(by_hand)
    flips = world.exchange.held + signed < 0
    world.exchange.trade(max(signed, -world.exchange.held), Decimal(40_500), 2)
    if flips:
        world.exchange.entry = world.exchange.margin = Decimal(0)
        world.exchange.trade(signed + Decimal("0.2"), Decimal(40_500), 2)
    world.quote("40500")
    world.compare()
    assert "position:BTCUSDT" in world.machine.state.live.difference_names()

    accept(world, *world.machine.state.live.difference_names())
    world.compare()

    assert world.verdicts()[-1] == "agreed", world.machine.state.live.suspected
    assert world.machine.state.held(PERP) == world.exchange.held
    for event in controls(world, "adjustment"):
        book_adjustment(ledger, event)
    assert ledger.position("mexc_perpetual", "BTCUSDT").quantity == world.exchange.held
    assert abs(ledger.cash + ledger.margin - world.exchange.wallet) < Decimal("0.01")
    assert world.machine.state.perpetuals[PERP].position.quantity == world.exchange.held
    closes = "SELL" if world.exchange.held > 0 else "BUY"
    if world.exchange.held:
        world.order(closes, f"{abs(world.exchange.held)}", "stop_loss")
        world.compare()
    assert world.exchange.held == world.machine.state.held(PERP) == 0
    assert world.verdicts()[-1] == "agreed"


def test_an_accepted_withdrawal_does_not_forget_what_was_lost_today() -> None:
    """What came or went moves the start of the day; the loss of today stays, and so does its limit."""
    world = PerpetualWorld()
    world.hold()
    world.quote("38000")
    world.settle()
    live = world.machine.state.live
    lost = live.day.lost(live.pnl)
    assert lost is not None
    assert lost > 400

    world.exchange.wallet -= 1_000
    world.compare()
    accept(world, "balance:USDT")

    assert abs((live.day.lost(live.pnl) or Decimal(0)) - lost) < Decimal("0.01")


# funding


def to_settlement(world: PerpetualWorld) -> None:
    """Let the next settlement pass."""
    now_ms = START_US // 1_000 + world.at_ms
    world.at_ms += 8 * 3_600_000 - now_ms % (8 * 3_600_000)
    world.tick()
    world.quote()


def test_funding_is_what_the_exchange_tells_and_counts_once() -> None:
    """The record is journalled under its id and booked once in every ledger; nothing calculated stands beside it."""
    world = PerpetualWorld()
    world.hold()
    to_settlement(world)
    world.exchange.now = START_US + world.at_ms * 1_000
    world.exchange.settle("0.0003", "F1")
    world.compare()
    world.compare()

    [told] = controls(world, "funding")
    assert (told.details["payment_id"], told.details["amount"]) == ("F1", Decimal("-2.4"))
    assert (told.details["rate_known"], told.details["quantity"], told.causation_id) == (True, Decimal("0.2"), None)
    assert world.machine.state.live.portfolio.funding == Decimal("-2.4")
    assert world.machine.state.perpetuals[PERP].position.funding == Decimal("-2.4")
    assert world.verdicts()[-1] == "agreed"

    world.append(told, "exchange:99")
    world.settle()
    assert world.machine.state.live.portfolio.funding == Decimal("-2.4")
    ledger = Portfolio.with_cash(Decimal(10_000))
    for result in world.results:
        ledger.book(result, 2)
    book_fact(ledger, told)
    assert abs(ledger.cash + ledger.margin - world.exchange.wallet) < Decimal("0.01")


def test_funding_that_is_told_late_freezes_nothing_and_funding_that_never_is_does() -> None:
    """The wallet moves with the settlement, the record comes minutes later: no verdict about money until then."""
    world = PerpetualWorld()
    world.hold()
    to_settlement(world)
    world.exchange.now = START_US + world.at_ms * 1_000
    world.exchange.settle("0.0003", "F1")
    record = world.exchange.paid.pop()
    world.compare()
    assert world.verdicts()[-1] == "incomplete"
    assert world.machine.state.trading_state == "ACTIVE"

    world.exchange.paid.append(record)
    world.settle(30)
    assert world.verdicts()[-1] == "agreed"

    to_settlement(world)
    world.exchange.wallet -= 3
    world.compare()
    world.tick(500_000)
    world.compare()
    assert world.machine.state.trading_state == "ACTIVE"
    world.tick(200_000)
    world.compare()
    assert world.machine.state.live.difference_names() == ["balance:USDT"]


def test_a_position_that_differs_does_not_wait_for_funding() -> None:
    """Only money may be on its way; a quantity is not."""
    world = PerpetualWorld()
    world.hold()
    to_settlement(world)
    world.exchange.held = Decimal("0.1")
    world.settle(30)

    assert "position:BTCUSDT" in world.machine.state.live.difference_names()


def test_funding_of_what_we_never_traded_is_nobody_s() -> None:
    """A record of another's position is not booked (no ledger has the instrument); it shows in the wallet."""
    world = PerpetualWorld()
    world.exchange.settle("0.0003", "F9", amount=Decimal(-5))
    world.compare()

    assert not controls(world, "funding")
    assert world.machine.state.live.difference_names() == ["balance:USDT"]


def test_a_record_without_its_fields_is_a_violation() -> None:
    """A funding that states no payment is refused by name."""
    event = Control(event_id="f", timestamp=START_US + HOUR_US, producer=channels.EXECUTION, action="funding")
    with pytest.raises(ContractViolation, match="no payment"):
        read_payment(event)


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 40))])
def test_faults_and_kills_lose_no_fill_and_no_settlement(seed: int) -> None:
    """Whatever fails and whenever it is killed, wallet and position are the exchange's in the end."""
    world = PerpetualWorld(seed)
    world.exchange.fault, world.kill = 0.2, 0.05
    random = world.random
    for step in range(40):
        world.settle(random.randrange(1, 4))
        held = world.machine.state.held(PERP)
        if step % 7 == 3 and held:
            world.exchange.settle(random.choice(["0.0001", "-0.0002"]), f"F{step}")
        if not world.machine.state.working:
            world.order("SELL", str(held), "exit") if held else world.order()
    world.exchange.fault, world.kill = 0.0, 0.0
    world.settle(130)

    assert world.verdicts()[-1] == "agreed", world.machine.state.live.suspected
    assert world.machine.state.held(PERP) == world.exchange.held
    assert abs(world.machine.state.live.wallet + 10_000 - world.exchange.wallet) < Decimal("0.01")
    assert max(world.exchange.posts.values()) == 1


@pytest.mark.slow
def test_on_the_sandbox_a_round_trip_over_a_settlement_agrees() -> None:
    """MEXC's own words for wallet, position and funding, as the sandbox speaks them, are what the books say."""
    with SandboxExchange(SandboxOptions(clock=SteppedClock(START_US // 1_000))) as mexc:
        addresses = MexcAddresses(
            MEXC_REST_URL=mexc.rest_url, MEXC_WS_URL=mexc.spot_ws_url, MEXC_PERPETUAL_REST_URL=mexc.rest_url,
            MEXC_PERPETUAL_WS_URL=mexc.perpetual_ws_url,
        )  # fmt: skip
        exchange, _ = open_account("mexc_perpetual", Keys(mexc.api_key, mexc.api_secret), addresses)
        place = exchange.place
        exchange.place = lambda request: place(replace(request, not_after=None))  # type: ignore[method-assign]
        world = PerpetualWorld(at=exchange)

        def pass_time(seconds: int) -> None:
            for _ in range(seconds):
                mexc.advance(1_000)
                world.settle()

        mexc.quote("BTCUSDT", "39999.9", "100000", "40000", "100000", venue="mexc_perpetual")
        mexc.mark("BTCUSDT", "40000", funding_rate="0.0003")
        world.order(price=Decimal(40080))
        pass_time(70)
        assert world.machine.state.held(PERP) == Decimal("0.2")
        assert world.verdicts()[-1] == "agreed", world.machine.state.live.suspected

        before = world.at_ms
        to_settlement(world)
        mexc.advance(world.at_ms - before)
        pass_time(70)
        [paid] = controls(world, "funding")
        assert paid.details["amount"] == Decimal("-2.4")
        assert world.verdicts()[-1] == "agreed", world.machine.state.live.suspected

        world.order("SELL", "0.2", "exit", price=Decimal(39920))
        pass_time(70)
        assert world.machine.state.held(PERP) == 0
        assert world.verdicts()[-1] == "agreed", world.machine.state.live.suspected


# the comparison alone


def account(**told: Any) -> Account:
    """Return a snapshot of an account with 1 000 USDT."""
    given: dict[str, Any] = {
        "venue": "mexc_perpetual", "revision": 0, "balances": {"USDT": Decimal(1_000)}, "open_orders": [],
        "positions": [], "foreign_trades": {},
    }  # fmt: skip
    return Account.model_validate(given | told)


def books(**told: Any) -> PerpetualBooks:
    """Return books of a flat account with 1 000 USDT."""
    given: dict[str, Any] = {
        "currency": "USDT", "wallet": Decimal(1_000), "positions": {}, "leverages": {}, "marks": {},
    }  # fmt: skip
    return PerpetualBooks(**given | told)


def test_what_a_snapshot_does_not_tell_is_not_compared() -> None:
    """Snapshots of before, without margin, leverage, available and equity, agree by quantity, entry and wallet."""
    position = Position("mexc_perpetual", "BTCUSDT")
    position.trade("BUY", Decimal("0.1"), Decimal(1_000), 2)
    held = Held(symbol="BTCUSDT", quantity=Decimal("0.1"), entry_price=Decimal(1_000))

    told = account(positions=[held], available={"USDT": Decimal(1)}, equity={"USDT": Decimal(1)})
    assert compare_perpetuals(told, books(positions={"BTCUSDT": position}), {}) == []
    flat = Held(symbol="BTCUSDT", quantity=Decimal(0), entry_price=Decimal(0))
    assert compare_perpetuals(account(positions=[flat]), books(), {}) == []


def test_fills_told_in_another_order_are_no_difference() -> None:
    """Bought twice and sold once, told in another order: less is realised and more is open, in all it is the same."""
    fills = {"a": ("BUY", 40_000), "b": ("BUY", 41_000), "c": ("SELL", 40_500)}
    there, here = Position("mexc_perpetual", "BTCUSDT"), Position("mexc_perpetual", "BTCUSDT")
    wallets = []
    for position, order in ((there, "acb"), (here, "abc")):
        cash = [position.trade(fills[name][0], Decimal("0.1"), Decimal(fills[name][1]), 1) for name in order]
        wallets.append(1_000 + sum(cash) + position.margin)
    assert wallets[0] != wallets[1]
    entry = there.entry_price
    assert entry is not None
    held = Held(symbol="BTCUSDT", quantity=there.quantity, entry_price=entry, margin=there.margin)

    told = account(positions=[held], balances={"USDT": wallets[0]})
    ours = {"BTCUSDT": here}
    assert compare_perpetuals(told, books(positions=ours, wallet=wallets[1]), {}) == []
    names = [found.name for found in compare_perpetuals(told, books(positions=ours, wallet=wallets[1] + 1), {})]
    assert names == ["entry:BTCUSDT", "balance:USDT"]


@pytest.mark.parametrize(
    ("quantity", "entry", "ours", "change", "price"),
    [
        ("0.3", "1200", "0.1", "0.2", "1300"),
        ("0.1", "900", "0", "0.1", "900"),
        ("-0.1", "900", "0.1", "-0.2", "900"),
        ("0.1", "1000", "0.3", "-0.2", None),
        ("0.3", "100", "0.1", "0.2", None),
        (None, "0", "0.1", "-0.1", None),
    ],
)
def test_a_change_is_priced_so_that_the_entry_becomes_the_exchange_s(
    quantity: str | None, entry: str, ours: str, change: str, price: str | None
) -> None:
    """What opens gets the price that explains the exchange's entry; what closes, or cannot be explained, gets none."""
    position = Position("mexc_perpetual", "BTCUSDT")
    if Decimal(ours):
        position.trade("BUY", Decimal(ours), Decimal(1_000), 1)
    held = None if quantity is None else Held(symbol="BTCUSDT", quantity=Decimal(quantity), entry_price=Decimal(entry))

    found = price_of_change(held, position, Decimal(change))

    assert found == (None if price is None else Decimal(price))
