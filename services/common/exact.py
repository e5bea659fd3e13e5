"""Making records from Python objects without paying for tolerance: the counterpart of reading canonical bytes.

What a machine emits has nearly always exactly the types and bounds of its contract already. That is checked here,
compiled once per class; a value that is not exactly so takes the long way through pydantic, which converts or names
the fault. So the short way never decides that a record is invalid, and never accepts what the long way would refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from services.common.canonical import FieldCheck, NotExactError, Ways, compile_checks
from services.common.frozen import FrozenObject, freeze

__all__ = ["Checker", "compile_checker"]

Checker = Callable[[Mapping[str, Any]], dict[str, Any] | None]
"""Returns all field values of a record that is made of these, or None when they are not exactly in contract."""

_LEAST_US = 100_000_000_000_000
"""Smaller epoch numbers may be seconds or milliseconds (year 1973 in microseconds)."""
_GREATEST_US = 253_402_300_799_999_999
_SHORT = 20
"""Characters that a number may have to be within 28 digits and 18 decimals without counting them."""


def compile_checker(model: type[BaseModel]) -> Checker | None:
    """Return the short way for `model`, or None when it has fields that only pydantic knows."""
    checks = compile_checks(model, Ways(_instant, _number, _free_form, _sequence, _record))
    if checks is None:
        return None
    defaults = {
        name: field.get_default(call_default_factory=True)
        for name, field in model.model_fields.items()
        if field.get_default(call_default_factory=True) is not PydanticUndefined
    }
    count = len(checks)
    fault_of: Callable[[Mapping[str, Any]], str | None] | None = getattr(model, "fault_of", None)

    def check(fields: Mapping[str, Any]) -> dict[str, Any] | None:
        values = {**defaults, **fields}
        if len(values) != count:
            return None
        try:
            made = {name: check_field(values[name]) for name, check_field in checks}
        except (NotExactError, KeyError):
            return None
        return made if fault_of is None or fault_of(made) is None else None

    return check


def _instant(value: Any) -> int:
    if type(value) is int and _LEAST_US <= value <= _GREATEST_US:
        return value
    raise NotExactError


def _number(bounds: dict[str, Any]) -> FieldCheck:
    above, least, most = bounds.get("gt"), bounds.get("ge"), bounds.get("le")

    def check(value: Any) -> Any:
        if type(value) is Decimal and value.is_finite():
            text = str(value)
            if (
                len(text) <= _SHORT
                and ("E" not in text or not value)
                and (above is None or value > above)
                and (least is None or value >= least)
                and (most is None or value <= most)
            ):
                return value
        raise NotExactError

    return check


def _free_form(value: Any) -> Any:
    kind = type(value)
    if (kind is dict or kind is FrozenObject) and all(type(key) is str and key.isascii() for key in value):
        return freeze(value)
    raise NotExactError


def _sequence(item: FieldCheck, bounds: dict[str, Any]) -> FieldCheck:
    least, most = bounds.get("min_length", 0), bounds.get("max_length", 1 << 30)

    def check(value: Any) -> Any:
        if type(value) is tuple and least <= len(value) <= most:
            for element in value:
                item(element)
            return value
        raise NotExactError

    return check


def _record(model: type[BaseModel]) -> FieldCheck:
    def check(value: Any) -> Any:
        if type(value) is model:  # immutable, and valid since it was made
            return value
        raise NotExactError

    return check
