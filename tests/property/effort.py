"""How long the dear properties are searched."""

from __future__ import annotations

import os

__all__ = ["examples"]

SEARCH = 40


def examples(quick: int) -> int:
    """Return how many examples are tried: so many in `make test`, 40 times as many with HYPOTHESIS_PROFILE=search.

    Properties that play whole days with a machine take tens of milliseconds an example; the quick number is chosen so
    that each costs about a second.
    """
    return quick * SEARCH if os.environ.get("HYPOTHESIS_PROFILE") == "search" else quick
