"""JSON as MEXC writes it: money as text on spot, as plain numbers on perpetuals, never with an exponent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

__all__ = ["number", "to_json"]


def number(value: Decimal) -> str:
    """Return a decimal as text without an exponent and without trailing zeros."""
    text = f"{value:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text


def to_json(value: Any) -> str:
    """Return a value as compact JSON; a `Decimal` becomes a number with all its digits."""
    if isinstance(value, Decimal):
        return number(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{json.dumps(key)}:{to_json(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(to_json, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
