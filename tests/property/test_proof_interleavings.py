"""Any interleaving of everything, on spot and on perpetuals, in closed loop and against a hostile exchange.

The rules are in `risk_auditor.py`, counted there without the product's own functions; `trading_floor.py` says what may
happen. Each step is audited; at the end of each run the journal is replayed.
"""

from __future__ import annotations

from random import Random
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from services.common.events import Control, Order, OrderResult
from services.common.instruments import PERPETUAL
from tests.property.effort import examples
from tests.property.trading_floor import MIDS, TradingFloor

pytestmark = [pytest.mark.unit, pytest.mark.risk]

SYMBOLS = sorted(MIDS)
LOSSES = {"MAX_DAILY_DRAWDOWN_PCT": "0.004", "CIRCUIT_BREAKER_THRESHOLD_PCT": "0.006"}
VARIANTS: list[dict[str, Any]] = [
    {"ENTRY_SPACING_SEC": 0, "RISK_PER_TRADE_PCT": "0.0021", "MAX_TOTAL_EXPOSURE_PCT": "0.16", **LOSSES},
    {"ENTRY_SPACING_SEC": 1, "TAKE_PROFIT_PCT": "0.015", "TRAILING_STOP_PCT": "0.012", "MAX_HOLD_MIN": 30,
     **LOSSES},
    {"ENTRY_SPACING_SEC": 0, "SIZING_METHOD": "volatility_targeting", "VOL_WINDOW_MIN": 240, "TARGET_VOL_PCT": "0.2"},
    {"ENTRY_SPACING_SEC": 0, "SIZING_METHOD": "atr_based", "ATR_PERIOD": 2, "ATR_BAR_MIN": 1, "MAX_POSITION_PCT": 1},
    {"ENTRY_SPACING_SEC": 0, "SIZING_METHOD": "kelly_criterion", "MAX_TOTAL_EXPOSURE_PCT": "0.15"},
    {"ENTRY_SPACING_SEC": 0, "MAX_CONCURRENT_POSITIONS": 1, "STOP_LOSS_PCT": "0.01", "RISK_PER_TRADE_PCT": "0.02"},
    {"MAX_POSITION_PCT": 1, "MAX_TOTAL_EXPOSURE_PCT": 1, "RISK_PER_TRADE_PCT": 1, "MAX_ORDER_NOTIONAL_USDT": 1_000_000,
     "ENTRY_SPACING_SEC": 0, "MAX_ENTRIES_PER_MINUTE": 1},
]  # fmt: skip
LEVERAGES = [1, 2, 5, 20]
KINDS = ["good"] * 12 + ["wide", "crossed", "missing", "jump", "spike", "gap", "thin", "far_mark", "no_mark"]
ANSWERS = ["fill", "fill", "fill", "fill", "NEW", "SUBMITTING", "UNKNOWN", "REJECTED", "EXPIRED", "CANCELED", "again"]
NUMBERS = st.integers(0, 10_000)


def open_floor(venue: str, variant: int, leverage: int, *, hostile: bool) -> TradingFloor:
    """Return a floor with one of the settings, quoted and, where its sizing asks for it, warmed up."""
    changed = dict(VARIANTS[variant])
    if venue == PERPETUAL:
        changed |= {"SIGNAL_ALLOW_SHORT": True, "LEVERAGE": LEVERAGES[leverage], "MAX_LEVERAGE": 20}
    floor = TradingFloor(venue, hostile=hostile, **changed)
    floor.warm_up(245)
    floor.quote_all()
    if changed.get("SIZING_METHOD") == "kelly_criterion":
        for trip in range(30):
            floor.signal("DOGEUSDT", "buy", "entry")
            floor.signal("DOGEUSDT", "sell", "exit", per_mille=1_030 if trip % 3 else 985)
    return floor


