"""What the exchange does by itself: it liquidates, deleverages, has another position mode, forgets what was missed."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from services.cdb_execution.adapters.perpetual_reading import read_trade
from services.cdb_execution.exchange import Trade
from services.cdb_sandbox.control import handle
from services.cdb_sandbox.core.exchange import OrderDraft
from services.cdb_sandbox.core.orders import OrderType
from services.cdb_sandbox.faults import Fault, FaultKind
from services.cdb_sandbox.house import DEFAULT_CUSTOMER
from services.cdb_sandbox.market.events import MarketEvent
from services.common import channels
from services.common.errors import ContractViolation, ExchangeAnswerInvalid, ExchangeHistoryTooLong
from services.common.events import Alert, Control
from services.common.perpetual_facts import book_fact
from services.common.portfolio import Portfolio
from tests.unit.execution.mexc_desk import Script, data, perpetual, spot
from tests.unit.execution.perpetual_world import PERP, PerpetualWorld
from tests.unit.execution.sandbox_world import SandboxWorld, simulated_time
from tests.unit.execution.test_live_machine import opened, stuck
from tests.unit.execution.test_live_perpetuals import accept, controls
from tests.unit.execution.test_live_sandbox_chaos import check_holdings

pytestmark = [pytest.mark.unit, pytest.mark.risk]


def seized(world: PerpetualWorld, quantity: str = "0.2", **changed: Any) -> Trade:
    """Let the exchange take a part of the long over; its share of the margin is lost."""
    exchange, taken = world.exchange, Decimal(quantity)
    exchange.margin -= (lost := exchange.margin * taken / exchange.held)
    exchange.wallet -= lost
    exchange.held -= taken
    fields: dict[str, Any] = {
        "venue": "mexc_perpetual", "symbol": "BTCUSDT", "side": "SELL", "trade_id": f"L{len(exchange.booked)}",
        "exchange_order_id": "77", "client_order_id": None, "quantity": taken, "price": Decimal(20_100),
        "fee": Decimal(0), "fee_currency": "USDT", "liquidity": "taker", "time": exchange.now, "kind": "liquidation",
    }  # fmt: skip
    exchange.booked.append(made := Trade(**fields | changed))
    return made


def test_a_liquidation_is_a_fact_in_every_ledger_and_freezes() -> None:
    """One `liquidation`, named fills, CRITICAL, FROZEN at once; the books are the exchange's without anybody's word."""
    world = PerpetualWorld()
    world.hold()
    world.desk.deliver(seized(world))
    world.settle(15)

    [fact] = controls(world, "liquidation")
    assert fact.causation_id is None
    assert (fact.details["quantity"], fact.details["price"]) == (Decimal("0.2"), Decimal(20_100))
    assert fact.details["loss"] == fact.details["margin"] == Decimal(4008)
    assert list(fact.details["fills"]) == ["L1/77"]
    assert world.machine.state.trading_state == "FROZEN"
    assert world.alerts() == ["POSITION_LIQUIDATED"]
    assert controls(world, "halt")[-1].details == {"freeze": True, "symbol": "BTCUSDT"}
    assert world.verdicts()[-1] == "agreed"
    assert (world.machine.state.held(PERP), world.machine.state.perpetuals[PERP].position.quantity) == (0, 0)

    ledger = Portfolio.with_cash(Decimal(10_000))
    for result in world.results:
        ledger.book(result, 2)
    book_fact(ledger, fact)
    assert abs(ledger.cash + ledger.margin - world.exchange.wallet) < Decimal("0.01")

    accept(world)
    assert world.machine.state.trading_state == "ACTIVE"
    world.compare()
    assert len(controls(world, "liquidation")) == 1


@pytest.mark.parametrize(
    ("quantity", "changed"),
    [("0.1", {}), ("0.2", {"kind": "deleveraging"}), ("0.2", {"symbol": "ETHUSDT"}), ("0.2", {"side": "BUY"})],
)
def test_what_does_not_explain_the_whole_position_is_a_stranger(quantity: str, changed: dict[str, Any]) -> None:
    """A part, a deleveraging, another symbol, the wrong side: no fact; frozen at once by the fill's name and kind."""
    world = PerpetualWorld()
    world.hold()
    made = seized(world, quantity, **changed)
    world.compare()

    assert not controls(world, "liquidation")
    assert world.machine.state.trading_state == "FROZEN"
    assert f"trade:{made.trade_id}" in world.machine.state.live.difference_names()
    [alert] = [entry.event for entry in world.entries if isinstance(entry.event, Alert)]
    assert f"{made.kind} by the exchange" in alert.message

    while world.machine.state.live.differences:
        accept(world, *world.machine.state.live.difference_names())
    world.compare()
    assert world.verdicts()[-1] == "agreed"
    assert not controls(world, "liquidation")


