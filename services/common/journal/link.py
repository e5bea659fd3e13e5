"""One connection to Redis that we own: nothing reconnects behind our back, and nothing is sent twice by itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.connection import Connection, UnixDomainSocketConnection
from redis.retry import Retry

from services.common.errors import PublishRefused
from services.common.journal.scripts import Script
from services.common.journal.wire import Wire
from services.common.settings import Infrastructure

__all__ = ["CALL_TIMEOUT_SEC", "Link", "connect"]

CALL_TIMEOUT_SEC = 5.0


def connect(infra: Infrastructure, *, name: str) -> Any:
    """Return a fresh connection: authenticated, named, and without any retry of its own.

    Raises:
        redis.ConnectionError, redis.TimeoutError: the server cannot be reached or refuses the password.
    """
    options: dict[str, Any] = {
        "db": infra.REDIS_DB,
        "username": infra.REDIS_USERNAME or None,
        "password": infra.REDIS_PASSWORD.get_secret_value() or None,
        "socket_timeout": CALL_TIMEOUT_SEC,
        "socket_connect_timeout": CALL_TIMEOUT_SEC,
        "client_name": name,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "decode_responses": False,
    }
    over_socket: Any = UnixDomainSocketConnection
    over_tcp: Any = Connection
    if infra.REDIS_SOCKET:
        connection = over_socket(path=infra.REDIS_SOCKET, **options)
    else:
        connection = over_tcp(host=infra.REDIS_HOST, port=infra.REDIS_PORT, **options)
    connection.connect()
    return connection


class Link:
    """Calls to Redis over one connection, one at a time; safe to share between threads.

    A broken connection is dropped and its error passed on. The next call makes a new one and lets `greet` look at the
    server before anything else is sent.

    Args:
        infra: where Redis is.
        name: shown in CLIENT LIST.
        greet: called with each new connection (through this link); what it raises closes the connection again.
    """

    def __init__(self, infra: Infrastructure, *, name: str, greet: Callable[[], None] | None = None) -> None:
        self._infra = infra
        self._name = name
        self._greet = greet
        self._connection: Any = None
        self._wire: Wire | None = None
        self._lock = threading.RLock()

    @property
    def connected(self) -> bool:
        """Whether there is a connection that was not seen broken."""
        return self._connection is not None

    def ensure(self) -> None:
        """Connect and greet unless that is done."""
        with self._lock:
            if self._connection is not None:
                return
            self._connection = connect(self._infra, name=self._name)
            self._wire = Wire(self._connection)
            if self._greet is not None:
                try:
                    self._greet()
                except BaseException:
                    self.close()
                    raise

    def call(self, *command: Any, timeout_sec: float = CALL_TIMEOUT_SEC) -> Any:
        """Send one command and return its reply as Redis gave it (bytes, ints, lists).

        Raises:
            redis.ConnectionError, redis.TimeoutError: the reply was lost; the command may have been done or not.
            redis.ResponseError: the server refused the command.
        """
        with self._lock:
            if self._connection is None:
                self.ensure()
            wire = self._wire
            assert wire is not None, "a connection has one"
            try:
                wire.send(*command)
                return wire.reply(None if timeout_sec == CALL_TIMEOUT_SEC else timeout_sec)
            except (redis.ConnectionError, redis.TimeoutError):
                self.close()
                raise

    def run(self, script: Script, keys: Iterable[str], arguments: Iterable[Any] = ()) -> Any:
        """Run a script by its digest, sending its text when the server does not know it.

        Raises:
            PublishRefused: the server writes nothing now (full disk, read-only, busy); nothing was done, try again.
            redis.ResponseError: the script failed.
        """
        keys, arguments = list(keys), list(arguments)
        with self._lock:
            try:
                try:
                    return self.call("EVALSHA", script.sha, len(keys), *keys, *arguments)
                except redis.exceptions.NoScriptError:
                    return self.call("EVAL", script.text, len(keys), *keys, *arguments)
            except redis.ResponseError as error:
                if isinstance(error, redis.exceptions.ReadOnlyError) or str(error).startswith(("MISCONF", "BUSY")):
                    raise PublishRefused(f"Redis does not write now: {error}") from error
                raise

    def close(self) -> None:
        """Drop the connection; the next call makes a new one."""
        connection, self._connection, self._wire = self._connection, None, None
        if connection is not None:
            connection.disconnect()
