"""Rate limits: weights per address, per account and for placing orders; over them 429, again and again 418."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from services.common.errors import SandboxRefusal

__all__ = ["Limit", "RateLimits"]

_PATIENCE: Final = 20
"""So many refused requests within a minute turn 429 into a ban."""
_BAN_SECONDS: Final = 120


@dataclass(frozen=True)
class Limit:
    """So much weight within a window."""

    weight: int
    window_ms: int


class _Window:
    def __init__(self) -> None:
        self.used = 0
        self.entries: deque[tuple[int, int]] = deque()

    def admit(self, weight: int, limit: Limit, now_ms: int) -> int:
        """Return 0, or in how many milliseconds there is room again."""
        while self.entries and self.entries[0][0] <= now_ms - limit.window_ms:
            self.used -= self.entries.popleft()[1]
        if self.used + weight > limit.weight:
            return self.entries[0][0] + limit.window_ms - now_ms if self.entries else limit.window_ms
        self.entries.append((now_ms, weight))
        self.used += weight
        return 0


class RateLimits:
    """Sliding windows by bucket. A bucket's name says who and what, for example (`ip`, address, endpoint)."""

    def __init__(self, *, enforced: bool = True) -> None:
        self.enforced = enforced
        self._windows: dict[tuple[str, ...], _Window] = {}
        self._refused: dict[str, deque[int]] = {}
        self._banned_until: dict[str, int] = {}

    def admit_spot(self, who: str, bucket: tuple[str, ...], weight: int, limit: Limit, now_ms: int) -> None:
        """Count a spot request.

        Raises:
            SandboxRefusal: 429 over the limit, 418 while banned, both with Retry-After.
        """
        if not self.enforced:
            return
        left_ms = self._banned_until.get(who, 0) - now_ms
        if left_ms > 0:
            raise SandboxRefusal(418, "IP banned", status=418, retry_after=-(-left_ms // 1000))
        wait_ms = self._windows.setdefault(bucket, _Window()).admit(weight, limit, now_ms)
        if not wait_ms:
            return
        refused = self._refused.setdefault(who, deque())
        refused.append(now_ms)
        while refused[0] <= now_ms - 60_000:
            refused.popleft()
        if len(refused) >= _PATIENCE:
            self._banned_until[who] = now_ms + _BAN_SECONDS * 1000
        raise SandboxRefusal(429, "Too Many Requests", status=429, retry_after=max(1, -(-wait_ms // 1000)))

    def admit_perpetual(self, bucket: tuple[str, ...], limit: Limit, now_ms: int) -> None:
        """Count a perpetual request.

        Raises:
            SandboxRefusal: 510 over the limit.
        """
        if self.enforced and self._windows.setdefault(bucket, _Window()).admit(1, limit, now_ms):
            raise SandboxRefusal(510, "Requests are too frequent, please try again later!", status=200)
