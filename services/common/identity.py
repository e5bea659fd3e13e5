"""Identity is derived, never drawn: the same cause gives the same id on every machine and in every replay."""

from __future__ import annotations

from hashlib import sha256

__all__ = ["client_order_id", "derive_id", "order_id"]


def derive_id(*parts: str | int) -> str:
    """Return 32 hex digits that are a function of `parts` alone (sha256 over the length-prefixed parts)."""
    digest = sha256()
    for part in parts:
        raw = str(part).encode()
        digest.update(b"%d:" % len(raw))
        digest.update(raw)
    return digest.hexdigest()[:32]


def order_id(decision_id: str) -> str:
    """Return the id of the one order that a decision may have."""
    return f"ord-{decision_id[:28]}"


def client_order_id(decision_id: str) -> str:
    """Return the id that the exchange sees: 32 characters of [A-Za-z0-9_-], derived from the decision."""
    return f"cdb-{decision_id[:28]}"
