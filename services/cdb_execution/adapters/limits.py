"""Staying within MEXC's request limits: token buckets by endpoint group, and silence while the exchange asks for it.

Source: MEXC API documentation, "Limits" (spot v3: weights per IP in 10 s, 12 orders per second) and the perpetual
v1 pages (requests per 2 s and endpoint). Buckets are filled to 9/10 of what is allowed: other programs may use the
same address, and the exchange counts in windows that we do not see.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Final

__all__ = ["PERPETUAL_LIMITS", "SPOT_LIMITS", "Limit", "RateLimiter"]

_LONGEST_BAN_SEC: Final = 3 * 86_400.0


@dataclass(frozen=True)
class Limit:
    """So much weight within so many seconds."""

    weight: float
    per_sec: float


def _cautious(weight: float, per_sec: float) -> Limit:
    return Limit(max(1.0, weight * 0.9), per_sec)


SPOT_LIMITS: Final[Mapping[str, Limit]] = {"order": _cautious(12, 1), "weight": _cautious(300, 10)}
PERPETUAL_LIMITS: Final[Mapping[str, Limit]] = {
    "order": _cautious(4, 2),
    "cancel": _cautious(20, 2),
    "read": _cautious(10, 2),
}


class RateLimiter:
    """Token buckets under one lock; `take` waits for its turn as long as it may, or says that it would take longer."""

    def __init__(
        self,
        limits: Mapping[str, Limit],
        *,
        clock: Callable[[], float] = monotonic,
        wait: Callable[[float], None] = sleep,
    ) -> None:
        """Begin with full buckets."""
        self._limits = limits
        self._clock = clock
        self._wait = wait
        self._lock = threading.Lock()
        self._tokens = {name: limit.weight for name, limit in limits.items()}
        self._filled_at = dict.fromkeys(limits, clock())
        self._silent_until = 0.0

    def take(self, bucket: str, weight: float, longest_wait_sec: float) -> bool:
        """Take `weight` of a bucket, waiting for it; False at once, and nothing taken, when that is too long."""
        with self._lock:
            needed = self._due_in(bucket, weight)
            if needed > longest_wait_sec:
                return False
            self._tokens[bucket] -= weight  # may go below zero: whoever comes next waits behind us
        if needed > 0:
            self._wait(needed)
        return True

    def silence(self, seconds: float) -> None:
        """Send nothing for a time: the exchange has asked for it (Retry-After)."""
        with self._lock:
            self._silent_until = max(self._silent_until, self._clock() + min(max(seconds, 0.0), _LONGEST_BAN_SEC))

    def silent_for(self) -> float:
        """Return for how many seconds nothing may be sent, 0 when it may."""
        with self._lock:
            return max(0.0, self._silent_until - self._clock())

    def _due_in(self, bucket: str, weight: float) -> float:
        limit, now = self._limits[bucket], self._clock()
        rate = limit.weight / limit.per_sec
        self._tokens[bucket] = min(limit.weight, self._tokens[bucket] + (now - self._filled_at[bucket]) * rate)
        self._filled_at[bucket] = now
        missing = (weight - self._tokens[bucket]) / rate
        return max(0.0, missing, self._silent_until - now)
