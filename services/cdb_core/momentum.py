"""The momentum rule (`momentum_v1`): windows over closed bars, and the strategy's virtual position.

With m = close_t / close_{t-L} - 1, s^2 = mean(r^2) of the one-minute returns over W, and T = max(floor, k s sqrt(L)):
enter when |m| >= T, armed, flat, rested and with enough volume; exit when m in the direction held falls to the exit
level, after the longest hold, or when the price goes the stop distance against the virtual entry.

The strategy sees no fills: what it "holds" is a fold of market data alone, and risk maps it to the real position.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from decimal import Decimal
from math import isqrt  # deterministic: of whole numbers
from typing import Self

from services.cdb_core.bars import Bar
from services.cdb_core.evaluation import Action, Evaluation, Reason
from services.cdb_core.settings import CoreSettings
from services.common.decimals import ONE
from services.common.fixed_point import change_e12, to_e6, to_e8, to_e12

__all__ = ["Market", "Reading", "Rule", "Stance", "VirtualPosition", "Windows"]

SQUARES_NEEDED = 240
"""One-minute returns that a volatility needs (or the whole window, when that is shorter)."""


@dataclass(frozen=True, slots=True)
class Rule:
    """The settings in the units in which the rule compares them."""

    lookback_min: int
    vol_window_min: int
    squares_needed: int
    mult_e6: int
    floor_e12: int
    exit_e12: int
    rearm_e6: int
    stop_pct: Decimal
    cooldown_min: int
    stop_cooldown_min: int
    max_hold_min: int
    min_volume_e8: int
    max_gap_min: int
    allow_short: bool

    @classmethod
    def of(cls, settings: CoreSettings) -> Self:
        """Return the rule of these settings."""
        uses_volatility = settings.SIGNAL_VOL_MULT > 0
        return cls(
            lookback_min=settings.SIGNAL_LOOKBACK_MIN,
            vol_window_min=settings.SIGNAL_VOL_WINDOW_MIN,
            squares_needed=min(SQUARES_NEEDED, settings.SIGNAL_VOL_WINDOW_MIN) if uses_volatility else 0,
            mult_e6=to_e6(settings.SIGNAL_VOL_MULT),
            floor_e12=to_e12(settings.SIGNAL_THRESHOLD_PCT),
            exit_e12=to_e12(settings.SIGNAL_EXIT_PCT),
            rearm_e6=to_e6(settings.SIGNAL_REARM_FRACTION),
            stop_pct=settings.SIGNAL_STOP_PCT,
            cooldown_min=settings.SIGNAL_COOLDOWN_MIN,
            stop_cooldown_min=settings.SIGNAL_STOP_COOLDOWN_MIN,
            max_hold_min=settings.SIGNAL_MAX_HOLD_MIN,
            min_volume_e8=to_e8(settings.SIGNAL_MIN_VOLUME),
            max_gap_min=settings.SIGNAL_MAX_GAP_MIN,
            allow_short=settings.SIGNAL_ALLOW_SHORT,
        )

    @property
    def horizon_min(self) -> int:
        """Minutes after which nothing that went before is in any window."""
        return max(self.lookback_min, self.vol_window_min) + self.max_gap_min + 2


@dataclass(frozen=True, slots=True)
class Reading:
    """The numbers of one closed bar, in the units of `Evaluation`."""

    momentum_e12: int | None
    threshold_e12: int | None
    volatility_e12: int | None
    volume_e8: int

    @property
    def reaches(self) -> bool | None:
        """Whether |m| >= T; None while either is unknown."""
        if self.momentum_e12 is None or self.threshold_e12 is None:
            return None
        return abs(self.momentum_e12) >= self.threshold_e12

    def rearms(self, rule: Rule) -> bool:
        """Return whether |m| is under the re-arming share of T (not while either is unknown)."""
        if self.momentum_e12 is None or self.threshold_e12 is None:
            return False
        return abs(self.momentum_e12) * 10**6 < rule.rearm_e6 * self.threshold_e12


@dataclass(slots=True)
class Windows:
    """Rolling windows over closed bars; every sum is whole numbers, so that it never drifts.

    Attributes:
        closes: of the last L + 1 bars.
        squares, square_sum: squared one-minute returns of the last W bars, in units of 10^-24.
        volumes_e8, volume_sum_e8: traded value of the last L bars, in units of 10^-8 quote currency.
    """

    closes: deque[Decimal] = field(default_factory=deque)
    squares: deque[int] = field(default_factory=deque)
    square_sum: int = 0
    volumes_e8: deque[int] = field(default_factory=deque)
    volume_sum_e8: int = 0

    def push(self, bar: Bar, rule: Rule) -> None:
        """Take in one closed bar and let go of what has left the windows (also after they were made shorter)."""
        if self.closes:
            square = change_e12(bar.close, self.closes[-1]) ** 2
            self.squares.append(square)
            self.square_sum += square
            while len(self.squares) > rule.vol_window_min:
                self.square_sum -= self.squares.popleft()
        self.closes.append(bar.close)
        while len(self.closes) > rule.lookback_min + 1:
            self.closes.popleft()
        self.volumes_e8.append(bar.volume_e8)
        self.volume_sum_e8 += bar.volume_e8
        while len(self.volumes_e8) > rule.lookback_min:
            self.volume_sum_e8 -= self.volumes_e8.popleft()

    def momentum_e12(self, rule: Rule) -> int | None:
        """Return m in units of 10^-12; None before there are L + 1 closes."""
        if len(self.closes) <= rule.lookback_min:
            return None
        return change_e12(self.closes[-1], self.closes[0])

    def threshold_e12(self, rule: Rule) -> int | None:
        """Return T = max(floor, k s sqrt(L)) in units of 10^-12, rounded up; None before there are enough returns.

        Rounded up to the grid of m, `|m| >= T` is exactly the comparison of squares m^2 >= k^2 s^2 L: for a whole
        number m and any x, m >= sqrt(x) if and only if m >= ceil(sqrt(ceil(x))).
        """
        count = len(self.squares)
        if count < rule.squares_needed:
            return None
        if not rule.mult_e6:
            return rule.floor_e12
        # -(-a // b) is a / b rounded up; k^2 is in units of 10^-12, the squares in units of 10^-24.
        square = -(-(rule.mult_e6**2 * self.square_sum * rule.lookback_min) // (count * 10**12))
        return max(rule.floor_e12, isqrt(square - 1) + 1 if square else 0)

    def volatility_e12(self) -> int | None:
        """Return s in units of 10^-12, cut; None before the first return."""
        return isqrt(self.square_sum // len(self.squares)) if self.squares else None

    def read(self, rule: Rule) -> Reading:
        """Return the numbers of the last bar pushed."""
        return Reading(self.momentum_e12(rule), self.threshold_e12(rule), self.volatility_e12(), self.volume_sum_e8)

    def missing_bars(self, rule: Rule) -> int:
        """Return how many more bars momentum and volatility need (0: warm)."""
        return max(rule.lookback_min + 1 - len(self.closes), rule.squares_needed - len(self.squares), 0)


@dataclass(slots=True)
class VirtualPosition:
    """What the strategy would hold if its signals were filled at the close that made them.

    Attributes:
        direction: 1 long, -1 short.
        entry_price: close of the entry's bar, quote currency.
        entry_minute: number of that bar's minute.
    """

    direction: int
    entry_price: Decimal
    entry_minute: int

    def stop_price(self, rule: Rule) -> Decimal:
        """Return the price at which the virtual stop lies, quote currency."""
        return self.entry_price * (ONE - self.direction * rule.stop_pct)

    def stopped(self, bar: Bar, rule: Rule) -> bool:
        """Return whether the bar's market data reached the virtual stop (a repeated close reaches nothing)."""
        if not bar.observed:
            return False
        stop = self.stop_price(rule)
        return bar.low <= stop if self.direction > 0 else bar.high >= stop


