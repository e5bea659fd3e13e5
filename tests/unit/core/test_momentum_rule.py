"""The momentum rule on bars whose numbers can be checked by hand (L = 3, threshold 1 % unless told)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from services.cdb_core.bars import Bar
from services.cdb_core.evaluation import Action, Evaluation, Reason
from services.cdb_core.momentum import Market, Rule, Stance, Windows
from tests.unit.core.core_desk import settings

pytestmark = [pytest.mark.unit, pytest.mark.signal]

SPOT = Market(listed=True, shortable=False, live=True, late=False)
PERPETUAL = Market(listed=True, shortable=True, live=True, late=False)


def bar(minute: int, close: str, **more: Any) -> Bar:
    """Return a bar that stood at its close all the minute and traded 100 USDT."""
    price = Decimal(close)
    return Bar(**({"minute": minute, "close": price, "high": price, "low": price, "volume_e8": 10**10} | more))


class Strategy:
    """Windows and stance of one instrument under one rule."""

    def __init__(self, **changed: Any) -> None:
        self.rule = Rule.of(settings(**changed))
        self.windows, self.stance = Windows(), Stance()
        self.minute = 0

    def close(self, price: str, market: Market = SPOT, **more: Any) -> Evaluation:
        """Close the next bar and decide on it."""
        closed = bar(self.minute, price, **more)
        self.minute += 1
        self.windows.push(closed, self.rule)
        self.stance.note(closed)
        return self.stance.decide(closed, self.windows, self.rule, market)

    def run(self, *prices: str, market: Market = SPOT) -> list[Evaluation]:
        """Close bars at these prices."""
        return [self.close(price, market) for price in prices]


def test_entry_at_exactly_the_threshold() -> None:
    """101 against 100 three bars before is 1 %: with T = 1 % that is an entry (|m| >= T)."""
    found = Strategy().run("100", "100", "100", "101")

    assert found[-1].action is Action.ENTRY
    assert found[-1].reasons == ()
    assert found[-1].momentum_pct == Decimal("0.01")
    assert found[-1].threshold_pct == Decimal("0.01")


def test_no_entry_one_grid_step_below_the_threshold() -> None:
    """Momentum of 0.009999999999 against T = 0.01 is no entry."""
    found = Strategy().run("100", "100", "100", "100.9999999999")

    assert found[-1].momentum_pct == Decimal("0.009999999999")
    assert found[-1].reasons == (Reason.BELOW_THRESHOLD,)


def test_no_entry_before_there_are_enough_bars() -> None:
    """With L = 3 the first three bars have no momentum: WARMING_UP, whatever the price does."""
    found = Strategy().run("100", "110", "120")

    assert [evaluation.reasons for evaluation in found] == [(Reason.WARMING_UP,)] * 3
    assert found[-1].momentum_pct is None
    assert found[-1].way_pct is None


def test_volatility_needs_240_returns_or_its_whole_window() -> None:
    """With k > 0 and W = 300: the 241st bar is the first with a threshold; with W = 4 the fifth is."""
    long = Strategy(SIGNAL_VOL_MULT="1", SIGNAL_VOL_WINDOW_MIN=300)
    short = Strategy(SIGNAL_VOL_MULT="1", SIGNAL_VOL_WINDOW_MIN=4)

    known_long = [evaluation.threshold_pct is not None for evaluation in long.run(*["100"] * 242)]
    known_short = [evaluation.threshold_pct is not None for evaluation in short.run(*["100"] * 6)]

    assert known_long == [False] * 240 + [True] * 2
    assert known_short == [False] * 4 + [True] * 2


@pytest.mark.parametrize(
    ("multiple", "threshold", "action"),
    [("2.0302", "0.040604", Action.ENTRY), ("2.030201", "0.04060402", Action.NONE)],
)
def test_threshold_is_k_times_volatility_times_root_of_lookback(multiple: str, threshold: str, action: Action) -> None:
    """Four returns of 1 % each: s = 1 %, so T = k * 1 % * sqrt(4); m = 1.01^4 - 1 = 4.060401 %."""
    strategy = Strategy(SIGNAL_LOOKBACK_MIN=4, SIGNAL_VOL_WINDOW_MIN=4, SIGNAL_VOL_MULT=multiple)

    last = strategy.run("100", "101", "102.01", "103.0301", "104.060401")[-1]

    assert last.volatility_pct == Decimal("0.01")
    assert last.momentum_pct == Decimal("0.04060401")
    assert last.threshold_pct == Decimal(threshold)
    assert last.action is action


def test_threshold_is_never_under_its_floor() -> None:
    """A price that does not move has s = 0; T stays at the floor of 1 %."""
    strategy = Strategy(SIGNAL_VOL_WINDOW_MIN=4, SIGNAL_VOL_MULT="1")

    last = strategy.run(*["100"] * 5)[-1]

    assert last.volatility_pct == 0
    assert last.threshold_pct == Decimal("0.01")


def test_momentum_exit_at_exactly_the_exit_level() -> None:
    """Held long, m falls to 0 (101 against 101): MOMENTUM_FADED; just above it the position is kept."""
    strategy = Strategy()
    strategy.run("100", "100", "100", "101", "101")

    kept = strategy.close("100.5")  # against 100: 0.5 %
    faded = strategy.close("101")  # against 101: 0

    assert kept.reasons == (Reason.IN_POSITION,)
    assert kept.action is Action.NONE
    assert (faded.action, faded.reasons) == (Action.EXIT, (Reason.MOMENTUM_FADED,))
    assert strategy.stance.position is None


def test_exit_after_the_longest_hold() -> None:
    """Rising 1 % a bar, an entry at bar 3 is exited at bar 23 (20 minutes) and not before."""
    strategy = Strategy()
    price, actions = Decimal(100), []
    for _ in range(24):
        actions.append(strategy.close(str(price)))
        price *= Decimal("1.01")

    assert actions[3].action is Action.ENTRY
    assert {evaluation.reasons for evaluation in actions[4:23]} == {(Reason.IN_POSITION,)}
    assert (actions[23].action, actions[23].reasons) == (Action.EXIT, (Reason.MAX_HOLD,))


@pytest.mark.parametrize(("low", "stopped"), [("98.98", True), ("98.9800001", False)])
def test_virtual_stop_at_exactly_its_distance(low: str, stopped: bool) -> None:
    """Entered at 101 the stop lies at 101 * 0.98 = 98.98; a low on it stops, although the bar closed above."""
    strategy = Strategy()
    strategy.run("100", "100", "100", "101")

    found = strategy.close("101", low=Decimal(low))

    assert (Reason.VIRTUAL_STOP in found.reasons) is stopped
    assert (found.action is Action.EXIT) is stopped


def test_a_repeated_close_reaches_no_stop() -> None:
    """A minute without market data cannot stop the virtual position, whatever extremes it would have."""
    strategy = Strategy()
    strategy.run("100", "100", "100", "101")

    found = strategy.close("101", low=Decimal(1), observed=False)

    assert found.reasons == (Reason.IN_POSITION,)


def test_every_trigger_of_an_exit_is_named() -> None:
    """A crash through the stop also turns momentum: both are recorded, the stop first."""
    strategy = Strategy()
    strategy.run("100", "100", "100", "101")

    found = strategy.close("90")

    assert found.reasons == (Reason.VIRTUAL_STOP, Reason.MOMENTUM_FADED)


def test_cooldown_counts_from_the_entry() -> None:
    """Entered at bar 3 with 5 minutes of cooldown: bar 7 is too soon, bar 8 enters again."""
    strategy = Strategy()
    found = strategy.run("100", "100", "100", "101", "100", "100", "100", "102", "103")

    assert found[4].reasons == (Reason.MOMENTUM_FADED,)  # 100 against 100 three bars before
    assert found[5].reasons == (Reason.BELOW_THRESHOLD, Reason.COOLDOWN)
    assert found[7].reasons == (Reason.COOLDOWN,)
    assert found[8].action is Action.ENTRY


def test_cooldown_after_a_stop_counts_from_the_stop() -> None:
    """Stopped at bar 4 with 10 minutes of rest: bar 13 is too soon, bar 14 enters."""
    strategy = Strategy()
    strategy.run("100", "100", "100", "101", "90", *["90"] * 8)

    too_soon = strategy.close("91")  # bar 13: 1.1 %
    entered = strategy.close("91")  # bar 14

    assert too_soon.reasons == (Reason.COOLDOWN,)
    assert entered.action is Action.ENTRY


def test_no_second_entry_before_momentum_has_calmed() -> None:
    """After an entry |m| must fall under half of T while flat, or the strategy stays disarmed."""
    strategy = Strategy(SIGNAL_COOLDOWN_MIN=0, SIGNAL_MAX_HOLD_MIN=1)
    found = strategy.run("100", "100", "100", "101", "102", "103")

    assert found[4].reasons == (Reason.MAX_HOLD,)
    assert found[5].reasons == (Reason.NOT_ARMED,)


@pytest.mark.parametrize(("calm", "armed"), [("100.4999999999", True), ("100.5", False)])
def test_armed_again_strictly_under_the_share_of_the_threshold(calm: str, armed: bool) -> None:
    """Half of T = 1 % is 0.5 %: at it the strategy stays disarmed, under it it is armed again."""
    strategy = Strategy(SIGNAL_COOLDOWN_MIN=0, SIGNAL_MAX_HOLD_MIN=1)
    strategy.run("100", "100", "100", "101", "102", "100", "100")

    assert strategy.stance.armed  # bar 5 and 6: 0 % and under
    strategy.stance.armed = False
    strategy.run("100")
    strategy.stance.armed = False
    strategy.close(calm)

    assert strategy.stance.armed is armed


def test_an_exit_into_calm_arms_at_once() -> None:
    """The bar that exits with m = 0 also re-arms: from then on the strategy is flat and calm."""
    strategy = Strategy()
    strategy.run("100", "100", "100", "101", "101", "101")
    assert not strategy.stance.armed

    strategy.close("101")

    assert strategy.stance.position is None
    assert strategy.stance.armed


def test_too_little_volume_blocks() -> None:
    """Three bars of 100 USDT are 300 within L: a minimum of 300 is enough, 300.01 is not."""
    enough = Strategy(SIGNAL_MIN_VOLUME="300").run("100", "100", "100", "101")[-1]
    short = Strategy(SIGNAL_MIN_VOLUME="300.01").run("100", "100", "100", "101")[-1]

    assert enough.action is Action.ENTRY
    assert enough.volume_usdt == 300
    assert short.reasons == (Reason.VOLUME,)


def test_a_gap_blocks_until_the_lookback_is_clean() -> None:
    """Unclean at bar 3 with L = 3: bars 3 to 5 are blocked, bar 6 enters."""
    strategy = Strategy()
    strategy.run("100", "100", "100")

    found = [strategy.close("102", clean=False), *strategy.run("103", "104", "105")]

    assert [evaluation.reasons for evaluation in found[:3]] == [(Reason.GAP,)] * 3
    assert found[3].action is Action.ENTRY


def test_exits_go_on_through_a_gap() -> None:
    """A gap blocks entries, never exits."""
    strategy = Strategy()
    strategy.run("100", "100", "100", "101")

    found = strategy.close("99", clean=False)

    assert found.action is Action.EXIT


@pytest.mark.parametrize(
    ("market", "reason"),
    [
        (Market(listed=False, shortable=False, live=True, late=False), Reason.NOT_IN_SYMBOLS),
        (Market(listed=True, shortable=False, live=False, late=False), Reason.WARMING_UP),
        (Market(listed=True, shortable=False, live=True, late=True), Reason.STALE_BAR),
    ],
)
def test_what_the_market_forbids_is_named(market: Market, reason: Reason) -> None:
    """An unlisted symbol, warm-up bars alone, or a bar that closed late give no entry, and say so."""
    strategy = Strategy()
    strategy.run("100", "100", "100")

    assert strategy.close("101", market).reasons == (reason,)


def test_shorts_only_where_allowed_and_possible() -> None:
    """Falling momentum enters short with SIGNAL_ALLOW_SHORT on a perpetual; never on spot, never without it."""
    falling = ("100", "100", "100", "99")
    on_spot = Strategy(SIGNAL_ALLOW_SHORT="true").run(*falling)[-1]
    forbidden = Strategy().run(*falling, market=PERPETUAL)[-1]
    strategy = Strategy(SIGNAL_ALLOW_SHORT="true")
    entered = strategy.run(*falling, market=PERPETUAL)[-1]

    assert on_spot.reasons == (Reason.SHORT_NOT_ALLOWED,)
    assert forbidden.reasons == (Reason.SHORT_NOT_ALLOWED,)
    assert entered.action is Action.ENTRY
    assert strategy.stance.position is not None
    assert strategy.stance.position.direction == -1


@pytest.mark.parametrize(("high", "stopped"), [("100.98", True), ("100.9799999", False)])
def test_a_short_is_stopped_above(high: str, stopped: bool) -> None:
    """Entered short at 99 the stop lies at 99 * 1.02 = 100.98."""
    strategy = Strategy(SIGNAL_ALLOW_SHORT="true")
    strategy.run("100", "100", "100", "99", market=PERPETUAL)

    found = strategy.close("98", PERPETUAL, high=Decimal(high))

    assert (found.reasons == (Reason.VIRTUAL_STOP,)) is stopped


def test_all_reasons_that_hold_are_recorded_in_order() -> None:
    """Why there was no trade is the whole list, not the first hit."""
    strategy = Strategy(SIGNAL_MIN_VOLUME="1000000")
    strategy.run("100", "100", "100")
    strategy.stance.armed, strategy.stance.rested_from_minute = False, 100

    found = strategy.close("99.2", clean=False)

    assert found.reasons == (
        Reason.GAP,
        Reason.BELOW_THRESHOLD,
        Reason.SHORT_NOT_ALLOWED,
        Reason.NOT_ARMED,
        Reason.COOLDOWN,
        Reason.VOLUME,
    )


def test_an_evaluation_reads_like_a_sentence() -> None:
    """The operator sees m, T and how far it is: 0.31 % of 0.52 % is 59 % of the way."""
    found = Evaluation(
        minute=1,
        close=Decimal(100),
        momentum_e12=3_100_000_000,
        threshold_e12=5_200_000_000,
        volatility_e12=None,
        volume_e8=0,
        action=Action.NONE,
        reasons=(Reason.BELOW_THRESHOLD,),
    )

    assert found.text() == "m 0.31 %, T 0.52 %, 59 % of the way: BELOW_THRESHOLD"


def test_a_fall_where_nothing_is_sold_short_has_gone_none_of_the_way() -> None:
    """On spot only a rise leads to an entry: a fall beyond T is no more at the goal than a small one."""
    falling = Strategy().run("100", "100", "100", "98")[-1]

    assert Reason.SHORT_NOT_ALLOWED in falling.reasons
    assert falling.way_pct == 0
    assert falling.text() == "m -2.00 %, T 1.00 %, 0 % of the way: SHORT_NOT_ALLOWED"


def test_unknown_numbers_are_said_to_be_unknown() -> None:
    """Without bars there is no m; with them and without returns there is no T; an entry says that it is one."""
    first = Strategy().close("100")
    warming = Strategy(SIGNAL_VOL_MULT="1").run("100", "100", "100", "101")[-1]
    entry = Strategy().run("100", "100", "100", "101")[-1]

    assert first.text() == "m unknown: WARMING_UP"
    assert first.volatility_pct is None
    assert warming.text() == "m 1.00 %, T unknown: WARMING_UP"
    assert entry.text() == "m 1.00 %, T 1.00 %, 100 % of the way: entry"


def test_an_evaluation_survives_its_row() -> None:
    """The text that stands in the state is read back as the same evaluation."""
    for evaluation in Strategy().run("100", "100", "100", "101", "90"):
        assert Evaluation.from_row(evaluation.row()) == evaluation


def test_a_position_ends_also_when_momentum_became_unknown() -> None:
    """A longer lookback leaves m unknown for a while: the longest hold still ends the position, disarmed."""
    strategy = Strategy()
    strategy.run("100", "100", "100", "101")
    strategy.rule = Rule.of(settings(SIGNAL_LOOKBACK_MIN=9, SIGNAL_MAX_HOLD_MIN=1))

    found = strategy.close("101")

    assert found.momentum_pct is None
    assert (found.action, found.reasons) == (Action.EXIT, (Reason.MAX_HOLD,))
    assert not strategy.stance.armed
