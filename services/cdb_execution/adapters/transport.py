"""The seam to HTTP: one request; one answer, or a failure that says whether anything can have arrived.

Nothing here retries, follows a redirect or shows a query string: it holds a signature.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Final, Protocol

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NameResolutionError, NewConnectionError

__all__ = ["HttpAnswer", "HttpRequest", "RequestsTransport", "Transport", "TransportFailure"]

_LARGEST_ANSWER: Final = 32 * 1024 * 1024
"""exchangeInfo of all instruments is about 3 MB; more than ten times that is no answer."""
_CHUNK: Final = 65_536
_NEVER_CONNECTED: Final = (NewConnectionError, ConnectTimeoutError, NameResolutionError)


@dataclass(frozen=True)
class HttpRequest:
    """One request as it leaves, signed and encoded; its repr shows neither query nor headers."""

    method: str
    base: str
    path: str
    query: str = field(default="", repr=False)
    body: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def url(self) -> str:
        """Where it goes; holds the signature, so it is never shown."""
        return f"{self.base}{self.path}?{self.query}" if self.query else f"{self.base}{self.path}"


@dataclass(frozen=True)
class HttpAnswer:
    """Status, headers (names in lower case) and body of an answer."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TransportFailure:
    """There is no whole answer. A value, not an exception: those of libraries show the URL with its signature.

    Attributes:
        kind: what happened: `timeout`, `cut`, `connect`, `too_large`, `tls`, `proxy`.
        sent: False only when no connection was ever made, so that not a byte of the request can have arrived.
    """

    kind: str
    sent: bool = True


class Transport(Protocol):
    """Sends one request."""

    def send(self, request: HttpRequest, timeout_sec: float) -> HttpAnswer | TransportFailure:
        """Send it once, and return the answer whatever its status, or what happened instead."""
        ...


class RequestsTransport:
    """HTTP over `requests`: certificates are verified, proxies come from the environment, connections are kept.

    Safe to use from several threads: each has its own session.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        """Open no connection yet."""
        self._clock = clock
        self._own = threading.local()
        self._lock = threading.Lock()
        self._sessions: list[requests.Session] = []
        # At DEBUG it would write URLs, which hold signatures.
        logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)

    def send(self, request: HttpRequest, timeout_sec: float) -> HttpAnswer | TransportFailure:
        """Send it once; see :class:`Transport`."""
        deadline = self._clock() + timeout_sec
        try:
            with self._session().request(
                request.method,
                request.url,
                data=request.body.encode() or None,
                headers=dict(request.headers),
                timeout=timeout_sec,
                allow_redirects=False,
                verify=True,
                stream=True,
            ) as response:
                body = bytearray()
                for chunk in response.iter_content(_CHUNK):
                    body += chunk
                    if len(body) > _LARGEST_ANSWER:
                        return TransportFailure("too_large")
                    if self._clock() > deadline:
                        return TransportFailure("timeout")
                headers = {name.lower(): value for name, value in response.headers.items()}
                return HttpAnswer(response.status_code, bytes(body), headers)
        except requests.RequestException as error:
            return _failure(error)

    def close(self) -> None:
        """Give the connections of all threads back."""
        with self._lock:
            for session in self._sessions:
                session.close()

    def _session(self) -> requests.Session:
        found: requests.Session | None = getattr(self._own, "session", None)
        if found is None:
            found = requests.Session()
            found.auth = _leave_alone
            for scheme in ("https://", "http://"):
                found.mount(scheme, HTTPAdapter(max_retries=0))
            self._own.session = found
            with self._lock:
                self._sessions.append(found)
        return found


def _leave_alone(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keep `requests` from looking for a password in .netrc."""
    return request


def _failure(error: requests.RequestException) -> TransportFailure:
    cause = error.args[0] if error.args else None
    if isinstance(cause, MaxRetryError) and isinstance(cause.reason, _NEVER_CONNECTED):
        return TransportFailure("connect", sent=False)
    if isinstance(error, requests.Timeout):
        return TransportFailure("timeout")
    if isinstance(error, requests.exceptions.SSLError):
        return TransportFailure("tls")
    if isinstance(error, requests.exceptions.ProxyError):
        return TransportFailure("proxy")
    return TransportFailure("cut")