class Interleavings(RuleBasedStateMachine):
    """Plays feed, strategy, exchange, operator and fate against risk; the venue is that of the subclass."""

    venue: ClassVar[str] = "mexc_spot"

    def __init__(self) -> None:
        super().__init__()
        self.floor: TradingFloor = None  # type: ignore[assignment]

    @initialize(variant=st.integers(0, len(VARIANTS) - 1), leverage=st.integers(0, 3), hostile=st.booleans())
    def begin(self, variant: int, leverage: int, hostile: bool) -> None:
        """Open the floor."""
        self.floor = open_floor(self.venue, variant, leverage, hostile=hostile)

    @rule(
        symbol=st.sampled_from(SYMBOLS),
        move=st.integers(960, 1_040),
        wait_ms=st.sampled_from([0, 10, 260, 1_000, 2_000, 5_000]),
        kind=st.sampled_from(KINDS),
        rate=st.sampled_from([None, "0.0001", "-0.0003"]),
    )
    def quote(self, symbol: str, move: int, wait_ms: int, kind: str, rate: str | None) -> None:
        """Quote one symbol."""
        self.floor.quote(symbol, move, wait_ms, kind, rate)

    @rule(seconds=st.sampled_from([0, 1, 1, 5, 12, 61]), pressure=st.sampled_from(["none"] * 6 + ["entries"]))
    def tick(self, seconds: int, pressure: str) -> None:
        """Let time pass."""
        self.floor.tick(seconds, pressure)

    @rule(hours=st.sampled_from([1, 5, 13]))
    def sleep(self, hours: int) -> None:
        """Let much time pass, perhaps midnight or a settlement of funding, and quote everything again."""
        self.floor.tick(3_600 * hours)
        self.floor.quote_all()

    @rule(symbol=st.sampled_from(SYMBOLS), short=st.booleans(), fresh=st.booleans())
    def enter(self, symbol: str, short: bool, fresh: bool) -> None:
        """Ask for an entry, mostly on fresh quotes."""
        if fresh:
            self.floor.tick(1)
            self.floor.quote_all()
        self.floor.signal(symbol, "sell" if short and self.venue == PERPETUAL else "buy", "entry")

    @rule(
        symbol=st.sampled_from([*SYMBOLS, "DOGEUSDT"]),
        side=st.sampled_from(["buy", "sell"]),
        intent=st.sampled_from(["entry", "exit", "exit"]),
        old_ms=st.sampled_from([0, 0, 61_000, -6_000]),
        per_mille=st.sampled_from([1_000, 1_000, 1_000, 1, 1_000_000]),
    )
    def signal(self, symbol: str, side: str, intent: str, old_ms: int, per_mille: int) -> None:
        """Send a signal, also foolish ones."""
        self.floor.signal(symbol, side, intent, old_ms=old_ms, per_mille=per_mille)

    @precondition(lambda self: self.floor is not None and self.floor.hostile)
    @rule(pick=NUMBERS, kind=st.sampled_from(ANSWERS), share=st.integers(1, 1_000), slip=st.integers(995, 1_005))
    def answer(self, pick: int, kind: str, share: int, slip: int) -> None:
        """Let the hostile exchange answer."""
        self.floor.answer(pick, kind, share, slip)

    @rule(
        action=st.sampled_from(["halt", "flatten", "resume", "resume", "reset_breaker", "reset_breaker"]),
        freeze=st.sampled_from([False, False, True, "yes"]),
        by=st.sampled_from(["ana", "ana", "ana", "", None]),
        repeated=st.booleans(),
    )
    def command(self, action: str, freeze: Any, by: str | None, repeated: bool) -> None:
        """Give a command, also without a name."""
        self.floor.command(action, repeated=repeated, by=by, details={"freeze": freeze} if action == "halt" else {})

    @rule(pick=NUMBERS)
    def intrude(self, pick: int) -> None:
        """Let somebody speak who may not."""
        self.floor.intrude(pick)

    @rule()
    def restart(self) -> None:
        """Restart everything."""
        self.floor.restart()

    def teardown(self) -> None:
        """Replay."""
        if self.floor is not None:
            self.floor.replay()


class SpotInterleavings(Interleavings):
    """On spot."""


class PerpetualInterleavings(Interleavings):
    """On perpetuals."""

    venue = PERPETUAL


SpotInterleavings.TestCase.settings = settings(max_examples=examples(5), stateful_step_count=20, deadline=None)
PerpetualInterleavings.TestCase.settings = settings(max_examples=examples(5), stateful_step_count=20, deadline=None)
TestSpotInterleavings = SpotInterleavings.TestCase
TestPerpetualInterleavings = PerpetualInterleavings.TestCase


