"""The whole catalogue, in the order of the handbook's table."""

from __future__ import annotations

from services.common.runtime.catalogue import feed, messages, process, storage, trading
from services.common.runtime.catalogue.definition import Definition

__all__ = ["CATALOGUE", "GROUPS"]

GROUPS: dict[str, tuple[Definition, ...]] = {
    "process": process.DEFINITIONS,
    "feed": feed.DEFINITIONS,
    "trading": trading.DEFINITIONS,
    "storage": storage.DEFINITIONS,
    "messages": messages.DEFINITIONS,
}

CATALOGUE: tuple[Definition, ...] = tuple(definition for group in GROUPS.values() for definition in group)
