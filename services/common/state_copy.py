"""Copies of a state that share nothing that can change: to see what an entry would do to it.

The same as dumping and restoring it, without the way through bytes: a state consists of plain containers, dataclasses
and values that cannot change, and whatever else is met is refused, so that no later kind of it is shared by mistake.
"""

from __future__ import annotations

from collections import deque
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Any, Final, TypeVar

from services.common.frozen import FrozenList, FrozenObject

__all__ = ["copy_state"]

ValueT = TypeVar("ValueT")

_UNCHANGING: Final = frozenset({str, int, bool, type(None), Decimal, FrozenObject, FrozenList})


def copy_state(value: ValueT) -> ValueT:
    """Return a state of which nothing that can change is shared.

    Raises:
        TypeError: it holds something that has no place in a state.
    """
    copied: ValueT = _copy(value)
    return copied


def _copy(value: Any) -> Any:
    kind = type(value)
    if kind in _UNCHANGING:
        return value
    if kind is dict:
        return {key: item if type(item) in _UNCHANGING else _copy(item) for key, item in value.items()}
    if kind is list:
        return [item if type(item) in _UNCHANGING else _copy(item) for item in value]
    if kind is tuple:
        return tuple([_copy(item) for item in value])
    if kind is deque:
        return deque([_copy(item) for item in value], value.maxlen)
    if is_dataclass(kind):
        return kind(**{name: _copy(getattr(value, name)) for name in _names(kind)})
    if isinstance(value, Enum):
        return value
    raise TypeError(f"{kind.__name__} has no place in a state")


@cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))