def walk(venue: str, seed: int, steps: int) -> TradingFloor:
    """Take weighted steps, so that positions are opened, stopped, closed and halted all the time."""
    draw = Random(seed)
    game = PerpetualInterleavings() if venue == PERPETUAL else SpotInterleavings()
    game.begin(seed % len(VARIANTS), draw.randrange(4), draw.random() < 0.5)
    floor = game.floor
    for _ in range(steps):
        symbol, roll = draw.choice(SYMBOLS), draw.random()
        if floor.hostile and floor.auditor.working and roll < 0.35:
            share, slip = draw.choice([300, 1_000]), draw.randrange(995, 1_006)
            game.answer(draw.randrange(1_000), draw.choice(ANSWERS), share, slip)
        elif floor.auditor.causes and roll < 0.45:
            game.command("resume", False, "ana", False)
            game.command("reset_breaker", False, "ana", False)
        elif roll < 0.55:
            game.enter(symbol, draw.random() < 0.5, draw.random() < 0.9)
        elif roll < 0.82:
            wait_ms = draw.choice([0, 260, 1_000, 2_000])
            move = draw.randrange(975, 1_022) if draw.random() < 0.85 else draw.choice([954, 958, 1_042, 1_046])
            game.quote(symbol, move, wait_ms, draw.choice(KINDS), draw.choice([None, "0.0001"]))
        elif roll < 0.88:
            held = floor.auditor.books[f"{venue}:{symbol}"].held
            game.signal(symbol, "buy" if held < 0 else "sell", "exit", 0, 1_000)
        elif roll < 0.93:
            game.tick(draw.choice([1, 1, 5, 12, 61]), draw.choice(["none", "none", "entries"]))
        elif roll < 0.94:
            game.command(draw.choice(["halt", "flatten"]), draw.choice([False, True]), "ana", draw.random() < 0.5)
        elif roll < 0.96:
            side, intent = draw.choice(["buy", "sell"]), draw.choice(["entry", "exit"])
            game.signal(symbol, side, intent, draw.choice([0, 61_000]), 1_000)
        elif roll < 0.98:
            game.intrude(draw.randrange(1_000))
        elif roll < 0.99:
            game.restart()
        else:
            game.sleep(draw.choice([1, 13]))
    game.teardown()
    return floor


@pytest.mark.parametrize("venue", ["mexc_spot", PERPETUAL])
@given(seed=st.integers(0, 2**32))
@settings(max_examples=examples(2), deadline=None)
def test_a_long_day(venue: str, seed: int) -> None:
    """120 weighted steps keep every rule of the auditor."""
    walk(venue, seed, 120)


@pytest.mark.slow
@pytest.mark.parametrize("venue", ["mexc_spot", PERPETUAL])
@given(seed=st.integers(0, 2**32))
@settings(max_examples=examples(200), deadline=None)
def test_many_long_days(venue: str, seed: int) -> None:
    """The same for many days of 300 steps."""
    walk(venue, seed, 300)


@pytest.mark.slow
@pytest.mark.parametrize("venue", ["mexc_spot", PERPETUAL])
def test_the_days_are_eventful(venue: str) -> None:
    """The walks really trade, stop, halt, latch and flatten; else the properties above would prove little."""
    seen: set[Any] = set()
    for seed in range(2 * len(VARIANTS)):
        floor = walk(venue, seed, 90)
        for entry in floor.journal:
            event = entry.event
            if isinstance(event, Order):
                seen |= {event.purpose, event.side}
            elif isinstance(event, OrderResult):
                seen.add(event.status)
            elif isinstance(event, Control):
                seen |= {event.action, event.details.get("state")}
    wanted = {"entry", "exit", "stop_loss", "flatten", "BUY", "SELL"}
    wanted |= {"PARTIALLY_FILLED", "FILLED", "UNKNOWN", "CANCELED", "EXPIRED", "REJECTED"}
    wanted |= {"REDUCING", "HALTED", "FROZEN", "ACTIVE", "start_of_day"}
    wanted |= {"funding", "liquidation_guard"} if venue == PERPETUAL else set()
    assert wanted <= seen, wanted - seen
