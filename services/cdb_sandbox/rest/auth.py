"""Who asks: signatures and time windows of both interfaces."""

from __future__ import annotations

import hmac
from urllib.parse import parse_qsl

from services.cdb_sandbox.house import Customer, House
from services.cdb_sandbox.rest.request import RawRequest
from services.common.errors import SandboxRefusal
from services.common.mexc.signing import perpetual_signature, sorted_query, spot_signature

__all__ = ["authenticate_perpetual", "authenticate_spot", "parameters_of"]

_AHEAD_MS = 1000
_SPOT_WINDOW_MS = 5_000
_SPOT_LONGEST_MS = 60_000
_PERPETUAL_WINDOW_MS = 10_000


def parameters_of(raw: RawRequest) -> dict[str, str]:
    """Return the parameters of query string and form body; a name in both has the query's value."""
    body = "" if raw.body.lstrip().startswith(("{", "[")) else raw.body
    return dict(parse_qsl(body, keep_blank_values=True)) | dict(parse_qsl(raw.query, keep_blank_values=True))


def _without_signature(text: str) -> str:
    return "&".join(part for part in text.split("&") if not part.startswith("signature="))


def authenticate_spot(house: House, raw: RawRequest, now_ms: int) -> Customer:
    """Return whose signed spot request this is.

    Raises:
        SandboxRefusal: key, time window or signature are wrong, checked in this order.
    """
    key = raw.headers.get("x-mexc-apikey", "")
    if not key:
        raise SandboxRefusal(400, "api key required")
    customer = house.customers.get(key)
    if customer is None:
        raise SandboxRefusal(10072, "Api key info invalid")
    if raw.method in {"POST", "PUT", "DELETE"}:
        content = raw.headers.get("content-type", "application/json").partition(";")[0].strip()
        if content not in {"application/json", "application/x-www-form-urlencoded"}:
            raise SandboxRefusal(700013, "Invalid content Type.")
    params = parameters_of(raw)
    signature = params.get("signature", "")
    if not signature or "timestamp" not in params:
        name = "signature" if not signature else "timestamp"
        raise SandboxRefusal(700004, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
    try:
        timestamp, window = int(params["timestamp"]), int(params.get("recvWindow") or _SPOT_WINDOW_MS)
    except ValueError:
        raise SandboxRefusal(10073, "Invalid Request-Time") from None
    if window > _SPOT_LONGEST_MS:
        raise SandboxRefusal(700005, "recvWindow must less than 60000")
    if not (timestamp < now_ms + _AHEAD_MS and now_ms - timestamp <= window):
        raise SandboxRefusal(700003, "Timestamp for this request is outside of the recvWindow.")
    expected = spot_signature(customer.api_secret, _without_signature(raw.query), _without_signature(raw.body))
    if not hmac.compare_digest(expected.encode(), signature.encode()):
        raise SandboxRefusal(700002, "Signature for this request is not valid.")
    return customer


def authenticate_perpetual(house: House, raw: RawRequest, now_ms: int) -> Customer:
    """Return whose signed perpetual request this is. Values of a GET may be signed encoded or as they stand.

    Raises:
        SandboxRefusal: key, time window or signature are wrong.
    """
    customer = house.customers.get(raw.headers.get("apikey", ""))
    if customer is None:
        raise SandboxRefusal(401, "Not logged in", status=401)
    time_text = raw.headers.get("request-time", "")
    if not time_text.isdecimal():
        raise SandboxRefusal(513, "Invalid request time", status=200)
    given = raw.headers.get("recv-window", "")
    window = int(given) if given.isdecimal() else _PERPETUAL_WINDOW_MS
    window = window * 1000 if window <= 60 else window  # seconds in the documentation, milliseconds in MEXC's own demo
    if abs(now_ms - int(time_text)) > window:
        raise SandboxRefusal(513, "Invalid request time", status=200)
    if raw.method == "POST":
        texts = {raw.body}
    else:
        texts = {sorted_query(dict(parse_qsl(raw.query, keep_blank_values=True))), _sorted_raw(raw.query)}
    signature = raw.headers.get("signature", "").encode()
    expected = [perpetual_signature(customer.api_secret, customer.api_key, time_text, text) for text in texts]
    if not any(hmac.compare_digest(text.encode(), signature) for text in expected):
        raise SandboxRefusal(602, "Signature verification failed!", status=200)
    return customer


def _sorted_raw(query: str) -> str:
    return "&".join(sorted(part for part in query.split("&") if part))
