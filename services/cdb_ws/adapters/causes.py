"""Why there is no way to the exchange: the root of an error of the network, in words that name what to look at."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator
from typing import Final

import requests
import urllib3.exceptions
from websockets.exceptions import InvalidMessage, InvalidProxyMessage, InvalidProxyStatus, InvalidStatus, ProxyError

from services.cdb_ws.live.pages import IN_BETWEEN, describe

__all__ = ["cause_of"]

_NO_WAY: Final = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENONET})
_ONLINE: Final = "is there a way to the internet?"
_SHOWN: Final = 300


def cause_of(error: BaseException) -> str:
    """Return what went wrong on the way, at its root and without the layers around it."""
    chain = list(_chain(error))
    words = next((text for inner in reversed(chain) if (text := _words(inner))), None)
    if words is None:
        inner = chain[-1]
        text = str(inner).strip()
        words = f"{type(inner).__name__}: {text}"[:_SHOWN] if text else type(inner).__name__
    if any(isinstance(inner, requests.exceptions.ProxyError | ProxyError) for inner in chain):
        return f"the proxy of this machine (HTTPS_PROXY, HTTP_PROXY): {words}"
    return words


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what caused it, down to the root."""
    seen: set[int] = set()
    inner: BaseException | None = error
    while isinstance(inner, BaseException) and id(inner) not in seen:
        seen.add(id(inner))
        yield inner
        reason = getattr(inner.args[0], "reason", None) if inner.args else None
        reason = reason or getattr(inner, "reason", None)
        inner = reason if isinstance(reason, BaseException) else inner.__cause__ or inner.__context__


def _words(inner: BaseException) -> str | None:
    """Return what an error means; None for one that has no words of its own here."""
    if isinstance(inner, socket.gaierror):
        return f"the host's name cannot be resolved ({inner.strerror}): {_ONLINE}"
    if isinstance(inner, ssl.SSLCertVerificationError):
        return f"TLS: the certificate is not trusted ({inner.verify_message}): {IN_BETWEEN} Is the clock right?"
    if isinstance(inner, ssl.SSLError):
        return f"TLS fails ({inner.reason or inner}): {IN_BETWEEN}"
    if isinstance(inner, ConnectionRefusedError):
        return "connection refused"
    if isinstance(inner, ConnectionResetError | BrokenPipeError):
        return "the connection was cut"
    if isinstance(inner, urllib3.exceptions.ConnectTimeoutError):
        return f"no connection in time: {_ONLINE}"
    if isinstance(inner, TimeoutError | urllib3.exceptions.ReadTimeoutError):
        return "no answer in time"
    if isinstance(inner, OSError) and inner.errno in _NO_WAY:
        return f"no route to the host ({inner.strerror}): {_ONLINE}"
    if isinstance(inner, InvalidStatus | InvalidProxyStatus):
        return describe(inner.response.status_code, bytes(inner.response.body or b""))
    if isinstance(inner, InvalidMessage | InvalidProxyMessage):
        return f"what answers there speaks no WebSocket: {IN_BETWEEN}"
    return None