def test_in_two_parts_it_is_the_fact_once_all_is_gone() -> None:
    """The first part is a stranger, the second makes both the liquidation of the whole position."""
    world = PerpetualWorld()
    world.hold()
    seized(world, "0.1")
    world.compare()
    seized(world, "0.1")
    world.compare()

    [fact] = controls(world, "liquidation")
    assert list(fact.details["fills"]) == ["L1/77", "L2/77"]
    assert world.verdicts()[-1] == "agreed"
    assert world.machine.state.live.difference_names() == []


def test_a_liquidation_that_tells_nothing_is_a_violation() -> None:
    """Without symbol and fills it is refused by name."""
    world = PerpetualWorld()
    event = Control(event_id="x", timestamp=world.machine.now, producer=channels.EXECUTION, action="liquidation")
    world.append(event, "exchange:99")
    with pytest.raises(ContractViolation, match="tells no position and fills"):
        world.settle()


@pytest.mark.parametrize(
    ("category", "kind"),
    [(None, "order"), (1, "order"), (2, "liquidation"), (3, "liquidation"), (4, "deleveraging"), (5, "delivery"),
     (6, "liquidation"), (99, "order")],
)  # fmt: skip
def test_the_category_of_a_fill_tells_who_wanted_it(category: int | None, kind: str) -> None:
    """MEXC's numbers; what is absent or new to us counts as somebody's order."""
    row: dict[str, Any] = {
        "id": "1", "symbol": "BTC_USDT", "side": 4, "vol": 10, "price": Decimal(40_000), "feeCurrency": "USDT",
        "fee": 0, "timestamp": 1609992674000, "orderId": "7", "taker": True, "category": category,
    }  # fmt: skip
    assert read_trade(row, lambda _symbol: Decimal("0.0001")).kind == kind


def held_there(quantity: str = "0.2") -> SandboxWorld:
    """Return a world at the sandbox that holds a long with leverage 2, all compared."""
    world = SandboxWorld(1, "mexc_perpetual")
    with simulated_time(world):
        world.rest()
        world.quote("20")
        world.order("BUY", Decimal(quantity), price=Decimal(40_400))
        world.rest()
    assert world.machine.state.held(PERP) == Decimal(quantity)
    return world


def test_the_sandbox_liquidates_and_its_own_words_make_the_fact() -> None:
    """The mark falls through the liquidation price: real requests bring the fact, and wallet and position agree."""
    world = held_there()
    with simulated_time(world):
        world.sandbox.house.apply(MarketEvent(key=PERP, mark=Decimal(15_000)))
        world.rest()

    facts = [entry.event for entry in world.journal.entries if isinstance(entry.event, Control)]
    [fact] = [event for event in facts if event.action == "liquidation"]
    assert fact.details["quantity"] == Decimal("0.2")
    assert world.machine.state.held(PERP) == 0
    assert world.machine.state.trading_state == "FROZEN"
    assert "RECONCILIATION_DIFFERENCE" not in world.alerts()
    world.fold_again()