@dataclass(frozen=True, slots=True)
class Market:
    """What the rule must know about the instrument and the bar besides the numbers.

    Attributes:
        listed: the symbol stands in SYMBOLS.
        shortable: the instrument can be sold short at all (never on spot).
        live: market data came in this run, not only warm-up bars.
        late: a later minute had already passed when the bar closed.
    """

    listed: bool
    shortable: bool
    live: bool
    late: bool


@dataclass(slots=True)
class Stance:
    """Where the strategy stands with one instrument.

    Attributes:
        position: the virtual position; None while flat.
        armed: an entry is allowed to follow the threshold.
        rested_from_minute: first bar after cooldown that may enter.
        unclean_minute: the last bar with missing market data; None when there was none.
    """

    position: VirtualPosition | None = None
    armed: bool = True
    rested_from_minute: int = 0
    unclean_minute: int | None = None

    def note(self, bar: Bar) -> None:
        """Remember whether market data were missing in a closed bar."""
        if not bar.clean:
            self.unclean_minute = bar.minute

    def decide(self, bar: Bar, windows: Windows, rule: Rule, market: Market) -> Evaluation:
        """Decide on a closed bar that `windows` already contain, and take the virtual position that follows."""
        reading = windows.read(rule)
        action, reasons = self._act(bar, reading, rule, market)
        return Evaluation(
            minute=bar.minute,
            close=bar.close,
            momentum_e12=reading.momentum_e12,
            threshold_e12=reading.threshold_e12,
            volatility_e12=reading.volatility_e12,
            volume_e8=reading.volume_e8,
            action=action,
            reasons=reasons,
        )

    def gap_left_min(self, minute: int, rule: Rule) -> int:
        """Return how many more clean minutes the bar `minute` misses before an entry (0: none)."""
        return 0 if self.unclean_minute is None else max(self.unclean_minute + rule.lookback_min - minute, 0)

    def _act(self, bar: Bar, reading: Reading, rule: Rule, market: Market) -> tuple[Action, tuple[Reason, ...]]:
        if self.position is not None:
            triggers = _triggers(self.position, bar, reading.momentum_e12, rule)
            if not triggers:
                return Action.NONE, (Reason.IN_POSITION,)
            self.position = None
            if Reason.VIRTUAL_STOP in triggers:
                self.rested_from_minute = max(self.rested_from_minute, bar.minute + rule.stop_cooldown_min)
            self.armed = reading.rearms(rule)
            return Action.EXIT, triggers
        self.armed = self.armed or reading.rearms(rule)
        blockers = self._blockers(bar, reading, rule, market)
        if blockers:
            return Action.NONE, blockers
        assert reading.momentum_e12, "an entry without momentum is blocked as WARMING_UP or BELOW_THRESHOLD"
        self.position = VirtualPosition(1 if reading.momentum_e12 > 0 else -1, bar.close, bar.minute)
        self.armed = False
        self.rested_from_minute = bar.minute + rule.cooldown_min
        return Action.ENTRY, ()

    def _blockers(self, bar: Bar, reading: Reading, rule: Rule, market: Market) -> tuple[Reason, ...]:
        falling = reading.momentum_e12 is not None and reading.momentum_e12 < 0
        checks = (
            (Reason.WARMING_UP, reading.reaches is None or not market.live),
            (Reason.NOT_IN_SYMBOLS, not market.listed),
            (Reason.GAP, self.gap_left_min(bar.minute, rule) > 0),
            (Reason.STALE_BAR, market.late),
            (Reason.BELOW_THRESHOLD, reading.reaches is False),
            (Reason.SHORT_NOT_ALLOWED, falling and not (rule.allow_short and market.shortable)),
            (Reason.NOT_ARMED, not self.armed),
            (Reason.COOLDOWN, bar.minute < self.rested_from_minute),
            (Reason.VOLUME, reading.volume_e8 < rule.min_volume_e8),
        )
        return tuple([reason for reason, holds in checks if holds])


def _triggers(held: VirtualPosition, bar: Bar, momentum_e12: int | None, rule: Rule) -> tuple[Reason, ...]:
    checks = (
        (Reason.VIRTUAL_STOP, held.stopped(bar, rule)),
        (Reason.MAX_HOLD, bar.minute - held.entry_minute >= rule.max_hold_min),
        (Reason.MOMENTUM_FADED, momentum_e12 is not None and momentum_e12 * held.direction <= rule.exit_e12),
    )
    return tuple([reason for reason, holds in checks if holds])
