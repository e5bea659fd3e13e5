"""Signatures of MEXC's REST and WebSocket requests: HMAC-SHA256 in lower-case hex.

Source: MEXC API documentation, "SIGNED Endpoint Examples" (spot v3) and "Integration Guide" (perpetual v1). The caller
signs exactly the text that it sends: what is encoded or ordered otherwise afterwards is refused by the exchange.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from hashlib import sha256

__all__ = ["perpetual_login_signature", "perpetual_signature", "sorted_query", "spot_signature"]


def _sign(secret: str, text: str) -> str:
    return hmac.new(secret.encode(), text.encode(), sha256).hexdigest()


def spot_signature(secret: str, query: str, body: str = "") -> str:
    """Return the `signature` parameter of a signed spot request.

    Args:
        secret: the account's secret key.
        query: query string as sent, percent-encoded, without `signature`.
        body: form body as sent; nothing is put between the two.
    """
    return _sign(secret, query + body)


def perpetual_signature(secret: str, access_key: str, request_time: str, parameters: str = "") -> str:
    """Return the `Signature` header of a signed perpetual request.

    Args:
        secret: the account's secret key.
        access_key: the header `ApiKey`.
        request_time: the header `Request-Time`, milliseconds since the epoch.
        parameters: `sorted_query` of a GET or DELETE, the exact JSON body of a POST.
    """
    return _sign(secret, access_key + request_time + parameters)


def perpetual_login_signature(secret: str, access_key: str, request_time: str) -> str:
    """Return the `signature` of the `login` message on the perpetual WebSocket."""
    return perpetual_signature(secret, access_key, request_time)


def sorted_query(parameters: Mapping[str, str]) -> str:
    """Return `k=v` pairs in the order of their names, as a perpetual GET is signed; values are taken as they stand."""
    return "&".join(f"{name}={parameters[name]}" for name in sorted(parameters))