def test_hedge_mode_at_the_start_is_told_before_anything_is_entered() -> None:
    """The first look finds it: FROZEN, CRITICAL with the setting to change; no word accepts it, only the change."""
    world = PerpetualWorld(hedged=True)
    world.order()
    world.settle(2)

    assert world.verdicts()[:2] == ["opened", "difference"]
    assert world.machine.state.trading_state == "FROZEN"
    assert not world.exchange.posts
    [alert] = [entry.event for entry in world.entries if isinstance(entry.event, Alert)]
    assert "set the position mode of the futures account to one-way" in alert.message
    assert controls(world, "account")[0].details["hedge_mode"] is True

    accept(world, "position_mode:mexc_perpetual")
    assert world.machine.state.trading_state == "FROZEN"
    assert world.alerts()[-1] == "RESUME_REFUSED"

    world.exchange.hedged = False
    world.compare()
    accept(world)
    assert world.machine.state.trading_state == "ACTIVE"
    assert "hedge_mode" not in controls(world, "account")[-1].details


def test_hedge_mode_set_while_it_runs_is_noticed_within_a_minute() -> None:
    """Real requests at the sandbox: agreed, then the mode changes, then FROZEN by name; back again it can go on."""
    world = held_there()
    house = world.sandbox.house
    with simulated_time(world):
        assert handle(house, "POST", "position-mode", '{"mode": 1}')[0] == 200
        for _ in range(70):
            world.advance(1_000)
            while world.stir():
                pass
        assert world.machine.state.live.difference_names() == ["position_mode:mexc_perpetual"]
        assert world.machine.state.trading_state == "FROZEN"

        assert handle(house, "POST", "position-mode", '{"mode": 2}')[0] == 200
        world.rest()
        world.operator("resume")
        world.rest()
    assert world.machine.state.trading_state == "ACTIVE"
    assert handle(house, "POST", "position-mode", '{"mode": 3}')[0] == 400


def test_a_position_mode_that_is_none_is_no_answer() -> None:
    """1 is hedge, 2 is one-way; anything else is not read as the one we want."""
    script = Script().on("GET /api/v1/private/position/position_mode", data(1), data(2), data(3))
    exchange = perpetual(script)

    assert (exchange.hedge_mode(), exchange.hedge_mode()) == (True, False)
    with pytest.raises(ExchangeAnswerInvalid, match="position_mode='3'"):
        exchange.hedge_mode()
    assert not spot(Script()).hedge_mode()


