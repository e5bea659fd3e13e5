"""How long a property is searched for."""

from __future__ import annotations

import os
from typing import Final

__all__ = ["PROFILES", "examples"]

PROFILES: Final = {"quick": 0.3, "thorough": 1.0, "search": 40.0}
"""By HYPOTHESIS_PROFILE, in multiples of a thorough search: quick in `make test`, thorough in `make test-local`."""


def examples(thorough: int) -> int:
    """Return how many examples are tried under the profile in force.

    Properties that play whole days with a machine take tens of milliseconds an example; the thorough number is chosen
    so that each costs a few seconds.
    """
    return max(2, round(thorough * PROFILES[os.environ.get("HYPOTHESIS_PROFILE", "quick")]))
