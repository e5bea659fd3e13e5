"""What risk has to tell a person, before it becomes an alert event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

__all__ = ["Level", "Notice"]

Level = Literal["INFO", "WARNING", "CRITICAL"]


@dataclass(frozen=True)
class Notice:
    """One message: level, stable code, sentence, and numbers or names that belong to it."""

    level: Level
    code: str
    message: str
    context: Mapping[str, str | Decimal | None] = field(default_factory=dict)
