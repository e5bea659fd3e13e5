"""Risk on live: begins with what the exchange holds, sizes within the ramp, follows an operator's adjustments."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from claire.explain.wording import unit_of
from services.cdb_risk.codes import Code
from services.cdb_risk.layers.live_ramp import check_live_loss, check_live_order, check_live_position, tightest_last
from services.cdb_risk.protective import LatchedExit
from services.cdb_risk.reservations import Reservation
from services.common import channels
from services.common.errors import ContractViolation
from tests.unit.risk.risk_desk import RiskDesk, layer

pytestmark = [pytest.mark.unit, pytest.mark.risk]

BTC = "mexc_spot:BTCUSDT"


def say(desk: RiskDesk, action: str, **details: Any) -> list[Any]:
    """Let execution say something."""
    return desk._control(action, producer=channels.EXECUTION, service=channels.EXECUTION, details=details)


def opened() -> RiskDesk:
    """Return risk on live with 800 USDT."""
    desk = RiskDesk(TRADING_MODE="live")
    desk.tick(1_000)
    say(desk, "reconciliation", verdict="opened", capital=Decimal(800), differences=[])
    return desk


def test_nothing_is_known_before_the_exchange_has_said_it() -> None:
    """Without a first snapshot there is no equity, no breaker trips, and nothing is entered."""
    desk = RiskDesk(TRADING_MODE="live")
    desk.tick(1_000)
    say(desk, "reconciliation", verdict="agreed", differences=[])
    assert not desk.machine.state.opened
    assert desk.alert_codes() == []
    say(desk, "reconciliation", verdict="opened", capital=Decimal(800), differences=[])
    assert desk.machine.state.account.equity == 800
    with pytest.raises(ContractViolation, match="capital"):
        say(RiskDesk(TRADING_MODE="live"), "reconciliation", verdict="opened", capital="much", differences=[])


def test_the_ramp_caps_what_is_sized() -> None:
    """Sizes are taken of the capital, orders and positions stay within the ramp."""
    settings = opened().machine.settings
    assert settings.capital(Decimal(5_000)) == 1_000
    assert settings.largest_order == 50
    assert settings.largest_position(Decimal(5_000)) == 100
    shadow = RiskDesk(TRADING_MODE="shadow")
    shadow.tick(1_000)
    assert shadow.machine.state.account.equity == 1_000


def test_resume_names_the_differences_and_an_adjustment_is_no_profit() -> None:
    """A difference has to be accepted by name; what came or went moves start of day and peak with it."""
    desk = opened()
    say(desk, "reconciliation", verdict="difference", differences=[{"name": "balance:USDT"}])
    say(desk, "halt", freeze=True)
    desk.command("resume", by="ada", reason="x")
    assert "COMMAND_REFUSED" in desk.alert_codes()
    desk.command("resume", by="ada", reason="x", details={"accept": ["balance:USDT"]})
    assert desk.machine.state.trading.mode == "ACTIVE"

    say(desk, "adjustment", venue="mexc_spot", accepted=["balance:USDT"], cash=Decimal(-300), positions=[])

    account = desk.machine.state.account
    assert (account.equity, account.start_of_day_equity, account.peak_equity) == (500, 500, 500)
    assert desk.machine.state.differences == []
    say(desk, "account")
    with pytest.raises(ContractViolation, match="adjustment"):
        say(desk, "adjustment", venue="mexc_spot")


def test_coins_that_are_gone_are_gone_from_the_position() -> None:
    """A position sold by hand is written off, and the exit that wanted it is dropped."""
    desk = opened()
    account = desk.machine.state.account
    account.portfolio.adjust("mexc_spot", "BTCUSDT", Decimal("0.01"), Decimal(50_000), 1)
    moved = {"symbol": "BTCUSDT", "change": Decimal("-0.01"), "price": Decimal(50_000)}
    say(desk, "adjustment", venue="mexc_spot", accepted=["balance:BTC"], cash=Decimal(0), positions=[moved])
    assert account.portfolio.positions[BTC].quantity == 0
    assert account.portfolio.positions[BTC].opened_at is None


def test_an_exit_that_wants_what_is_gone_is_dropped() -> None:
    """An operator sold by hand what a stop was about to sell: with the adjustment its latched exit ends."""
    desk = opened()
    state = desk.machine.state
    state.account.portfolio.adjust("mexc_spot", "BTCUSDT", Decimal("0.01"), Decimal(50_000), 1)
    state.exits[BTC] = LatchedExit("stop_loss", None, None, desk.machine.now, "stop")
    moved = {"symbol": "BTCUSDT", "change": Decimal("-0.01"), "price": Decimal(50_000)}

    say(desk, "adjustment", venue="mexc_spot", accepted=["balance:BTC"], cash=Decimal(0), positions=[moved])

    assert BTC not in state.exits


def test_what_is_not_known_yet_is_not_shifted() -> None:
    """Before the first start of day and peak, money that comes or goes leaves both unknown."""
    account = opened().machine.state.account
    account.start_of_day_equity = account.peak_equity = None
    account.shift(Decimal(500))
    assert (account.start_of_day_equity, account.peak_equity) == (None, None)


# the ramp in the layers


def entering(mode: str = "live", **changed: Any) -> RiskDesk:
    """Return risk in shadow or live mode with 800 USDT of capital and a quote."""
    desk = RiskDesk(**{"TRADING_MODE": mode, "LIVE_CAPITAL_USDT": "800"} | changed)
    desk.tick(1_000)
    if mode == "live":
        capital = Decimal(str(changed.get("LIVE_CAPITAL_USDT", 800)))
        say(desk, "reconciliation", verdict="opened", capital=capital, differences=[])
    desk.quote()
    return desk


@pytest.mark.parametrize("mode", ["live", "shadow"])
def test_the_layers_show_the_ramp_where_it_binds(mode: str) -> None:
    """Value, limit and what is left of order cap and day loss stand in the decision, and what they count is USDT."""
    desk = entering(mode)

    decision = desk.signal()

    position, loss = layer(decision, "position_limits"), layer(decision, "daily_drawdown")
    assert decision.approved, decision.layers
    assert (position.code, position.limit) == ("OK", 50)
    assert position.value is not None
    assert 49 < position.value <= 50
    assert position.headroom == 50 - position.value
    assert "LIVE_MAX_ORDER_USDT" in position.detail
    assert (loss.value, loss.limit, loss.headroom) == (0, 25, 25)
    assert unit_of(position, "entry") == "usdt"
    ramp = desk.machine.summary()["ramp"]
    assert ramp["symbols"] == ["BTCUSDT"]
    assert (ramp["capital"], ramp["max_order"]) == (800, 50)
    assert ramp["position"]["headroom"] == 150 - ramp["position"]["value"] < 101
    assert ramp["daily_loss"] == {"value": 0, "limit": 25, "headroom": 25}


def test_paper_shows_no_ramp() -> None:
    """On paper the layers and the status are those of before."""
    desk = RiskDesk()
    desk.quote()
    decision = desk.signal()

    assert layer(decision, "position_limits").limit == Decimal("0.1")
    assert layer(decision, "daily_drawdown").limit == Decimal("0.05")
    assert "ramp" not in desk.machine.summary()


def test_what_the_ramp_does_not_name_is_not_entered() -> None:
    """A symbol outside LIVE_SYMBOLS fails layer 1 by a code of its own."""
    desk = entering(LIVE_SYMBOLS="ETHUSDT")
    decision = desk.signal()
    assert not decision.approved
    assert layer(decision, "data_quality").code == "LIVE_SYMBOL"


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"LIVE_MAX_POSITION_USDT": "1"}, "LIVE_POSITION_CAP"),
        ({"LIVE_MAX_ORDER_USDT": "1"}, "LIVE_ORDER_CAP"),
    ],
)
def test_a_ramp_that_leaves_no_order_says_which_of_its_caps_it_was(changed: Any, code: str) -> None:
    """One USDT is under the exchange's smallest order: refused by the name of the cap, in USDT."""
    decision = entering(**changed).signal()
    found = layer(decision, "position_limits")
    assert not decision.approved
    assert (found.code, found.limit) == (code, 1)


