"""Free-form objects of events that nobody can change: what was emitted is what is journalled.

A frozen pydantic model does not protect a dict inside it: a machine that goes on counting in a dict that it has emitted
would change the event after the decision. So events copy and freeze what they are given. The frozen containers equal
plain ones and are read like them; `dict(…)` and `list(…)` make a copy that can be changed.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

__all__ = ["FrozenList", "FrozenObject", "freeze"]


def _refuse(self: Any, *_: Any, **__: Any) -> Any:
    raise TypeError(f"a {type(self).__name__} of an event does not change; change a copy: dict(…) or list(…)")


_refused: Any = _refuse


class _Unchanging:
    """A copy of what does not change is the thing itself."""

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self


class FrozenObject(_Unchanging, dict[str, Any]):
    """A free-form JSON object that does not change."""

    __setitem__ = __delitem__ = __ior__ = _refused
    clear = pop = popitem = setdefault = update = _refused

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenObject, (dict(self),)


class FrozenList(_Unchanging, list[Any]):
    """A JSON array that does not change."""

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refused
    append = clear = extend = insert = pop = remove = reverse = sort = _refused

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenList, (list(self),)


_SCALARS = frozenset({str, int, Decimal, bool, type(None)})


def freeze(value: Any) -> Any:
    """Return a frozen copy of a free-form value; scalars and immutable records are returned as they are."""
    if type(value) in _SCALARS:
        return value
    if isinstance(value, Mapping):
        return FrozenObject({key: freeze(item) for key, item in value.items()})
    if isinstance(value, list | deque):
        return FrozenList(map(freeze, value))
    if isinstance(value, tuple):
        return tuple(map(freeze, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return FrozenObject({field.name: freeze(getattr(value, field.name)) for field in dataclasses.fields(value)})
    return value
