"""Asking MEXC: rate limits, server time, and retries of what may be asked twice. An order is sent by `send`, once.

Errors name method and path alone: queries and headers hold signatures and keys.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import stamina

from services.cdb_execution.adapters.dialects import MISTIMED, THROTTLED, Call, Dialect, told_code
from services.cdb_execution.adapters.keys import Keys
from services.cdb_execution.adapters.limits import RateLimiter
from services.cdb_execution.adapters.server_clock import ServerClock
from services.cdb_execution.adapters.transport import HttpAnswer, Transport, TransportFailure
from services.common.errors import ExchangeAnswerInvalid, ExchangeRefused, ExchangeUnreachable

__all__ = ["LIMITED", "MexcCaller"]

LIMITED: Final = TransportFailure("rate_limited", sent=False)
_ATTEMPTS: Final = 3
_LONGEST_WAIT_SEC: Final = 10.0
_SHORTEST_SILENCE_SEC: Final = 2.0
"""Also when Retry-After is less: what is asked again at once makes a ban of a limit."""
_UNTOLD_SILENCE_SEC: Final = {"429": 10.0, "418": 120.0, "510": 2.0}
"""How long to be silent when the answer has no Retry-After."""


class MexcCaller:
    """Sends signed requests of one dialect with one pair of keys.

    Attributes:
        clock: the exchange's.
        limiter: this account's.
    """

    def __init__(
        self,
        dialect: Dialect,
        transport: Transport,
        keys: Keys,
        base: str,
        limiter: RateLimiter,
        *,
        clock: Callable[[Callable[[], int]], ServerClock] = ServerClock,
        timeout_sec: float = 5.0,
        read_time: tuple[Call, Callable[[Any], int]],
    ) -> None:
        """Send nothing yet.

        Args:
            dialect: how requests are signed.
            transport: how they travel.
            keys: of the account.
            base: address without a path.
            limiter: of this dialect.
            clock: makes the clock out of a way to ask for the time.
            timeout_sec: of one request.
            read_time: the public call that tells the exchange's time, and how its answer is read.
        """
        self._dialect = dialect
        self._transport = transport
        self._keys = keys
        self._base = base
        self._timeout_sec = timeout_sec
        self._read_time = read_time
        self.limiter = limiter
        self.clock = clock(self._ask_time)

    def ask(self, call: Call) -> Any:
        """Ask for something that may be asked again, and return what the answer holds.

        Raises:
            ExchangeRefused: the answer is an error.
            ExchangeUnreachable: no attempt brought an answer.
        """
        if call.signed:
            self.clock.refresh()
        retry = stamina.RetryingCaller(
            attempts=_ATTEMPTS, timeout=3 * self._timeout_sec, wait_initial=0.2, wait_max=2.0
        )
        return retry(_worth_repeating, self.once, call)

    def once(self, call: Call) -> Any:
        """Ask once; the same as :meth:`ask` without a second attempt."""
        answer = self.send(call, longest_wait_sec=_LONGEST_WAIT_SEC)
        if isinstance(answer, TransportFailure):
            raise ExchangeUnreachable(f"{call.method} {call.path}: {answer.kind}")
        try:
            return self._dialect.open(answer)
        except ExchangeUnreachable as unreachable:
            raise ExchangeUnreachable(f"{call.method} {call.path}: {unreachable}") from None

    def send(
        self, call: Call, *, longest_wait_sec: float, may_leave: Callable[[], bool] = lambda: True
    ) -> HttpAnswer | TransportFailure:
        """Send once and return whatever came of it; heeds the exchange's wish for silence.

        Args:
            call: what to send.
            longest_wait_sec: for its turn; it is not sent when its turn would come later.
            may_leave: asked when its turn has come, just before it leaves.

        Raises:
            ExchangeUnreachable: a signed call, and the exchange's time is not known.
        """
        if not self.limiter.take(call.bucket, call.weight, longest_wait_sec):
            return LIMITED
        now_ms = self.clock.now_ms() if call.signed else 0
        if not may_leave():
            return TransportFailure("too_late", sent=False)
        request = self._dialect.request(self._base, call, self._keys, now_ms)
        answer = self._transport.send(request, self._timeout_sec)
        if isinstance(answer, TransportFailure):
            return answer
        answer = replace(answer, body=self._keys.mask(answer.body))
        self._heed(answer, call)
        return answer

    def _heed(self, answer: HttpAnswer, call: Call) -> None:
        """Keep silent when asked to, and measure the clock anew when the stamp was wrong."""
        status, code = str(answer.status), told_code(answer)[0]
        asked = status if status in THROTTLED else code
        if asked in THROTTLED:
            told = answer.headers.get("retry-after", "")
            seconds = float(told) if told.isascii() and told.isdigit() else _UNTOLD_SILENCE_SEC[str(asked)]
            self.limiter.silence(max(seconds, _SHORTEST_SILENCE_SEC))
        if call.signed and code in MISTIMED:
            with contextlib.suppress(ExchangeUnreachable, ExchangeRefused):
                self.clock.measure()

    def _ask_time(self) -> int:
        call, read = self._read_time
        return read(self.once(call))


def _worth_repeating(error: Exception) -> bool:
    if isinstance(error, ExchangeRefused):
        return error.code in MISTIMED  # our clock was off, and `send` has measured it anew
    return isinstance(error, ExchangeUnreachable) and not isinstance(error, ExchangeAnswerInvalid)