@pytest.mark.parametrize("capital", ["800", "1000", "100000"])
def test_the_day_s_loss_in_usdt_ends_the_day_and_is_latched(capital: str) -> None:
    """25 USDT lost: reducing until midnight although five per cent are not; a recovery changes nothing."""
    desk = entering(LIVE_CAPITAL_USDT=capital)
    desk.machine.state.account.portfolio.cash -= 20
    desk.tick()
    assert desk.alert_codes() == ["DAILY_DRAWDOWN_WARNING"]
    desk.quote()
    assert layer(desk.signal(), "daily_drawdown").headroom == 5

    desk.machine.state.account.portfolio.cash -= 5
    desk.tick()
    assert desk.machine.state.trading.mode == "REDUCING"
    desk.machine.state.account.portfolio.cash += 10
    desk.quote()
    decision = desk.signal()
    assert layer(decision, "daily_drawdown").code == "DAILY_DRAWDOWN_LATCHED"


def test_the_loss_is_compared_in_usdt_and_unknown_blocks() -> None:
    """A loss at the limit blocks, less does not, unknown does; profit leaves more than the limit."""
    assert check_live_loss(Decimal(-25), Decimal(25)).code is Code.LIVE_DAILY_LOSS
    assert check_live_loss(Decimal("-24.99"), Decimal(25)).code is Code.OK
    assert check_live_loss(None, Decimal(25)).code is Code.LIVE_DAILY_LOSS
    assert check_live_loss(Decimal(10), Decimal(25)).headroom == 35


