"""The socket of a connection that has been made: bytes out, replies in, and nothing in between.

redis-py connects, authenticates and names the connection; from then on every message goes through here. Its own way
from the socket to a reply costs as much as a whole market data event does in a machine.
"""

from __future__ import annotations

from typing import Any, Final

import hiredis
import redis
from redis.connection import DefaultParser

__all__ = ["NOTHING", "Wire"]

NOTHING: Final = object()
"""There is no whole reply yet; None and False are replies."""

_CHUNK: Final = 65_536


class Wire:
    """One connection's socket and what has been read from it.

    Args:
        connection: of redis-py, connected, with nothing under way; it stays the socket's owner and closes it.
    """

    def __init__(self, connection: Any) -> None:
        self._socket = connection._sock  # noqa: SLF001 -- there is no public way to it
        self._patience_sec: float | None = self._socket.gettimeout()
        self._reader: Any = hiredis.Reader(
            protocolError=redis.InvalidResponse, replyError=DefaultParser.parse_error, notEnoughData=NOTHING
        )
        self._buffer = bytearray(_CHUNK)

    def send(self, *command: Any) -> None:
        """Send one command.

        Raises:
            redis.ConnectionError, redis.TimeoutError: some of it may have been sent.
        """
        try:
            self._socket.sendall(hiredis.pack_command(command))
        except TimeoutError as error:
            raise redis.TimeoutError("Redis takes nothing") from error
        except OSError as error:
            raise redis.ConnectionError(f"the connection to Redis broke: {error}") from error

    def reply(self, timeout_sec: float | None = None) -> Any:
        """Return the next reply as Redis gave it, waiting for it.

        Args:
            timeout_sec: how long for each part of it; by default what the connection was made with.

        Raises:
            redis.ConnectionError, redis.TimeoutError: it did not come.
            redis.ResponseError: it is a refusal.
        """
        while (reply := self.read()) is NOTHING:
            if not self.wait(timeout_sec):
                raise redis.TimeoutError("Redis does not answer")
        return reply

    def read(self) -> Any:
        """Return the next reply that has arrived already, or `NOTHING`.

        Raises:
            redis.ResponseError: it is a refusal.
        """
        reply = self._reader.gets()
        if isinstance(reply, Exception):
            raise reply
        return reply

    def arrived(self, limit: int) -> list[Any]:
        """Return the replies that have arrived already, at most so many; a refusal is one of them.

        Raises:
            redis.ConnectionError, redis.InvalidResponse: what arrived is none.
        """
        replies: list[Any] = []
        gets = self._reader.gets
        while len(replies) < limit and (reply := gets()) is not NOTHING:
            replies.append(reply)
        return replies

    def wait(self, timeout_sec: float | None = None) -> bool:
        """Read what arrives within so many seconds; False when nothing did.

        Raises:
            redis.ConnectionError: the connection is gone.
        """
        connected = self._socket
        try:
            if timeout_sec is None:
                size = connected.recv_into(self._buffer)
            else:
                connected.settimeout(timeout_sec)
                try:
                    size = connected.recv_into(self._buffer)
                finally:
                    connected.settimeout(self._patience_sec)
        except (TimeoutError, BlockingIOError):
            return False
        except OSError as error:
            raise redis.ConnectionError(f"the connection to Redis broke: {error}") from error
        if not size:
            raise redis.ConnectionError("Redis has closed the connection")
        self._reader.feed(self._buffer, 0, size)
        return True
