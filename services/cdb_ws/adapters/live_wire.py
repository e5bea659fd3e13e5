"""The wires of a live feed: WebSocket connections and REST questions in threads, what they bring in one queue."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import queue
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import requests
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import ClientConnection, connect

from services.cdb_ws.adapters.causes import cause_of
from services.cdb_ws.live.pages import IN_BETWEEN
from services.cdb_ws.live.words import Answer, Ask

__all__ = ["Came", "LiveWire"]

OPEN_SEC: Final = 10.0
CLOSE_SEC: Final = 1.0
REST_SEC: Final = (5.0, 15.0)
QUIET_SEC: Final = {429: 5, 418: 120}
"""After these nothing at all is asked for as long as Retry-After says, or so long: asking on makes a ban of a limit."""
LONGEST_SEC: Final = 3_600
QUEUE: Final = 50_000
FRAME_BYTES: Final = 1 << 22


@dataclass(frozen=True, slots=True)
class Came:
    """One input for the feed: an open or lost connection, a frame, or an answer.

    Attributes:
        connection: its number; 0 of an answer.
        value: None (open), the reason (lost), the frame, or the answer.
    """

    kind: str
    at_us: int
    connection: int
    value: str | bytes | Answer | None


class LiveWire:
    """Opens, sends, closes and asks, without ever blocking its caller.

    Args:
        socket_url: of the WebSocket.
        rest_url: base of the questions.
        stamp: the feed's time, callable from every thread.
    """

    def __init__(self, socket_url: str, rest_url: str, stamp: Callable[[], int]) -> None:
        self._socket_url = socket_url
        self._rest_url = rest_url
        self._stamp = stamp
        self._came: queue.Queue[Came] = queue.Queue(QUEUE)
        self._sockets: dict[int, ClientConnection] = {}
        self._unwanted: set[int] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._asks: list[tuple[float, int, Ask]] = []
        self._asked = threading.Condition()
        self._order = itertools.count()
        self._quiet_until = 0.0
        threading.Thread(target=self._answer, name="rest", daemon=True).start()

    def take(self, timeout_sec: float) -> Came | None:
        """Return the next input, None when none comes in time."""
        try:
            return self._came.get(timeout=max(0.0, timeout_sec))
        except queue.Empty:
            return None

    @property
    def waiting(self) -> int:
        """Inputs that nobody has taken yet."""
        return self._came.qsize()

    # what is to be done

    def open(self, number: int, after_ms: int) -> None:
        """Connect after at most so long."""
        threading.Thread(target=self._listen, args=(number, after_ms), name=f"ws-{number}", daemon=True).start()

    def send(self, number: int, text: str) -> str | None:
        """Send a frame; returns why it could not be sent. The loss itself comes as an input."""
        with self._lock:
            connection = self._sockets.get(number)
        if connection is None:
            return "not connected"
        try:
            connection.send(text)
        except (WebSocketException, OSError, TimeoutError) as error:
            return cause_of(error)
        return None

    def close(self, number: int) -> None:
        """Give a connection up, also one that is still being made."""
        with self._lock:
            connection = self._sockets.pop(number, None)
            self._unwanted.add(number)
        if connection is not None:
            threading.Thread(target=_shut, args=(connection,), name=f"close-{number}", daemon=True).start()

    def ask(self, ask: Ask) -> None:
        """Ask after its time."""
        with self._asked:
            heapq.heappush(self._asks, (time.monotonic() + ask.after_ms / 1000, next(self._order), ask))
            self._asked.notify()

    def stop(self) -> None:
        """End everything; threads that wait for the network end with the process."""
        self._stop.set()
        with self._asked:
            self._asked.notify()
        with self._lock:
            sockets, self._sockets = dict(self._sockets), {}
        for connection in sockets.values():
            threading.Thread(target=_shut, args=(connection,), daemon=True).start()

    # threads

    def _listen(self, number: int, after_ms: int) -> None:
        if self._stop.wait(after_ms / 1000 * random.uniform(0.5, 1.0)):
            return
        reason = "the exchange closed the connection"
        try:
            with connect(
                self._socket_url,
                open_timeout=OPEN_SEC,
                close_timeout=CLOSE_SEC,
                ping_interval=None,
                max_size=FRAME_BYTES,
                user_agent_header="claire-de-binare",
            ) as connection:
                with self._lock:
                    if number in self._unwanted or self._stop.is_set():
                        return
                    self._sockets[number] = connection
                self._put("opened", number, None)
                while True:
                    self._put("frame", number, connection.recv())
        except ConnectionClosed as error:
            reason = f"{reason} ({error.rcvd.code if error.rcvd else 'without a word'})"
        except Exception as error:  # the edge of this thread: whatever it is, there is no connection
            reason = cause_of(error)
        with self._lock:
            self._sockets.pop(number, None)
        self._put("closed", number, reason)

    def _put(self, kind: str, number: int, value: str | bytes | None) -> None:
        self._hand_over(Came(kind, self._stamp(), number, value))

    def _hand_over(self, came: Came) -> None:
        while not self._stop.is_set():
            try:
                self._came.put(came, timeout=0.5)  # a full queue holds the exchange back, so nothing is dropped here
            except queue.Full:
                continue
            return

    def _answer(self) -> None:
        session = requests.Session()
        session.headers["User-Agent"] = "claire-de-binare"
        while not self._stop.is_set():
            with self._asked:
                while not self._asks and not self._stop.is_set():
                    self._asked.wait()
                if self._stop.is_set():
                    break
                left = max(self._asks[0][0], self._quiet_until) - time.monotonic()
                if left > 0:
                    self._asked.wait(left)
                    continue
                ask = heapq.heappop(self._asks)[2]
            self._put_answer(session, ask)
        session.close()

    def _put_answer(self, session: requests.Session, ask: Ask) -> None:
        sent_us = self._stamp()
        try:
            reply = session.get(
                self._rest_url + ask.path, params=dict(ask.params), timeout=REST_SEC, allow_redirects=False
            )
            body = f"it leads on to {reply.headers.get('Location', '?')}: {IN_BETWEEN}" if reply.is_redirect else ""
            answer = Answer(ask, sent_us, reply.status_code, body.encode(errors="replace") or reply.content)
            if reply.status_code in QUIET_SEC:
                told = reply.headers.get("Retry-After", "")
                quiet_sec = min(int(told), LONGEST_SEC) if told.isdecimal() else QUIET_SEC[reply.status_code]
                self._quiet_until = time.monotonic() + quiet_sec
        except (requests.RequestException, OSError, ValueError) as error:
            answer = Answer(ask, sent_us, 0, cause_of(error).encode(errors="replace"))
        self._hand_over(Came("answer", self._stamp(), 0, answer))


def _shut(connection: ClientConnection) -> None:
    with contextlib.suppress(Exception):  # it is given up either way
        connection.close()
