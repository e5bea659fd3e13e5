"""How the two user streams of MEXC are opened, confirmed, kept alive and read.

Source: MEXC API documentation, "Websocket User Data Streams" (spot v3) and "WebSocket API", login and personal.*
(perpetual v1). A refused spot subscription comes back with `code: 0` too: only its text tells.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from json import dumps
from typing import Any, Final, Protocol
from urllib.parse import quote

from services.cdb_execution.adapters.caller import MexcCaller
from services.cdb_execution.adapters.dialects import Call
from services.cdb_execution.adapters.keys import Keys
from services.cdb_execution.adapters.perpetual_reading import (
    SizeOf,
    read_asset,
    read_order,
    read_position,
    read_trade,
)
from services.cdb_execution.adapters.spot_push import CHANNELS, decode_push
from services.cdb_execution.exchange import Balance, OrderReport, PositionReport, Trade
from services.common.codec import decode
from services.common.errors import ContractViolation, ExchangeAnswerInvalid, ExchangeRefused, ExchangeUnreachable
from services.common.mexc.rows import Row, as_row, text
from services.common.mexc.signing import perpetual_login_signature

__all__ = ["Heard", "PerpetualStreamDialect", "Report", "SpotStreamDialect", "StreamDialect"]

Report = OrderReport | Trade | Balance | PositionReport

_LISTEN_KEY: Final = "/api/v3/userDataStream"
_FILTERS: Final = ("order", "order.deal", "position", "asset")
_LARGEST_FRAME: Final = 4 * 1024 * 1024
_SHOWN: Final = 120


@dataclass(frozen=True)
class Heard:
    """What one frame meant.

    Attributes:
        report: of the account.
        reply: to be sent now.
        ready: everything is subscribed and confirmed.
        fault: why this connection is of no use.
    """

    report: Report | None = None
    reply: str | None = None
    ready: bool = False
    fault: str | None = None


class StreamDialect(Protocol):
    """One user stream's way of speaking."""

    ping: str

    def address(self) -> str:
        """Return where to connect; may ask the exchange for it. Holds a key: it is never shown."""
        ...

    def greeting(self) -> str:
        """Return what is sent first."""
        ...

    def hear(self, frame: str | bytes) -> Heard:
        """Return what a frame means.

        Raises:
            ExchangeAnswerInvalid: it cannot be read.
        """
        ...

    def refresh(self) -> None:
        """Keep the stream alive at the exchange; called every 25 minutes."""
        ...

    def leave(self) -> None:
        """Give back what was asked for."""
        ...


class SpotStreamDialect:
    """A listen key in the address, three private channels, protobuf frames."""

    ping = '{"method":"PING"}'

    def __init__(self, caller: MexcCaller, url: str) -> None:
        """Ask for nothing yet."""
        self._caller = caller
        self._url = url
        self._key: str | None = None
        self._confirmed: set[str] = set()

    def address(self) -> str:
        """Return the address with the listen key; a key that still works is used again (an account has 60)."""
        if self._key is None:
            self._key = text(as_row(self._caller.once(Call("POST", _LISTEN_KEY)), "userDataStream"), "listenKey")
        return f"{self._url}?listenKey={quote(self._key, safe='')}"

    def greeting(self) -> str:
        """Return the subscription of all three channels."""
        self._confirmed.clear()
        return dumps({"method": "SUBSCRIPTION", "params": CHANNELS, "id": 1})

    def hear(self, frame: str | bytes) -> Heard:
        """Return what a frame means: text is control, bytes are data."""
        if isinstance(frame, bytes):
            return Heard(decode_push(frame))
        if "invalid listen key" in frame.lower():
            self._key = None
            return Heard(fault="the listen key is not valid any more")
        told = _control(frame).get("msg")
        message = told if isinstance(told, str) else ""
        if "not subscribed" in message.lower():
            return Heard(fault=f"refused: {message[:_SHOWN]}")
        self._confirmed.update(channel for channel in CHANNELS if channel in message)
        return Heard(ready=len(self._confirmed) == len(CHANNELS))

    def refresh(self) -> None:
        """Extend the listen key.

        Raises:
            ExchangeRefused: it is gone; the next connection asks for another.
            ExchangeUnreachable: no answer; the key lives on for half an hour.
        """
        try:
            self._caller.once(Call("PUT", _LISTEN_KEY, {"listenKey": str(self._key)}))
        except ExchangeRefused:
            self._key = None
            raise

    def leave(self) -> None:
        """Close the listen key, if that is possible."""
        if self._key is not None:
            with contextlib.suppress(ExchangeRefused, ExchangeUnreachable):
                self._caller.once(Call("DELETE", _LISTEN_KEY, {"listenKey": self._key}))
            self._key = None


