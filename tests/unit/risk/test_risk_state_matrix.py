"""The first key: every purpose in every trading state by each of its causes, as trading.md section 2 has it."""

from __future__ import annotations

from itertools import combinations
from typing import get_args

import pytest

from services.cdb_risk.entry import examine_entry
from services.cdb_risk.exits import examine_exit
from services.cdb_risk.protective import LatchedExit
from services.cdb_risk.situation import Situation
from services.cdb_risk.trading_state import Latch, LatchName, TradingState
from services.common.events import Order, Purpose, Signal
from tests.unit.risk.risk_desk import BTC, RiskDesk

pytestmark = [pytest.mark.unit, pytest.mark.risk]

PURPOSES = get_args(Order.model_fields["purpose"].annotation)
EXITS = frozenset(PURPOSES) - {"entry"}
LATCHES: dict[LatchName, tuple[str, frozenset[Purpose]]] = {
    # latch: its state, and what may leave
    "daily_loss": ("REDUCING", EXITS),
    "rolling_loss": ("REDUCING", EXITS),
    "loss_streak": ("REDUCING", EXITS),
    "breaker": ("HALTED", EXITS),
    "halt": ("HALTED", EXITS - {"exit"}),
    "freeze": ("FROZEN", frozenset({"flatten"})),
}
STRICTNESS = ["ACTIVE", "REDUCING", "HALTED", "FROZEN"]


def situation(*latches: LatchName) -> Situation:
    """BTC is held and ETH quoted; these latches are set, before a restart."""
    desk = RiskDesk(ENTRY_SPACING_SEC=0)
    desk.hold()
    desk.quote("2999", "3001", symbol="ETHUSDT")
    desk.quote()
    for name in latches:
        desk.machine.state.trading.set(name, Latch(0, "test", "test"))
    desk.restart()
    return Situation(desk.machine.settings, desk.machine.state, desk.machine.now)


def approved(at: Situation, purpose: Purpose) -> bool:
    """Whether risk lets an order of this purpose leave."""
    if purpose != "entry":
        return examine_exit(at, BTC, LatchedExit(purpose, None, None, at.now, "test")).approved
    signal = Signal(
        event_id="s", timestamp=at.now, producer="cdb_core", venue="mexc_spot", symbol="ETHUSDT", signal_type="buy",
        intent="entry", price="3000", confidence=1,
    )  # fmt: skip
    return examine_entry(at, signal).approved


@pytest.mark.parametrize("purpose", PURPOSES)
def test_active_lets_everything_through(purpose: Purpose) -> None:
    """Nothing is latched."""
    assert approved(situation(), purpose)


@pytest.mark.parametrize("latch", LATCHES)
@pytest.mark.parametrize("purpose", PURPOSES)
def test_each_cause_lets_through_what_trading_md_says(purpose: Purpose, latch: LatchName) -> None:
    """The state and the purposes of each latch, after a restart."""
    at = situation(latch)
    state, leaving = LATCHES[latch]
    assert at.state.trading.mode == state
    assert approved(at, purpose) == (purpose in leaving)


@pytest.mark.parametrize("pair", list(combinations(LATCHES, 2)), ids="+".join)
def test_two_causes_let_through_what_both_do(pair: tuple[LatchName, LatchName]) -> None:
    """The stricter state counts, and no latch opens what another has closed."""
    at = situation(*pair)
    first, second = LATCHES[pair[0]], LATCHES[pair[1]]
    assert at.state.trading.mode == max(first[0], second[0], key=STRICTNESS.index)
    for purpose in PURPOSES:
        assert approved(at, purpose) == (purpose in first[1] & second[1])


def test_every_latch_has_a_row() -> None:
    """A new latch without an expectation here is noticed; clearing one leaves the others."""
    assert set(LATCHES) == set(get_args(LatchName))
    trading = TradingState()
    for name in LATCHES:
        trading.set(name, Latch(0, "test", "test"))
    assert trading.causes[0] == "freeze"
    assert trading.clear("freeze", "halt", "breaker")
    assert trading.mode == "REDUCING"
