"""One subscribed connection that never reconnects by itself.

A client that resubscribes silently loses what was published in between. Here a lost connection is an error, and its
owner starts over from its own place in the journal.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import hiredis
import redis

from services.common.journal.link import CALL_TIMEOUT_SEC, connect
from services.common.settings import Infrastructure

__all__ = ["Message", "Subscriber"]

READ_BYTES: Final = 1 << 16


class Message(NamedTuple):
    """What arrived: the channel and the raw bytes."""

    channel: str
    data: bytes


class Subscriber:
    """Subscribes at construction and returns once the server has confirmed every channel.

    After the greeting it reads the socket itself: for a message that is one wait and one read, where the client
    library asks the kernel four times.

    Args:
        infra: where Redis is.
        channels: one at least.
        name: shown in CLIENT LIST.

    Raises:
        redis.ConnectionError, redis.TimeoutError: no connection, or no confirmation in time.
    """

    def __init__(self, infra: Infrastructure, channels: Iterable[str], *, name: str) -> None:
        names = sorted(set(channels))
        self._names = {name.encode(): name for name in names}
        self._early: list[Message] = []
        self._broken: Exception | None = None
        self._buffer = bytearray(READ_BYTES)
        self._reader: Any = hiredis.Reader(
            protocolError=redis.exceptions.InvalidResponse, replyError=redis.ResponseError
        )
        self._connection: Any = connect(infra, name=name)
        self._socket: Any = self._connection._sock  # noqa: SLF001 -- the library has no other way to it
        self._unconfirmed = len(names)
        try:
            self._connection.send_command("SUBSCRIBE", *names, check_health=False)
            while self._unconfirmed:
                if not self._read(CALL_TIMEOUT_SEC):
                    raise redis.TimeoutError("the subscription was not confirmed in time")
                self._take(self._early, READ_BYTES)
        except BaseException:
            self.close()
            raise

    def _read(self, timeout_sec: float) -> int:
        """Wait for bytes and give them to the parser; return how many came in time.

        Raises:
            redis.ConnectionError: the connection is gone.
        """
        self._socket.settimeout(timeout_sec)
        try:
            count: int = self._socket.recv_into(self._buffer)
        except (TimeoutError, BlockingIOError):
            return 0
        except OSError as error:
            raise redis.ConnectionError(f"the subscription broke: {error}") from error
        if not count:
            raise redis.ConnectionError("the server closed the subscription")
        self._reader.feed(self._buffer, 0, count)
        return count

    def _take(self, messages: list[Message], limit: int) -> None:
        """Move what is complete in the parser to `messages`, up to `limit` of them."""
        while len(messages) < limit:
            reply = self._reader.gets()
            if reply is False:
                return
            if isinstance(reply, Exception):
                raise reply
            kind, channel, data = reply
            if kind == b"message":
                messages.append(Message(self._names[channel], data))
            elif kind == b"subscribe":
                self._unconfirmed -= 1

    def receive(self, timeout_sec: float, limit: int) -> list[Message]:
        """Wait up to `timeout_sec` for a message, then take what is there, up to `limit`.

        Raises:
            redis.ConnectionError, redis.TimeoutError: the connection is gone, for ever; what it had delivered before
                was returned.
        """
        if self._broken is not None:
            raise self._broken  # asking the connection itself would silently make a new one, without subscriptions
        messages, self._early = self._early, []
        try:
            self._take(messages, limit)
            while len(messages) < limit:
                count = self._read(0.0 if messages else max(0.0, timeout_sec))
                self._take(messages, limit)
                if not count or (messages and count < READ_BYTES):  # all that has come
                    break
        except (redis.RedisError, OSError) as error:
            self._broken = error
            if not messages:
                raise
        return messages

    def close(self) -> None:
        """Drop the connection."""
        self._connection.disconnect()
