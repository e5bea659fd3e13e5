"""The one encoder and the one decoder of everything that is journalled, published or snapshotted.

Equal values give equal bytes: keys in schema order for events and sorted for free-form objects, no spaces, money as
canonical plain numbers (see :func:`services.common.decimals.format_number`), integers as integers.
"""

from __future__ import annotations

import dataclasses
import enum
import json  # deterministic: fractions are read as Decimal, and what is written never was a float
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal, InvalidOperation
from json.encoder import encode_basestring  # deterministic: text alone
from typing import Any, Final

from services.common.decimals import format_number
from services.common.errors import ContractViolation, NumberOutOfContract
from services.common.frozen import FrozenList, FrozenObject

__all__ = ["ENCODERS", "Encoder", "decode", "encode", "encode_state", "encode_value"]

Encoder = Callable[[Any], str]
"""Turns one value into its canonical JSON text."""


def encode_value(value: Any) -> str:
    """Return the canonical JSON text of a value made of str, bool, int, Decimal, None, sequences and mappings.

    Raises:
        NumberOutOfContract: a float (money must never pass through one) or a Decimal that may not stand on the wire.
        ContractViolation: a type that has no place in an event.
    """
    return ENCODERS[type(value)](value)


def _encode_mapping(value: Mapping[str, Any]) -> str:
    return (
        "{"
        + ",".join([f"{encode_basestring(key)}:{ENCODERS[type(value[key])](value[key])}" for key in sorted(value)])
        + "}"
    )


def _encode_sequence(value: Iterable[Any]) -> str:
    return "[" + ",".join(map(encode_value, value)) + "]"


def _encode_enum(value: enum.Enum) -> str:
    return encode_value(value.value)


def _encode_float(value: float) -> str:
    raise NumberOutOfContract(f"{value!r} is a float; money is Decimal")


class _ByType(dict[type[Any], Encoder]):
    """An encoder for each exact type; types that are not in it are looked at."""

    def __missing__(self, kind: type[Any]) -> Encoder:
        return _encode_other


ENCODERS: Final = _ByType(
    {
        type(None): lambda _: "null",
        bool: lambda value: "true" if value else "false",
        str: encode_basestring,
        int: str,
        Decimal: format_number,
        float: _encode_float,
        dict: _encode_mapping,
        list: _encode_sequence,
        tuple: _encode_sequence,
        deque: _encode_sequence,
        FrozenObject: _encode_mapping,
        FrozenList: _encode_sequence,
    }
)
"""What encodes values of exactly this type; classes that have a canonical text of their own add themselves."""


def _encode_other(value: Any) -> str:
    if isinstance(value, enum.Enum):
        ENCODERS[type(value)] = _encode_enum
        return _encode_enum(value)
    if hasattr(value, "canonical_text"):
        return str(value.canonical_text())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _encode_mapping({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    raise ContractViolation(f"{type(value).__name__} cannot stand in an event: {value!r}")


def encode(value: Any) -> bytes:
    """Return the canonical bytes (UTF-8) of a value.

    Raises:
        ContractViolation: text that is not valid Unicode, besides what :func:`encode_value` raises.
    """
    try:
        return encode_value(value).encode()
    except UnicodeEncodeError as error:
        raise ContractViolation(f"text is not valid Unicode: {error}") from error


def encode_state(value: Any) -> bytes:
    """Return the bytes of a machine's state: like :func:`encode`, but for what is restored and not compared by value.

    Keys keep their insertion order, so that a restored machine iterates as the one that was dumped, and numbers keep
    all their digits beyond what the wire allows.

    Raises:
        NumberOutOfContract: a float, NaN or Infinity.
        ContractViolation: a type that has no place in a state.
    """
    return _state_text(value).encode()


def _state_text(value: Any) -> str:
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise NumberOutOfContract(f"{value} is not a finite number")
        # trailing zeros carry no value: without them a restored machine dumps the bytes that it was restored from
        whole, _, fraction = format(value, "f").partition(".")
        return f"{whole if value else '0'}.{fraction.rstrip('0') or '0'}"
    if isinstance(value, Mapping):
        return "{" + ",".join([f"{encode_basestring(key)}:{_state_text(item)}" for key, item in value.items()]) + "}"
    if isinstance(value, list | tuple | deque):
        return "[" + ",".join(map(_state_text, value)) + "]"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _state_text({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    return encode_value(value)


def _reject_constant(name: str) -> Any:
    raise ContractViolation(f"{name} is not a number that may stand in an event")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise ContractViolation(f"key {doubled!r} stands twice in one object")
    return value


_DECODER = json.JSONDecoder(parse_float=Decimal, parse_constant=_reject_constant, object_pairs_hook=_unique_keys)


def decode(data: bytes | str) -> Any:
    """Return the Python objects of a JSON text; fractions become Decimal with all their digits, integers int.

    Raises:
        ContractViolation: not UTF-8, not JSON, NaN or Infinity, an exponent beyond all numbers, or a key that stands
            twice.
    """
    try:
        return _DECODER.decode(data.decode() if isinstance(data, bytes) else data)
    except (ValueError, RecursionError) as error:
        raise ContractViolation(f"not JSON: {error}") from error
    except InvalidOperation as error:
        raise ContractViolation("a number has an exponent that no number here has") from error
