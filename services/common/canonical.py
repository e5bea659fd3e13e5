"""Reading canonical bytes back without paying for tolerance.

What stands in the journal was validated when it was produced. Reading it again checks every field for its exact wire
type and bounds, compiled once per event class; whatever is not exactly as our encoder writes it takes the long way
through pydantic, which accepts or names the fault. So the short way never decides that an event is invalid, and never
accepts what the long way would refuse.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from services.common.frozen import freeze
from services.common.timestamps import DAY_US, SECOND_US, parse_timestamp

__all__ = [
    "FieldCheck",
    "InstantMarker",
    "NotExactError",
    "OmittedMarker",
    "Reader",
    "Ways",
    "bounds_of",
    "compile_checks",
    "compile_reader",
    "construct",
    "omitted_fields",
    "read_instant",
]

ModelT = TypeVar("ModelT", bound=BaseModel)


class InstantMarker:
    """Marks a field as a point in time: microseconds inside, ISO 8601 on the wire."""


class OmittedMarker:
    """Marks an optional field that is left out of the bytes while it is None: older bytes have no such key."""


FieldCheck = Callable[[Any], Any]
"""Returns the value that a field takes, or raises `NotExactError`."""

Reader = Callable[[Mapping[str, Any]], dict[str, Any] | None]
"""Returns the field values of a canonical object, or None when it is not exactly that."""

_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)


class NotExactError(Exception):
    """The value takes the long way."""


class Ways(NamedTuple):
    """How the kinds of values that differ between bytes and Python objects are checked."""

    instant: FieldCheck
    number: Callable[[dict[str, Any]], FieldCheck]
    free_form: FieldCheck
    sequence: Callable[[FieldCheck, dict[str, Any]], FieldCheck]
    record: Callable[[type[BaseModel]], FieldCheck]


def compile_checks(model: type[BaseModel], ways: Ways) -> list[tuple[str, FieldCheck]] | None:
    """Return a check for each field of `model` in schema order, or None when it has fields that only pydantic reads."""
    try:
        return [
            (name, _compile(field.annotation, tuple(field.metadata), ways))
            for name, field in model.model_fields.items()
        ]
    except NotExactError:
        return None


def compile_reader(model: type[BaseModel]) -> Reader | None:
    """Return the short way for `model`, or None when it has fields that only pydantic can read (nested records)."""
    checks = compile_checks(model, Ways(read_instant, _number, _free_form, _sequence, _record))
    if checks is None:
        return None
    omitted = omitted_fields(model)
    if omitted:
        return _reader_of_some(model, checks, omitted)
    count = len(checks)

    def read(value: Mapping[str, Any]) -> dict[str, Any] | None:
        if len(value) != count:
            return None
        try:
            return {name: check(value[name]) for name, check in checks}
        except (NotExactError, KeyError):
            return None

    return read


def omitted_fields(model: type[BaseModel]) -> tuple[str, ...]:
    """Return the fields of `model` that are left out of its bytes while they are None."""
    return tuple(
        name
        for name, field in model.model_fields.items()
        if any(isinstance(marker, OmittedMarker) for marker in field.metadata)
    )


def _reader_of_some(model: type[BaseModel], checks: list[tuple[str, FieldCheck]], omitted: tuple[str, ...]) -> Reader:
    """Return the short way for a record with fields that may be left out; `fault_of` it is asked when they are not."""
    always = [(name, check) for name, check in checks if name not in omitted]
    sometimes = [(name, check) for name, check in checks if name in omitted]
    count, absent = len(always), dict.fromkeys(omitted)
    fault_of: Callable[[Mapping[str, Any]], str | None] = model.fault_of  # type: ignore[attr-defined]

    def read(value: Mapping[str, Any]) -> dict[str, Any] | None:
        try:
            values = {name: check(value[name]) for name, check in always}
            values.update(absent)
            if len(value) == count:
                return values
            present = [(name, check) for name, check in sometimes if value.get(name) is not None]
            values.update((name, check(value[name])) for name, check in present)
        except (NotExactError, KeyError):
            return None
        return values if len(value) == count + len(present) and fault_of(values) is None else None

    return read


def construct(model: type[ModelT], values: dict[str, Any]) -> ModelT:
    """Return an instance whose fields are known to be valid, without validating them again."""
    instance = _new(model)
    _set_dict(instance, values)
    _set_fields_set(instance, _all_fields(model))
    _set_extra(instance, None)
    _set_private(instance, None)
    return instance


_new = object.__new__
_set_dict, _set_fields_set, _set_extra, _set_private = (
    BaseModel.__dict__[name].__set__  # as `object.__setattr__` would find it each time
    for name in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
)


@cache
def _all_fields(model: type[BaseModel]) -> set[str]:
    """Return the names of all fields; one set for all records, which do not change."""
    return set(model.model_fields)


def _compile(annotation: Any, metadata: tuple[Any, ...], ways: Ways) -> FieldCheck:
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        return _compile(inner, (*more, *metadata), ways)
    if origin in {Union, types.UnionType}:
        arguments = [argument for argument in get_args(annotation) if argument is not types.NoneType]
        return _optional(arguments, metadata, ways)
    if origin is Literal:
        return _one_of(frozenset(get_args(annotation)))
    if any(isinstance(marker, InstantMarker) for marker in metadata):
        return ways.instant
    bounds = bounds_of(metadata)
    if annotation is Decimal:
        return ways.number(bounds)
    if annotation is int:
        return _integer(bounds)
    if annotation is bool:
        return _exact_type(bool)
    if annotation is str:
        return _text(bounds)
    if origin is dict and get_args(annotation) == (str, Any):
        return ways.free_form
    if origin is tuple and len(get_args(annotation)) == 2:
        return _several(annotation, bounds, ways)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return ways.record(annotation)
    raise NotExactError


def _several(annotation: Any, bounds: dict[str, Any], ways: Ways) -> FieldCheck:
    item, following = get_args(annotation)
    if following not in {..., item}:
        raise NotExactError
    pair = {"min_length": 2, "max_length": 2}
    return ways.sequence(_compile(item, (), ways), bounds if following is ... else pair)


def bounds_of(metadata: tuple[Any, ...]) -> dict[str, Any]:
    """Return the limits that a field's markers set, by pydantic's names for them."""
    bounds: dict[str, Any] = {}
    for marker in metadata:
        details = marker.metadata if isinstance(marker, FieldInfo) else [marker]
        for detail in details:
            for name in ("gt", "ge", "le", "min_length", "max_length", "pattern"):
                limit = getattr(detail, name, None)
                if limit is not None:
                    bounds[name] = limit
    return bounds


def _optional(arguments: list[Any], metadata: tuple[Any, ...], ways: Ways) -> FieldCheck:
    if len(arguments) != 1:
        raise NotExactError
    check = _compile(arguments[0], metadata, ways)
    return lambda value: None if value is None else check(value)


def _one_of(values: frozenset[Any]) -> FieldCheck:
    def check(value: Any) -> Any:
        if type(value) is str and value in values:
            return value
        raise NotExactError

    return check


def _exact_type(kind: type[Any]) -> FieldCheck:
    def check(value: Any) -> Any:
        if type(value) is kind:
            return value
        raise NotExactError

    return check


def _free_form(value: Any) -> Any:
    if type(value) is dict:
        return freeze(value)
    raise NotExactError


def read_instant(value: Any) -> int:
    """Read a canonical time; the day and the time of day are cheap, the calendar is looked up once per day."""
    if type(value) is str and _TIMESTAMP.fullmatch(value):
        day = value[:10]
        start = _DAYS.get(day)
        if start is None:
            try:
                start = parse_timestamp(day + "T00:00:00Z")
            except ValueError:
                raise NotExactError from None
            if len(_DAYS) > 1000:
                _DAYS.clear()
            _DAYS[day] = start
        hour, minute, second = int(value[11:13]), int(value[14:16]), int(value[17:19])
        if hour < 24 and minute < 60 and second < 60:
            return start + ((hour * 60 + minute) * 60 + second) * SECOND_US + int(value[20:26])
    raise NotExactError


_DAYS: dict[str, int] = {}
assert DAY_US == 86_400 * SECOND_US


def _number(bounds: dict[str, Any]) -> FieldCheck:
    above, least, most = bounds.get("gt"), bounds.get("ge"), bounds.get("le")

    def check(value: Any) -> Any:
        # Canonical money has a fraction, so the decoder made it a Decimal, and never NaN or Infinity. Up to 20
        # characters without an exponent are within 28 digits and 18 decimals; longer numbers take the long way.
        if type(value) is Decimal:
            text = str(value)
            if (
                len(text) <= 20
                and "." in text
                and "E" not in text
                and (above is None or value > above)
                and (least is None or value >= least)
                and (most is None or value <= most)
            ):
                return value
        raise NotExactError

    return check


def _sequence(item: FieldCheck, bounds: dict[str, Any]) -> FieldCheck:
    least, most = bounds.get("min_length", 0), bounds.get("max_length", 1 << 30)

    def check(value: Any) -> Any:
        if type(value) is list and least <= len(value) <= most:
            return tuple([item(element) for element in value])
        raise NotExactError

    return check


def _record(model: type[BaseModel]) -> FieldCheck:
    read = compile_reader(model)
    if read is None:
        raise NotExactError

    def check(value: Any) -> Any:
        values = read(value) if type(value) is dict else None
        if values is None:
            raise NotExactError
        return construct(model, values)

    return check


def _integer(bounds: dict[str, Any]) -> FieldCheck:
    least, most = bounds.get("ge"), bounds.get("le")

    def check(value: Any) -> Any:
        if type(value) is int and (least is None or value >= least) and (most is None or value <= most):
            return value
        raise NotExactError

    return check


def _text(bounds: dict[str, Any]) -> FieldCheck:
    least, most = bounds.get("min_length", 0), bounds.get("max_length", 1 << 30)
    pattern = re.compile(bounds["pattern"]) if "pattern" in bounds else None

    def check(value: Any) -> Any:
        # beyond ASCII there are lone surrogates, which pydantic refuses
        if (
            type(value) is str
            and value.isascii()
            and least <= len(value) <= most
            and (pattern is None or pattern.fullmatch(value))
        ):
            return value
        raise NotExactError

    return check
