"""One WebSocket connection as the exchange sees it: what is subscribed, what goes out, and which faults strike it."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from services.cdb_sandbox.faults import FaultKind

if TYPE_CHECKING:
    from services.cdb_sandbox.house import House

__all__ = ["Connection"]

_PUSH_FAULTS: Final = frozenset(
    {FaultKind.DUPLICATE, FaultKind.OUT_OF_ORDER, FaultKind.DROP, FaultKind.DISCONNECT, FaultKind.GZIP}
)


class Connection:
    """The common part of spot and perpetual connections.

    Args:
        house: the sandbox.
        send: hands a text or binary frame to the socket.
        close: ends the socket; True cuts it without a closing handshake.
    """

    def __init__(self, house: House, send: Callable[[str | bytes], None], close: Callable[[bool], None]) -> None:
        self.house = house
        self._send = send
        self._close = close
        self._held: list[str | bytes] = []
        self.open = True
        self.opened_ms = self.heard_ms = self.sent_ms = house.now_ms()

    def send(self, frame: str | bytes) -> None:
        """Send a frame that no fault concerns (answers to what the client asked)."""
        if self.open:
            self._send(frame)

    def push(
        self, channel: str, frame: str | bytes, *, symbol: str | None = None, client_id: str | None = None
    ) -> None:
        """Send a message of a channel, unless a fault has other plans for it."""
        if not self.open:
            return
        now_ms = self.house.now_ms()
        fault = self.house.faults.strike(_PUSH_FAULTS, channel, symbol=symbol, client_id=client_id, at_ms=now_ms)
        kind = fault.kind if fault is not None else None
        if kind is FaultKind.DROP:
            return
        if kind is FaultKind.OUT_OF_ORDER:
            self._held.append(frame)
            return
        if kind is FaultKind.DISCONNECT:
            self.close(cut=True)
            return
        if kind is FaultKind.GZIP:
            frame = gzip.compress(frame.encode() if isinstance(frame, str) else frame)
        self.sent_ms = now_ms
        self._send(frame)
        if kind is FaultKind.DUPLICATE:
            self._send(frame)
        held, self._held = self._held, []
        for late in held:
            self._send(late)

    def close(self, *, cut: bool = False) -> None:
        """End the connection; `cut` without a closing handshake."""
        if self.open:
            self.open = False
            self._close(cut)
