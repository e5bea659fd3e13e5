"""Reads any event back from its canonical bytes in one step, compiled once per event class.

As `market_bytes` does by hand for market data: one expression matches exactly what our encoder writes of a plain event,
and what it captures becomes the field values. Whatever differs (another order of keys, a space, an escape, a longer
number, an object within an object) is left to the decoder and the contract, so nothing is accepted or refused here that
they would not.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel

from services.common.canonical import InstantMarker, NotExactError, bounds_of, construct, omitted_fields, read_instant
from services.common.codec import decode
from services.common.errors import ContractViolation
from services.common.frozen import freeze

__all__ = ["BytesReader", "compile_bytes_reader"]

BytesReader = Callable[[bytes], dict[str, Any] | None]
"""Returns the field values of an event in schema order, None when its bytes are not plainly canonical."""

Groups = Sequence[str | None]
Reading = Callable[[Groups, int], Any]
"""Returns the value that begins with a group of this number, or raises `NotExactError`."""

_PLAIN: Final = r"[ !#-\[\]-~]"
_INSTANT: Final = r'"([0-9T:.\-]{26}Z)"'
_FLAG: Final = "(true|false)"
_INTEGER: Final = "(0|[1-9][0-9]{0,17})"
_NUMBER: Final = r"(-?(?:0|[1-9][0-9]{0,11})\.[0-9]{1,12})"
_OBJECT: Final = r"(\{[^{}]*\})"
_INLINE: Final = re.compile(r"\^(\[[A-Za-z0-9_-]+\]\{[0-9,]+\})\$")
"""Patterns of a contract that may stand within another: one class of letters and a length."""


class _Part(NamedTuple):
    """One value: the expression of its text, how many groups that has, and what reads them (None: the group itself)."""

    pattern: str
    groups: int
    read: Reading | None


def compile_bytes_reader(model: type[BaseModel]) -> BytesReader | None:
    """Return the reader of an event class, None for one with fields that only the decoder can read."""
    if omitted_fields(model):
        return None
    try:
        whole = _record(model)
    except NotExactError:
        return None
    match = re.compile(whole.pattern).fullmatch
    fields = _fields(model)

    def read(data: bytes) -> dict[str, Any] | None:
        try:
            found = match(data.decode("ascii"))
        except UnicodeDecodeError:
            return None
        if found is None:
            return None
        groups = found.groups()
        try:
            return {name: groups[at] if part is None else part(groups, at) for name, at, part in fields}
        except (NotExactError, ContractViolation):
            return None

    return read


def _fields(model: type[BaseModel]) -> list[tuple[str, int, Reading | None]]:
    """Return name, first group and reading of each field."""
    fields, at = [], 0
    for name, field in model.model_fields.items():
        part = _part(field.annotation, tuple(field.metadata))
        fields.append((name, at, part.read))
        at += part.groups
    return fields


def _record(model: type[BaseModel]) -> _Part:
    parts = [(name, _part(field.annotation, tuple(field.metadata))) for name, field in model.model_fields.items()]
    fields = _fields(model)

    def read(groups: Groups, start: int) -> Any:
        return construct(
            model,
            {name: groups[start + at] if part is None else part(groups, start + at) for name, at, part in fields},
        )

    pattern = r"\{" + ",".join(f'"{name}":{part.pattern}' for name, part in parts) + r"\}"
    return _Part(pattern, sum(part.groups for _, part in parts), read)


def _part(annotation: Any, metadata: tuple[Any, ...]) -> _Part:
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        return _part(inner, (*more, *metadata))
    if origin in {Union, types.UnionType}:
        return _optional([kind for kind in get_args(annotation) if kind is not types.NoneType], metadata)
    if origin is Literal:
        return _Part(f'"({"|".join(map(re.escape, get_args(annotation)))})"', 1, None)
    if any(isinstance(marker, InstantMarker) for marker in metadata):
        return _Part(_INSTANT, 1, lambda groups, at: read_instant(groups[at]))
    bounds = bounds_of(metadata)
    if annotation is Decimal:
        return _Part(_NUMBER, 1, _bounded(Decimal, bounds))
    if annotation is int:
        return _Part(_INTEGER, 1, _bounded(int, bounds))
    if annotation is bool:
        return _Part(_FLAG, 1, lambda groups, at: groups[at] == "true")
    if annotation is str:
        return _Part(f'"({_text(bounds)})"', 1, None)
    if origin is dict and get_args(annotation) == (str, Any):
        return _Part(_OBJECT, 1, _free_form)
    if origin is tuple:
        return _several(annotation, bounds)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _record(annotation)
    raise NotExactError


def _optional(kinds: list[Any], metadata: tuple[Any, ...]) -> _Part:
    if len(kinds) != 1:
        raise NotExactError
    pattern, groups, read = _part(kinds[0], metadata)
    if groups != 1:
        raise NotExactError
    if read is not None:
        return _Part(f"(?:null|{pattern})", 1, lambda groups, at: None if groups[at] is None else read(groups, at))
    return _Part(f"(?:null|{pattern})", 1, None)


def _several(annotation: Any, bounds: dict[str, Any]) -> _Part:
    """Return the part of a sequence whose length the contract fixes."""
    item, following = get_args(annotation)
    count = bounds.get("min_length", 0)
    if following is not ... or count != bounds.get("max_length"):
        raise NotExactError
    part = _part(item, ())
    read = part.read
    if read is None:
        raise NotExactError
    steps = range(0, count * part.groups, part.groups)
    return _Part(
        r"\[" + ",".join([part.pattern] * count) + r"\]",
        count * part.groups,
        lambda groups, at: tuple([read(groups, at + step) for step in steps]),
    )


def _text(bounds: dict[str, Any]) -> str:
    if "pattern" in bounds:
        inline = _INLINE.fullmatch(bounds["pattern"])
        if inline is None:
            raise NotExactError
        return inline[1]
    return f"{_PLAIN}{{{bounds.get('min_length', 0)},{bounds.get('max_length', '')}}}"


def _bounded(kind: Callable[[Any], Any], bounds: dict[str, Any]) -> Reading:
    above, least, most = bounds.get("gt"), bounds.get("ge"), bounds.get("le")
    if above is least is most is None:
        return lambda groups, at: kind(groups[at])

    def read(groups: Groups, at: int) -> Any:
        value = kind(groups[at])
        if (
            (above is not None and value <= above)
            or (least is not None and value < least)
            or (most is not None and value > most)
        ):
            raise NotExactError
        return value

    return read


def _free_form(groups: Groups, at: int) -> Any:
    return freeze(decode(groups[at] or ""))
