"""A live feed at work: inputs from the wires into the state machine, what it wants done back to the wires.

Everything that goes in is handed to a recorder too, in its order and with its time, so that the same session can be
played again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Protocol

import structlog

from services.cdb_ws.adapters.live_wire import Came, LiveWire
from services.cdb_ws.live.feed import LiveFeed
from services.cdb_ws.live.protocols import Market
from services.cdb_ws.live.words import Answer, Ask, Close, Open, Send, Step

__all__ = ["LiveSession", "Recorder", "Stamp"]


class Recorder(Protocol):
    """Keeps a session."""

    def began(self, at_us: int) -> None:
        """Keep that it began."""

    def ticked(self, at_us: int) -> None:
        """Keep that time passed, with consequences."""

    def held(self, at_us: int, held: Mapping[str, Decimal | None]) -> None:
        """Keep that what is held has changed."""

    def came(self, came: Came) -> None:
        """Keep an input."""

    def sent(self, at_us: int, connection: int, text: str) -> None:
        """Keep a frame of ours."""


class Stamp:
    """The feed's time for many threads: it never goes back.

    Args:
        now_us: a clock that only one thread may ask at a time.
    """

    def __init__(self, now_us: Callable[[], int]) -> None:
        self._now_us = now_us
        self._lock = threading.Lock()
        self._last_us = 0

    def __call__(self) -> int:
        """Return the time, microseconds."""
        with self._lock:
            self._last_us = max(self._last_us, self._now_us())
            return self._last_us


class LiveSession:
    """One connection with the exchange after the other, until it is closed.

    Args:
        feed: decides.
        market: where the exchange is.
        stamp: the feed's time.
        recorder: keeps what comes and goes.

    Attributes:
        now_us: feed time of the last input.
    """

    def __init__(self, feed: LiveFeed, market: Market, stamp: Callable[[], int], recorder: Recorder | None) -> None:
        self.feed = feed
        self._stamp = stamp
        self._recorder = recorder
        self._wire = LiveWire(market.socket_url, market.rest_url, stamp)
        self._log = structlog.get_logger("cdb_ws")
        self._held: Mapping[str, Decimal | None] = {}
        self.now_us = 0

    @property
    def backlog(self) -> int:
        """Inputs that wait."""
        return self._wire.waiting

    def begin(self) -> Step:
        """Begin."""
        self.now_us = self._stamp()
        if self._recorder is not None:
            self._recorder.began(self.now_us)
        return self._done(self.feed.begin(self.now_us))

    def next(self, timeout_sec: float) -> Step | None:
        """Take the next input in; None when none comes in time."""
        came = self._wire.take(timeout_sec)
        if came is None:
            return None
        # threads stamp what they bring and hand it over one after the other: the order of the queue is the order
        self.now_us = max(self.now_us, came.at_us)
        came = Came(came.kind, self.now_us, came.connection, came.value)
        if self._recorder is not None:
            self._recorder.came(came)
        return self._done(apply(self.feed, came))

    def idle(self) -> int:
        """Return the time, when no input was waiting; none that comes later lies before it."""
        self.now_us = max(self.now_us, self._stamp())
        return self.now_us

    def tick(self) -> Step:
        """Let time pass."""
        self.idle()
        step = self.feed.tick(self.now_us)
        if step and self._recorder is not None:
            self._recorder.ticked(self.now_us)
        return self._done(step)

    def hold(self, held: Mapping[str, Decimal | None]) -> Step:
        """Let the feed know what is held, if that has changed."""
        if held == self._held:
            return Step()
        self._held = held
        self.idle()
        if self._recorder is not None:
            self._recorder.held(self.now_us, held)
        return self._done(self.feed.hold(held, self.now_us))

    def close(self) -> None:
        """End it."""
        self._wire.stop()

    def _done(self, step: Step) -> Step:
        for action in step.actions:
            match action:
                case Ask():
                    self._wire.ask(action)
                case Open(number, after_ms):
                    self._wire.open(number, after_ms)
                case Send(number, text):
                    if self._recorder is not None:
                        self._recorder.sent(self.now_us, number, text)
                    if (why := self._wire.send(number, text)) is not None:
                        self._log.debug("frame_not_sent", connection=number, reason=why)
                case Close(number, reason):
                    self._log.info("connection_closed", connection=number, reason=reason)
                    self._wire.close(number)
        return step


def apply(feed: LiveFeed, came: Came) -> Step:
    """Return what follows from one input."""
    value = came.value
    if came.kind == "opened":
        return feed.opened(came.connection, came.at_us)
    if came.kind == "closed":
        return feed.closed(came.connection, str(value), came.at_us)
    if came.kind == "answer":
        assert isinstance(value, Answer)
        return feed.answered(value, came.at_us)
    assert isinstance(value, str | bytes)
    return feed.frame(came.connection, value, came.at_us)
