"""Values of settings as a scenario file has them, and as an environment has them."""

from __future__ import annotations

from typing import Any

__all__ = ["as_text"]


def as_text(value: Any) -> str:
    """Return a value as an environment variable; a list becomes a list of it."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