class PerpetualStreamDialect:
    """A login, one filter for everything of the account, JSON frames."""

    ping = '{"method":"ping"}'

    def __init__(self, caller: MexcCaller, url: str, keys: Keys, size_of: SizeOf) -> None:
        """Send nothing yet; `size_of` tells a contract's base units."""
        self._caller = caller
        self._url = url
        self._keys = keys
        self._size_of = size_of

    def address(self) -> str:
        """Return the address."""
        return self._url

    def greeting(self) -> str:
        """Return the login; it asks for no pushes before the filter says which."""
        stamp = str(self._caller.clock.now_ms())
        signature = perpetual_login_signature(self._keys.secret, self._keys.access, stamp)
        login = {"apiKey": self._keys.access, "reqTime": stamp, "signature": signature}
        return dumps({"subscribe": False, "method": "login", "param": login})

    def hear(self, frame: str | bytes) -> Heard:
        """Return what a frame means."""
        message = _control(_unpacked(frame))
        channel, told = str(message.get("channel")), message.get("data")
        if channel == "rs.error" or (channel in ("rs.login", "rs.personal.filter") and told != "success"):
            return Heard(fault=f"refused: {self._keys.mask(str(told).encode()).decode()[:_SHOWN]}")
        if channel == "rs.login":
            filters = [{"filter": name} for name in _FILTERS]
            return Heard(reply=dumps({"method": "personal.filter", "param": {"filters": filters}}))
        if channel == "rs.personal.filter":
            return Heard(ready=True)
        return Heard(self._report(channel, told))

    def refresh(self) -> None:
        """Do nothing: pings keep it alive."""

    def leave(self) -> None:
        """Do nothing: closing is enough."""

    def _report(self, channel: str, told: Any) -> Report | None:
        if channel == "push.personal.order":
            return read_order(told, self._size_of)
        if channel == "push.personal.order.deal":
            return read_trade(told, self._size_of)
        if channel == "push.personal.position":
            return read_position(told, self._size_of)
        return read_asset(told) if channel == "push.personal.asset" else None


def _control(frame: str) -> Row:
    try:
        message = decode(frame)
    except ContractViolation:
        raise ExchangeAnswerInvalid(f"frame of {len(frame)} characters: JSON is meant") from None
    if not isinstance(message, Mapping):
        raise ExchangeAnswerInvalid(f"frame of {len(frame)} characters: an object is meant")
    return message


def _unpacked(frame: str | bytes) -> str:
    """Return the text of a frame; the exchange compresses some of them without being asked."""
    if isinstance(frame, str):
        return frame
    try:
        if frame.startswith(b"\x1f\x8b"):
            unpacker = zlib.decompressobj(wbits=31)
            frame = unpacker.decompress(frame, _LARGEST_FRAME)
            if unpacker.unconsumed_tail:
                raise ExchangeAnswerInvalid(f"frame: over {_LARGEST_FRAME} bytes when unpacked")
        return frame.decode()
    except (zlib.error, UnicodeDecodeError):
        raise ExchangeAnswerInvalid(f"frame of {len(frame)} bytes: text is meant") from None
