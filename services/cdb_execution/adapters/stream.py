"""One user stream in a thread of its own: connects, confirms, listens, and begins anew whenever that ends.

What is pushed while there is no connection is lost, so each end and each new beginning is told: the consumer then asks
for what it may have missed. Repeated and late messages are passed on as they come; their ids tell.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from time import monotonic
from typing import Final, Protocol

from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import ClientConnection, connect

from services.cdb_execution.adapters.stream_dialects import Heard, StreamDialect
from services.cdb_execution.exchange import Pushed, StreamState
from services.common.decimals import use_fixed_context
from services.common.errors import ExchangeRefused, ExchangeUnreachable
from services.common.runtime.backoff import Backoff

__all__ = ["Connect", "MexcUserStream", "Socket", "connect_socket"]

_PING_SEC: Final = 15.0
_SILENT_SEC: Final = 45.0
_CONFIRM_SEC: Final = 10.0
_REFRESH_SEC: Final = 25 * 60.0
_REFRESH_AGAIN_SEC: Final = 60.0
_ROTATE_SEC: Final = 23 * 3_600 + 50 * 60.0
_LOOK_SEC: Final = 0.5
_JOIN_SEC: Final = 5.0
_FAILURES_OF_A_KEY: Final = 3
_LARGEST_FRAME: Final = 4 * 1024 * 1024


class Socket(Protocol):
    """A WebSocket connection."""

    def send(self, text: str) -> None:
        """Send a text frame; raises ExchangeUnreachable when the connection has ended."""
        ...

    def receive(self, timeout_sec: float) -> str | bytes | None:
        """Return the next frame, None when none came in time; raises ExchangeUnreachable when it has ended."""
        ...

    def close(self) -> None:
        """End the connection."""
        ...


Connect = Callable[[str], Socket]
"""Opens a connection; raises ExchangeUnreachable, without showing the address."""


Deliver = Callable[[Pushed], None]


class _Moments:
    """When what happened on one connection, in seconds."""

    def __init__(self, now: float) -> None:
        self.began = self.heard = self.pinged = self.refreshed = now
        self.ready = False

    def ended(self, now: float) -> str | None:
        """Return why the connection is given up now; None while it is good."""
        if not self.ready and now - self.began > _CONFIRM_SEC:
            return f"no confirmation within {_CONFIRM_SEC:.0f} s"
        if now - self.heard > _SILENT_SEC:
            return f"silent for {_SILENT_SEC:.0f} s"
        if now - self.began > _ROTATE_SEC:
            return "a new connection before the exchange ends this one after 24 h"
        return None


class MexcUserStream:
    """Delivers what one account's stream tells; see `services.cdb_execution.exchange.UserStream`."""

    def __init__(
        self,
        dialect: StreamDialect,
        *,
        open_socket: Connect | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Connect to nothing yet.

        Args:
            dialect: of the venue.
            open_socket: opens connections; over the network by default.
            clock: seconds.
        """
        self._dialect = dialect
        self._connect = open_socket or connect_socket
        self._clock = clock
        self._stop = threading.Event()
        self._backoff = Backoff(self._stop, first_sec=0.5, cap_sec=30.0)
        self._thread: threading.Thread | None = None

    def start(self, deliver: Deliver) -> None:
        """Begin to deliver, from a thread of its own."""
        self._thread = threading.Thread(target=self._run, args=(deliver,), name="user-stream", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Deliver nothing more, and give everything back."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_JOIN_SEC)

    def _run(self, deliver: Deliver) -> None:
        use_fixed_context()
        stopping = False
        while not stopping:
            try:
                reason = self.listen_once(deliver)
            except Exception as error:  # the edge of this thread: whatever a frame did, the account must be heard again
                reason = f"{type(error).__name__} while listening"
            if self._backoff.attempts and not self._backoff.attempts % _FAILURES_OF_A_KEY:
                self._dialect.leave()  # what it was opened with may be dead without anybody saying so
            if not self._stop.is_set():
                deliver(StreamState(connected=False, reason=reason))
            stopping = self._backoff.wait()
        self._dialect.leave()

    def listen_once(self, deliver: Deliver) -> str:
        """Connect, deliver until the connection ends, and return why it did."""
        try:
            socket = self._connect(self._dialect.address())
        except (ExchangeUnreachable, ExchangeRefused) as error:
            return str(error)
        try:
            return self._listen(socket, deliver)
        except (ExchangeUnreachable, ExchangeRefused) as error:
            return str(error)
        finally:
            socket.close()

    def _listen(self, socket: Socket, deliver: Deliver) -> str:
        socket.send(self._dialect.greeting())
        at = _Moments(self._clock())
        while not self._stop.is_set():
            frame = socket.receive(_LOOK_SEC)
            now = self._clock()
            if frame is not None:
                at.heard = now
                heard = self._dialect.hear(frame)
                if heard.fault is not None:
                    return heard.fault
                self._act_on(heard, at, socket, deliver)
            ended = at.ended(now)
            if ended is not None:
                return ended
            if now - at.pinged >= _PING_SEC:
                socket.send(self._dialect.ping)
                at.pinged = now
            if now - at.refreshed >= _REFRESH_SEC:
                at.refreshed = now if self._refresh() else now - _REFRESH_SEC + _REFRESH_AGAIN_SEC
        return "stopped"

    def _act_on(self, heard: Heard, at: _Moments, socket: Socket, deliver: Deliver) -> None:
        if heard.reply is not None:
            socket.send(heard.reply)
        if heard.ready and not at.ready:
            at.ready = True
            self._backoff.reset()
            deliver(StreamState(connected=True))
        if heard.report is not None:
            deliver(heard.report)

    def _refresh(self) -> bool:
        try:
            self._dialect.refresh()
        except ExchangeUnreachable:
            return False
        return True


class _WebSocket:
    """`websockets` behind :class:`Socket`."""

    def __init__(self, opening: AbstractContextManager[ClientConnection]) -> None:
        self._open = ExitStack()
        self._connection = self._open.enter_context(opening)

    def send(self, text: str) -> None:
        ended = None
        try:
            self._connection.send(text)
        except (ConnectionClosed, OSError) as error:
            ended = type(error).__name__
        if ended is not None:
            raise ExchangeUnreachable(f"the stream has ended ({ended})")

    def receive(self, timeout_sec: float) -> str | bytes | None:
        try:
            return self._connection.recv(timeout=timeout_sec)
        except TimeoutError:
            return None
        except (ConnectionClosed, OSError) as error:
            ended = type(error).__name__
        raise ExchangeUnreachable(f"the stream has ended ({ended})")

    def close(self) -> None:
        self._open.close()


def connect_socket(address: str) -> Socket:
    """Open a connection over the network: certificates are verified, a proxy comes from the environment.

    Raises:
        ExchangeUnreachable: it could not be opened; says how, not where (the address holds a key).
    """
    quiet = logging.getLogger("claire.user_stream")
    quiet.setLevel(logging.ERROR)  # below that, `websockets` writes frames and addresses, which hold keys
    try:
        return _WebSocket(
            connect(
                address, open_timeout=10, close_timeout=2, ping_interval=None, max_size=_LARGEST_FRAME, logger=quiet
            )
        )
    except (OSError, WebSocketException) as error:
        failure = type(error).__name__
    raise ExchangeUnreachable(f"the stream cannot be opened ({failure})")
