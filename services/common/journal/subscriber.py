"""One subscribed connection that never reconnects by itself.

A client that resubscribes silently loses what was published in between. Here a lost connection is an error, and its
owner starts over from its own place in the journal.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import redis

from services.common.journal.link import connect
from services.common.journal.wire import Wire
from services.common.settings import Infrastructure

__all__ = ["Message", "Subscriber"]


class Message(NamedTuple):
    """What arrived: the channel and the raw bytes."""

    channel: str
    data: bytes


class Subscriber:
    """Subscribes at construction and returns once the server has confirmed every channel.

    Args:
        infra: where Redis is.
        channels: one at least.
        name: shown in CLIENT LIST.

    Raises:
        redis.ConnectionError, redis.TimeoutError: no connection, or no confirmation in time.
    """

    def __init__(self, infra: Infrastructure, channels: Iterable[str], *, name: str) -> None:
        names = sorted(set(channels))
        self._early: list[Message] = []
        self._broken: Exception | None = None
        self._connection: Any = connect(infra, name=name)
        self._names = {name.encode(): name for name in names}
        try:
            self._wire = Wire(self._connection)
            self._wire.send("SUBSCRIBE", *names)
            confirmed = 0
            while confirmed < len(names):
                confirmed += not self._take(self._early, self._wire.reply())
        except BaseException:
            self.close()
            raise

    def _take(self, messages: list[Message], reply: Any) -> bool:
        if isinstance(reply, Exception):
            raise reply
        kind, channel, data = reply
        if kind != b"message":
            return False
        messages.append(Message(self._names[channel], data))
        return True

    def receive(self, timeout_sec: float, limit: int) -> list[Message]:
        """Wait up to `timeout_sec` for a message, then take what has come with it, up to `limit`.

        Raises:
            redis.ConnectionError, redis.TimeoutError: the connection is gone, for ever; what it had delivered before
                was returned.
        """
        if self._broken is not None:
            raise self._broken  # asking the connection itself would silently make a new one, without subscriptions
        messages, self._early = self._early, []
        wire = self._wire
        try:
            while True:
                for reply in wire.arrived(limit - len(messages)):
                    self._take(messages, reply)
                if messages or not wire.wait(timeout_sec):
                    break
        except (redis.ConnectionError, redis.TimeoutError) as error:
            self._broken = error
            if not messages:
                raise
        return messages

    def close(self) -> None:
        """Drop the connection."""
        self._connection.disconnect()
