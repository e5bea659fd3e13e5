"""One subscribed connection that never reconnects by itself.

A client that resubscribes silently loses what was published in between. Here a lost connection is an error, and its
owner starts over from its own place in the journal.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import redis

from services.common.journal.link import connect
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
        try:
            self._connection.send_command("SUBSCRIBE", *names, check_health=False)
            confirmed = 0
            while confirmed < len(names):
                confirmed += not self._take(self._early, self._connection.read_response())
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _take(messages: list[Message], response: Any) -> bool:
        kind, channel, data = response
        if kind != b"message":
            return False
        messages.append(Message(channel.decode(), data))
        return True

    def receive(self, timeout_sec: float, limit: int) -> list[Message]:
        """Wait up to `timeout_sec` for a message, then take what is there, up to `limit`.

        Raises:
            redis.ConnectionError, redis.TimeoutError: the connection is gone, for ever; what it had delivered before
                was returned.
        """
        if self._broken is not None:
            raise self._broken  # asking the connection itself would silently make a new one, without subscriptions
        messages, self._early = self._early, []
        connection = self._connection
        try:
            if not messages:
                try:
                    # asking first whether it can be read would cost more system calls than the reading itself
                    self._take(messages, connection.read_response(timeout=timeout_sec, disconnect_on_error=False))
                except redis.TimeoutError:
                    return messages
            while len(messages) < limit and connection.can_read(0):
                self._take(messages, connection.read_response())
        except (redis.ConnectionError, redis.TimeoutError) as error:
            self._broken = error
            if not messages:
                raise
        return messages

    def close(self) -> None:
        """Drop the connection."""
        self._connection.disconnect()
