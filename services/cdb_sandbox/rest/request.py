"""A request and an answer as plain data, so that all but the sockets can be tested without any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

from services.common.decimals import ONE
from services.common.errors import SandboxRefusal

__all__ = ["Answer", "RawRequest", "Request"]

RowT = TypeVar("RowT")


@dataclass(frozen=True, kw_only=True)
class RawRequest:
    """What came in over HTTP, as it was sent.

    Attributes:
        query: the query string, still percent-encoded.
        headers: by lower-case name.
        address: of the client.
    """

    method: str
    path: str
    query: str = ""
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    address: str = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What goes out over HTTP."""

    status: int
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request that was admitted.

    Attributes:
        params: of query and body together, decoded; the query wins.
        json: body of a perpetual POST.
        arguments: the parts of the path that the endpoint names.
        account: who asks; empty at public endpoints.
        fill_at_most: share of an order that may trade at once (a fault).
    """

    params: Mapping[str, str]
    json: Any = None
    arguments: Mapping[str, str] = field(default_factory=dict)
    account: str = ""
    now_ms: int = 0
    fill_at_most: Decimal = ONE

    def text(self, name: str, *, code: int = 44444) -> str:
        """Return a parameter that must be there.

        Raises:
            SandboxRefusal: it is not.
        """
        value = self.params.get(name)
        if value is None or not value:
            raise SandboxRefusal(code, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
        return value

    def integer(self, name: str, default: int, *, most: int | None = None) -> int:
        """Return a whole number, cut to `most`.

        Raises:
            SandboxRefusal: 33333, it is none.
        """
        value = self.params.get(name)
        if value is None or not value:
            return default
        try:
            number = int(value)
        except ValueError:
            raise SandboxRefusal(33333, f"Parameter error: {name}") from None
        return number if most is None else min(number, most)

    def page(self, rows: list[RowT]) -> tuple[list[RowT], int, int]:
        """Return the rows of the asked page (`page_num` from 1, `page_size` up to 100), its number and its size.

        Raises:
            SandboxRefusal: 33333, one of them is no number.
        """
        size = max(1, self.integer("page_size", 20, most=100))
        page = max(1, self.integer("page_num", 1))
        return rows[size * (page - 1) : size * page], page, size

    def decimal(self, name: str) -> Decimal | None:
        """Return a decimal, None when it is absent.

        Raises:
            SandboxRefusal: 33333, it is none.
        """
        value = self.params.get(name)
        if value is None or not value:
            return None
        try:
            number = Decimal(value)
        except InvalidOperation:
            raise SandboxRefusal(33333, f"Parameter error: {name}") from None
        if not number.is_finite():
            raise SandboxRefusal(33333, f"Parameter error: {name}")
        return number
