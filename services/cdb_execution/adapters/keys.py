"""The account's keys in a shape that shows them to nobody, and where MEXC is."""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = ["Keys", "MexcAddresses"]

_MASK: Final = "********"


class Keys:
    """Access key and secret of one account; they show in no repr, no text and no error.

    Attributes:
        access: the access key; goes into a header.
        secret: signs; goes nowhere.
    """

    __slots__ = ("access", "secret")

    def __init__(self, access: str, secret: str) -> None:
        """Keep both."""
        self.access = access
        self.secret = secret

    def __repr__(self) -> str:
        return f"Keys({_MASK})"

    def mask(self, body: bytes) -> bytes:
        """Return an answer without the keys, should the exchange ever repeat them: nobody further in sees them."""
        for value in (self.secret, self.access):
            if value:
                body = body.replace(value.encode(), _MASK.encode())
        return body


class MexcAddresses(BaseModel):
    """Where the exchange is, under the names that cdb_ws has for it; the sandbox exchange has others.

    Attributes:
        MEXC_REST_URL, MEXC_WS_URL: of spot.
        MEXC_PERPETUAL_REST_URL, MEXC_PERPETUAL_WS_URL: of perpetual contracts.
        MEXC_TIMEOUT_SEC: how long one request may take.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    MEXC_REST_URL: str = "https://api.mexc.com"
    MEXC_WS_URL: str = "wss://wbs-api.mexc.com/ws"
    MEXC_PERPETUAL_REST_URL: str = "https://api.mexc.com"
    MEXC_PERPETUAL_WS_URL: str = "wss://contract.mexc.com/edge"
    MEXC_TIMEOUT_SEC: float = Field(5.0, gt=0, le=60)

    @field_validator("MEXC_REST_URL", "MEXC_WS_URL", "MEXC_PERPETUAL_REST_URL", "MEXC_PERPETUAL_WS_URL")
    @classmethod
    def _encrypted_unless_near(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"https", "wss", "http", "ws"} or not parts.hostname or parts.query or parts.username:
            raise ValueError("an address as https://api.mexc.com is meant, without user, password and parameters")
        if parts.scheme in {"http", "ws"} and not _is_near(parts.hostname):
            raise ValueError(
                f"keys never travel unencrypted: {parts.scheme}s is meant (only the sandbox may do without)"
            )
        return url.rstrip("/")


def _is_near(host: str) -> bool:
    """Whether a host is this machine, a private address, or a name without a dot (a service of the compose network)."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host
