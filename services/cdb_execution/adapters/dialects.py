"""How requests are signed and answers are opened: the two dialects of MEXC, spot v3 and perpetual v1. Pure.

Source: MEXC API documentation, "SIGNED Endpoint" (spot v3) and "Integration Guide" (perpetual v1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from json import dumps
from typing import Any, Final, Protocol
from urllib.parse import quote, urlencode

from services.cdb_execution.adapters.keys import Keys
from services.cdb_execution.adapters.transport import HttpAnswer, HttpRequest
from services.common.codec import decode
from services.common.errors import ContractViolation, ExchangeRefused, ExchangeUnreachable
from services.common.mexc.signing import perpetual_signature, sorted_query, spot_signature

__all__ = [
    "MISTIMED",
    "THROTTLED",
    "Call",
    "Dialect",
    "PerpetualDialect",
    "SpotDialect",
    "json_text",
    "plain",
    "told_code",
]

THROTTLED: Final = frozenset({"429", "418", "510"})
"""Codes and statuses that ask for silence."""
MISTIMED: Final = frozenset({"700003", "10073", "513"})
"""Codes that say our clock is off."""
_BUSY: Final = frozenset({"500", "501", "503", "504", "604", "801", "9999", "11444", *THROTTLED})
"""Codes of an exchange that cannot answer now: nothing was said about the question."""
_SHOWN: Final = 200


@dataclass(frozen=True)
class Call:
    """One request before it is signed.

    Attributes:
        parameters: of the query string, not encoded.
        payload: what a perpetual POST sends as its JSON body.
        bucket, weight: what it takes of the rate limits.
    """

    method: str
    path: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    payload: Any = None
    bucket: str = "weight"
    weight: int = 1
    signed: bool = True


class Dialect(Protocol):
    """Builds requests and opens answers."""

    def request(self, base: str, call: Call, keys: Keys, now_ms: int) -> HttpRequest:
        """Return the request, signed when the call asks for it."""
        ...

    def open(self, answer: HttpAnswer) -> Any:
        """Return what an answer holds.

        Raises:
            ExchangeRefused: it is an error of the exchange.
            ExchangeUnreachable: it is none that can be read, or the exchange is busy.
        """
        ...


def plain(value: Decimal) -> str:
    """Return a number without exponent and trailing zeros, as the exchange takes it: `0.001`, `50`."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def json_text(value: Any) -> str:
    """Return compact JSON with exact numbers: what is sent is what is signed."""
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{dumps(name)}:{json_text(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(json_text(inner) for inner in value) + "]"
    return dumps(value)


def told_code(answer: HttpAnswer) -> tuple[str | None, str]:
    """Return the code and the text of an error in an answer; None when the body holds none."""
    try:
        body = decode(answer.body)
    except ContractViolation:
        return None, ""
    if not isinstance(body, Mapping) or isinstance(body.get("code"), bool):
        return None, ""
    code = body.get("code")
    return None if not isinstance(code, int | str) else str(code), str(body.get("msg") or body.get("message") or "")


class SpotDialect:
    """All parameters in the query string, the signature as its last one, an empty body."""

    def __init__(self, recv_window_ms: int) -> None:
        """Take how long after its stamp the exchange may still accept a request."""
        self._recv_window_ms = recv_window_ms

    def request(self, base: str, call: Call, keys: Keys, now_ms: int) -> HttpRequest:
        """Return the request, signed when the call asks for it."""
        headers = {"Content-Type": "application/json"}
        if not call.signed:
            return HttpRequest(call.method, base, call.path, _encoded(call.parameters), headers=headers)
        stamped = {**call.parameters, "recvWindow": str(self._recv_window_ms), "timestamp": str(now_ms)}
        query = _encoded(stamped)
        query += f"&signature={spot_signature(keys.secret, query)}"
        return HttpRequest(call.method, base, call.path, query, headers={**headers, "X-MEXC-APIKEY": keys.access})

    def open(self, answer: HttpAnswer) -> Any:
        """Return the body of an answer; see :class:`Dialect`."""
        code, text = told_code(answer)
        _raise_if_busy(answer, code)
        if code not in {None, "0", "200"}:
            raise ExchangeRefused(str(code), text[:_SHOWN])
        return _body(answer)


class PerpetualDialect:
    """Signature in a header, parameters sorted in the query or as a JSON body; every answer in an envelope."""

    def request(self, base: str, call: Call, keys: Keys, now_ms: int) -> HttpRequest:
        """Return the request, signed when the call asks for it."""
        body = "" if call.payload is None else json_text(call.payload)
        query = sorted_query({name: quote(value, safe="") for name, value in call.parameters.items()})
        headers = {"Content-Type": "application/json", "Language": "English"}
        if call.signed:
            stamp = str(now_ms)
            signature = perpetual_signature(keys.secret, keys.access, stamp, body or query)
            headers |= {"ApiKey": keys.access, "Request-Time": stamp, "Signature": signature}
        return HttpRequest(call.method, base, call.path, query, body, headers)

    def open(self, answer: HttpAnswer) -> Any:
        """Return the data in an answer's envelope; see :class:`Dialect`."""
        code, text = told_code(answer)
        _raise_if_busy(answer, code)
        if code is None:
            raise ExchangeUnreachable(f"HTTP {answer.status}: an answer without an envelope")
        body = decode(answer.body)
        if code != "0" or body.get("success") is not True:
            raise ExchangeRefused(code, text[:_SHOWN])
        _body(answer)
        return body.get("data")


def _encoded(parameters: Mapping[str, str]) -> str:
    return urlencode(parameters, quote_via=quote, safe="")


def _raise_if_busy(answer: HttpAnswer, code: str | None) -> None:
    if answer.status >= 500 or str(answer.status) in THROTTLED or code in _BUSY:
        told = f", code {code}" if code is not None else ""
        raise ExchangeUnreachable(f"HTTP {answer.status}{told}: the exchange cannot answer now")


def _body(answer: HttpAnswer) -> Any:
    if not 200 <= answer.status < 300:
        raise ExchangeUnreachable(f"HTTP {answer.status} without an error code that can be read")
    try:
        return decode(answer.body)
    except ContractViolation:
        raise ExchangeUnreachable(f"HTTP {answer.status}: the answer is not JSON") from None