def test_a_loss_beyond_all_reason_still_has_its_place_among_the_findings() -> None:
    """What an exchange's absurd fill has lost is sorted like any other loss, and stops no decision."""
    absurd, small = check_live_loss(Decimal("-1e26"), Decimal(25)), check_live_loss(Decimal(-1), Decimal(25))
    assert tightest_last([absurd, small]) == [small, absurd]


def test_caps_allow_equality_and_the_tightest_is_shown_last() -> None:
    """At the cap passes, over it does not; the finding with the least left of its limit is the number to show."""
    order = check_live_order(Decimal(50), Decimal(50), no_room=False)
    position = check_live_position(Decimal(51), Decimal(150), no_room=False)
    assert (order.code, position.code) == (Code.OK, Code.OK)
    assert check_live_order(Decimal("50.01"), Decimal(50), no_room=False).code is Code.LIVE_ORDER_CAP
    assert check_live_position(Decimal(151), Decimal(150), no_room=False).code is Code.LIVE_POSITION_CAP
    assert tightest_last([order, position]) == [position, order]


def test_capital_stays_the_smaller_when_profits_grow() -> None:
    """E is at most LIVE_CAPITAL_USDT for sizes and caps, however much was won."""
    desk = entering(LIVE_MAX_ORDER_USDT="1000", LIVE_MAX_POSITION_USDT="1000")
    before = desk.signal().sizing
    rich = entering(LIVE_MAX_ORDER_USDT="1000", LIVE_MAX_POSITION_USDT="1000")
    rich.machine.state.account.portfolio.cash += 10_000
    after = rich.signal()
    assert after.sizing.approved == before.approved
    share = layer(after, "total_exposure")
    assert share.value is not None
    assert share.value > Decimal("0.07")


def test_a_position_without_a_mark_has_no_value_in_the_ramp() -> None:
    """Unknown is shown as unknown, not as zero."""
    desk = opened()
    desk.machine.state.account.portfolio.adjust("mexc_spot", "BTCUSDT", Decimal("0.001"), Decimal(50_000), 1)
    assert desk.machine.summary()["ramp"]["position"] == {"value": None, "limit": 150, "headroom": None}


def test_nobody_resumes_over_an_order_that_is_lost() -> None:
    """UNKNOWN for 60 s: resume is refused, naming the order and the way out; once its end is told, it is taken."""
    desk = opened()
    state = desk.machine.state
    lost = Reservation("o-1", BTC, "BUY", "entry", Decimal("0.001"), desk.machine.now, status="UNKNOWN")
    lost.unknown_since = desk.machine.now
    state.reservations.add(lost)
    say(desk, "halt", freeze=True)
    desk.tick(61_000)

    desk.command("resume", by="ada", reason="x")

    [refused] = [alert for alert in desk.alerts if alert.code == "COMMAND_REFUSED"]
    assert state.trading.mode == "FROZEN"
    assert "o-1" in refused.message
    assert "claire resolve-order" in refused.message

    del state.reservations.orders["o-1"]
    desk.command("resume", by="ada", reason="x")
    assert state.trading.mode == "ACTIVE"
