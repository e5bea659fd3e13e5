"""What can be done to a recorded market before it is played.

Each transform is a pure function of the rows of a recording and of its own parameters; where it draws, it draws from
its seed. Several are applied one after the other, in the order in which the file names them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from claire.scenarios.stress.base import Moment, Transform
from claire.scenarios.stress.delivery import Duplicates, Gap, Late, Outage
from claire.scenarios.stress.market import Crash, Funding, Spread

__all__ = [
    "TRANSFORMS",
    "Crash",
    "Duplicates",
    "Funding",
    "Gap",
    "Late",
    "Moment",
    "Outage",
    "Spread",
    "Transform",
]

TRANSFORMS: Final[Mapping[str, type[Transform]]] = {
    "crash": Crash,
    "gap": Gap,
    "spread": Spread,
    "outage": Outage,
    "duplicates": Duplicates,
    "late": Late,
    "funding": Funding,
}
"""By the name that a scenario file gives them."""
