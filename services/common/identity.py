"""Identity is derived, never drawn: the same cause gives the same id on every machine and in every replay."""

from __future__ import annotations

from hashlib import sha256

__all__ = ["DerivedIds", "client_order_id", "derive_id", "order_id"]


def derive_id(*parts: str | int) -> str:
    """Return 32 hex digits that are a function of `parts` alone (sha256 over the length-prefixed parts)."""
    return sha256(_framed(parts)).hexdigest()[:32]


class DerivedIds:
    """Ids whose first parts are the same: `DerivedIds(a, b).of(c)` is `derive_id(a, b, c)`, for less."""

    def __init__(self, *prefix: str | int) -> None:
        self._framed = _framed(prefix)

    def of(self, *parts: str | int) -> str:
        """Return the id of the first parts and these."""
        return sha256(self._framed + _framed(parts)).hexdigest()[:32]

    def of_number(self, number: int) -> str:
        """Return `of(number)`, for every event of a feed."""
        raw = b"%d" % number
        return sha256(b"%b%d:%b" % (self._framed, len(raw), raw)).hexdigest()[:32]  # from the start: no state is copied


def _framed(parts: tuple[str | int, ...]) -> bytes:
    """Return parts one after the other, each behind its length in bytes."""
    framed = b""
    for part in parts:
        raw = b"%d" % part if type(part) is int else str(part).encode()
        framed += b"%d:%b" % (len(raw), raw)
    return framed


def order_id(decision_id: str) -> str:
    """Return the id of the one order that a decision may have."""
    return f"ord-{decision_id[:28]}"


def client_order_id(decision_id: str) -> str:
    """Return the id that the exchange sees: 32 characters of [A-Za-z0-9_-], derived from the decision."""
    return f"cdb-{decision_id[:28]}"