@pytest.mark.parametrize("asked", ["trades", "query"])
def test_what_cannot_be_brought_back_freezes_by_name(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether found by comparing or by asking for an order: one halt that says what is missing and the way out."""
    world = opened()
    stuck(world)

    def endless(*_: object) -> None:
        raise ExchangeHistoryTooLong("order_deals: over 200 pages of 100 rows")

    monkeypatch.setattr(world.exchange, asked, endless)
    world.machine.state.live.reconcile_at = None
    world.settle(20)

    halts = [e.event for e in world.entries if isinstance(e.event, Control) and e.event.action == "halt"]
    [halt] = [halt for halt in halts if str(halt.reason).startswith("EXCHANGE_HISTORY_TOO_LONG: order_deals")]
    assert "close by hand and begin a new run" in str(halt.reason)
    assert (halt.details["freeze"], halt.causation_id) == (True, None)
    assert world.machine.state.trading_state == "FROZEN"


def test_more_missed_fills_and_settlements_than_a_page_holds_are_brought_back() -> None:
    """250 of each at the sandbox, in pages of 100: all, each once, oldest first."""
    world = held_there()
    house, listing = world.sandbox.house, world.sandbox.listing
    with simulated_time(world):
        world.quote("20")
        for _ in range(250):
            draft = OrderDraft(
                account=DEFAULT_CUSTOMER.name, listing=listing, side="BUY", order_type=OrderType.MARKET,
                quantity=Decimal(1), side_code=1, leverage=2,
            )  # fmt: skip
            house.exchange.place(draft, house.now_ms())
            house.exchange.margins[DEFAULT_CUSTOMER.name].pay_funding(listing, Decimal(1), Decimal(0), house.now_ms())
        made = [fill.trade_id for fill in house.exchange.records.fills]
        paid = [str(row["id"]) for row in house.exchange.margins[DEFAULT_CUSTOMER.name].funding_records]

        fills, funding = world.sandbox.exchange.trades("BTCUSDT", 0), world.sandbox.exchange.funding("BTCUSDT", 0)

    assert len(made) > 250
    assert sorted(trade.trade_id for trade in fills) == sorted(made)
    assert sorted(payment.payment_id for payment in funding) == sorted(paid)


@pytest.mark.parametrize("venue", ["mexc_spot", "mexc_perpetual"])
@pytest.mark.parametrize("jump_ms", [-900_000, 900_000])
def test_a_clock_of_the_exchange_that_jumps_hides_no_fill(venue: Any, jump_ms: int) -> None:
    """Quarter of an hour back or ahead, and no push arrives: one order is refused, the next one's fills are found."""
    world = SandboxWorld(2, venue)
    with simulated_time(world):
        world.rest()
        world.sandbox.clock.jump(jump_ms)
        world.sandbox.house.faults.add(Fault(kind=FaultKind.DROP, where="*", count=None))
        for _ in range(2):
            world.quote("20")
            world.order("BUY", Decimal("0.2"), price=Decimal(40_400))
            for _ in range(70):
                world.advance(1_000)
                while world.stir():
                    pass

    statuses = [result.status for result in world.results]
    assert statuses[:2] == ["SUBMITTING", "REJECTED"]
    assert statuses[-1] == "FILLED"
    assert world.machine.state.held(world.key) > Decimal("0.19")
    assert world.verdicts()[-1] == "agreed"
    assert world.alerts() == []


@pytest.mark.parametrize("restarted", [False, True])
def test_a_coin_that_is_delisted_while_held_is_still_compared(*, restarted: bool) -> None:
    """The account agrees by its balance; nothing is entered in it, an exit says why it cannot leave."""
    world = SandboxWorld(2, "mexc_spot")
    with simulated_time(world):
        world.rest()
        world.quote("20")
        world.order("BUY", Decimal("0.2"), price=Decimal(40_400))
        world.rest()
        world.sandbox.house.exchange.listings.pop(world.key)
        if restarted:
            world.begin()
        for _ in range(380):
            world.advance(1_000)
            while world.stir():
                pass
        assert world.alerts() == []
        assert world.verdicts()[-1] == "agreed"
        assert world.machine.state.live.rules == {}

        world.order("BUY", Decimal("0.1"), price=Decimal(40_400))
        world.rest()
        world.order("SELL", Decimal("0.1"), "stop_loss", order_type="LIMIT", price=Decimal(39_900))
        world.rest()

    ends = [str(result.reason) for result in world.results if result.status == "REJECTED"]
    assert ends[0].startswith("RULES_UNKNOWN")
    assert ends[1].startswith("REFUSED: -1121")
    assert world.machine.state.held(world.key) > Decimal("0.19")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 61))
def test_liquidated_in_the_midst_of_faults_and_kills_every_ledger_is_the_exchange_s(seed: int) -> None:
    """Pushes lost, questions unanswered, the process killed: each liquidation is one fact, and nothing differs."""
    world = SandboxWorld(seed, "mexc_perpetual")
    liquidated = 0
    with simulated_time(world):
        for _ in range(2):
            world.rest()
            if world.machine.state.trading_state != "ACTIVE":
                world.operator("resume")
            world.rest()
            world.quote("20")
            world.order("BUY", Decimal("0.1"), price=(world.mid * Decimal("1.004")).quantize(Decimal(1)))
            world.rest()
            assert world.machine.state.held(world.key) == Decimal("0.1")
            world.fault, world.kill, world.calm = 0.5, 0.04, False
            world.arm()
            world.sandbox.house.apply(MarketEvent(key=world.key, mark=Decimal(15_000)))
            world.sandbox.house.apply(MarketEvent(key=world.key, mark=world.mid))
            liquidated += 1
            for _ in range(40):
                world.alive(world.random.choice([world.catch_up, world.listen, lambda: world.work("ask")]))
                world.advance(world.random.choice([100, 1_000]))
                world.arm()
        world.rest()
        check_holdings(world)

    told = [entry.event for entry in world.journal.entries if isinstance(entry.event, Control)]
    assert [event.action for event in told].count("liquidation") == liquidated
    assert "difference" not in world.verdicts()
    assert world.machine.state.held(world.key) == 0
    world.fold_again()
