"""Risk on live: begins with what the exchange holds, sizes within the ramp, follows an operator's adjustments."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from services.cdb_risk.protective import LatchedExit
from services.common import channels
from services.common.errors import ContractViolation
from tests.unit.risk.risk_desk import RiskDesk

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
