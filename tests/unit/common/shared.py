"""What two states share that can change."""

from __future__ import annotations

from collections import deque
from dataclasses import fields, is_dataclass
from typing import Any

from services.common.frozen import FrozenList, FrozenObject

__all__ = ["shared"]


def shared(one: Any, other: Any) -> list[Any]:
    """Return the containers and records that are part of both."""
    there = {id(part) for part in _parts(other)}
    return [part for part in _parts(one) if id(part) in there]


def _parts(value: Any) -> list[Any]:
    if isinstance(value, FrozenObject | FrozenList):
        return []
    if isinstance(value, dict):
        return [value, *(part for item in value.values() for part in _parts(item))]
    if isinstance(value, list | deque):
        return [value, *(part for item in value for part in _parts(item))]
    if isinstance(value, tuple):
        return [part for item in value for part in _parts(item)]
    if is_dataclass(value):
        return [value, *(part for each in fields(value) for part in _parts(getattr(value, each.name)))]
    return []
