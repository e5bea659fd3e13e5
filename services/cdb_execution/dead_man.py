"""The dead-man switch: when risk is silent, execution accepts no new position.

Execution reads no clock, so silence must stand in the journal. Risk answers the clock: a `control/heartbeat` with the
first tick, and from then on with the first tick ten seconds or more after the last one. It is stamped with risk's own
`now`, so that a risk that lags behind counts as silent up to what it has seen. Whatever the distance of the ticks
(a minute in candle files), only a tick that was not answered begins a silence.

A decision alone is no proof of life: losses, stops and the day roll are looked at with the clock, and the heartbeat
says that they were.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from services.common.decimals import divide
from services.common.timestamps import SECOND_US

__all__ = ["RiskWatch"]


@dataclass
class RiskWatch:
    """What was heard of risk; times in microseconds.

    Attributes:
        heard: whether risk has ever sent a heartbeat in this run; nothing is expected before.
        last_tick: time of the last tick; None before the first.
        tick_gap: time between the last two ticks.
        waiting_since: the first tick that risk has not answered; None when it has answered all.
        silent: whether the silence was found (and told).
    """

    heard: bool = False
    last_tick: int | None = None
    tick_gap: int = SECOND_US
    waiting_since: int | None = None
    silent: bool = False

    def tick(self, now: int) -> None:
        """Expect an answer to a tick of the clock."""
        if self.last_tick is not None and now > self.last_tick:
            self.tick_gap = now - self.last_tick
        self.last_tick = now
        if self.heard and self.waiting_since is None:
            self.waiting_since = now

    def heartbeat(self, seen: int) -> None:
        """Take a heartbeat: risk has seen the clock up to `seen`."""
        self.heard = True
        if self.last_tick is None or seen >= self.last_tick:
            self.waiting_since = None
        else:
            self.waiting_since = min(self.last_tick, seen + self.tick_gap)

    def overdue(self, now: int, limit_sec: int) -> bool:
        """Whether risk has left a tick unanswered for longer than the limit."""
        return self.waiting_since is not None and now - self.waiting_since > limit_sec * SECOND_US

    def seconds(self, now: int) -> Decimal:
        """Return for how long the oldest unanswered tick has been waiting."""
        since = now if self.waiting_since is None else self.waiting_since
        return divide(Decimal(now - since), Decimal(SECOND_US), 6)
