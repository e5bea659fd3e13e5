"""Named scenarios: bundled recordings with the settings under which they show something."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from services.common.errors import SettingsInvalid

__all__ = ["SCENARIOS", "Scenario", "find_scenario"]

DATA: Final = Path(__file__).parents[2] / "backoffice" / "data"


@dataclass(frozen=True)
class Scenario:
    """A recording to play.

    Attributes:
        files: names of bundled recordings.
        warmup_min: minutes at the beginning that only fill the strategy's windows.
        settings: what differs from the defaults; profiles and `--set` go before it.
    """

    name: str
    title: str
    files: tuple[str, ...]
    warmup_min: int = 0
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def inputs(self) -> tuple[Path, ...]:
        """Where the recordings lie."""
        return tuple(DATA / name for name in self.files)


_ALL: Final = (
    Scenario(
        name="crash-2021-05-19",
        title="the 48 hours around the crash of 2021-05-19 (BitMEX XBTUSD as BTCUSDT), one-minute candles",
        files=("crash-2021-05-19_xbtusd_1m.csv.gz",),
        warmup_min=780,
        settings={"RECORDED_SYMBOL_MAP": "XBTUSD=BTCUSDT"},
    ),
    Scenario(
        name="ticks-2024-08-08",
        title="six minutes of ticks of BTCUSDT and ETHUSDT with a test profile (L = 1, k = 0): every part in a moment",
        files=("ticks-2024-08-08_btcusdt_perp.csv.gz", "ticks-2024-08-08_ethusdt_perp.csv.gz"),
        settings={
            "SIGNAL_LOOKBACK_MIN": "1",
            "SIGNAL_VOL_MULT": "0",
            "SIGNAL_THRESHOLD_PCT": "0.0002",
            "SIGNAL_COOLDOWN_MIN": "0",
            "SIGNAL_STOP_COOLDOWN_MIN": "0",
            "ENTRY_SPACING_SEC": "0",
        },
    ),
)
SCENARIOS: Final[Mapping[str, Scenario]] = {scenario.name: scenario for scenario in _ALL}


def find_scenario(name: str) -> Scenario:
    """Return the scenario of a name.

    Raises:
        SettingsInvalid: there is none; the text lists those that there are.
    """
    scenario = SCENARIOS.get(name)
    if scenario is None:
        near = difflib.get_close_matches(name, SCENARIOS, n=1)
        known = "\n".join(f"  {known.name}: {known.title}" for known in SCENARIOS.values())
        hint = f"; perhaps {near[0]}" if near else ""
        raise SettingsInvalid(f"there is no scenario {name!r}{hint}. Known are:\n{known}")
    return scenario
