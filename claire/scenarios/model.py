"""What may stand in a scenario file."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from claire.options import parse_moment
from claire.profiles import Profile
from services.common.errors import SettingsInvalid

__all__ = ["UNSTRESSED", "Base", "Case", "Name", "PeriodOf", "ScenarioFile"]

UNSTRESSED: Final = "none"
"""The market as it was recorded, beside the named stresses."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


def _name(value: Any) -> Any:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError(f"{value}: a name of letters, digits, '.', '_' and '-' is meant, at most 40")
    return value


def _time(value: Any) -> Any:
    try:
        return value if isinstance(value, int) else parse_moment("the period", str(value))
    except SettingsInvalid as invalid:
        raise ValueError(str(invalid).removeprefix("the period ")) from None


def _list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Name = Annotated[str, BeforeValidator(_name)]
Names = Annotated[tuple[Name, ...], BeforeValidator(_list)]
Time = Annotated[int, BeforeValidator(_time)]
Settings = dict[str, Any]
Files = Annotated[tuple[str, ...], BeforeValidator(_list), Field(min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Base(_Part):
    """What all scenarios begin with.

    Attributes:
        inputs: files, from the folder of the scenario file; or the name of one bundled scenario with its settings.
        symbol_map: from a file's symbols to ours.
        warmup_min: minutes that only fill the strategy's windows.
        settings: of the services; profile, set, grid and a scenario's own settings go before them, in this order.
    """

    inputs: Files | None = None
    symbol_map: dict[str, str] = Field(default_factory=dict)
    warmup_min: int | None = Field(None, ge=0, le=100_000)
    settings: Settings = Field(default_factory=dict)


class PeriodOf(_Part):
    """A stretch of time, or another recording.

    Attributes:
        from_us, to_us: what is played, the end not included; left out, from the beginning or to the end.
        inputs, symbol_map, warmup_min: instead of those of `base`.
    """

    name: Name
    from_us: Time | None = Field(None, alias="from")
    to_us: Time | None = Field(None, alias="to")
    inputs: Files | None = None
    symbol_map: dict[str, str] | None = None
    warmup_min: int | None = Field(None, ge=0, le=100_000)


class Case(_Part):
    """One scenario by itself; what it leaves out is as `base` has it.

    Attributes:
        stress: names of stresses, applied one after the other.
    """

    name: Name
    period: Name | None = None
    profile: Profile | None = None
    set: Name | None = None
    settings: Settings = Field(default_factory=dict)
    stress: Names = ()


class ScenarioFile(_Part):
    """A scenario file.

    Attributes:
        seed: of the draws in stresses.
        sets: named settings.
        grid: values of settings, each with each.
        stress: named lists of transforms, as `- crash: {at: +60, drop_pct: 0.1}`.
        scenarios: scenarios by themselves; with them the matrix is made only if `matrix` is true.
        matrix: whether each period is played with each profile, set, point of the grid and stress.
        unstressed: whether the market as recorded is one of the stresses in the matrix.
    """

    title: str = ""
    seed: int | None = None
    base: Base = Base()
    periods: tuple[PeriodOf, ...] | None = None
    profiles: tuple[Profile, ...] | None = None
    sets: dict[Name, Settings] | None = None
    grid: dict[str, tuple[Any, ...]] | None = None
    stress: dict[Name, tuple[dict[str, Any], ...]] | None = None
    scenarios: tuple[Case, ...] | None = None
    matrix: bool | None = None
    unstressed: bool = True
