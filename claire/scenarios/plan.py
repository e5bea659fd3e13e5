"""From a scenario file to the runs that it means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Final

from claire.paper.scenarios import SCENARIOS
from claire.paper.spec import PaperSpec, Period
from claire.profiles import Profile, profile_settings
from claire.scenarios.check import Together, check_inputs, check_settings_of, check_stresses, parse_file
from claire.scenarios.lines import Mistakes, Place, read_document
from claire.scenarios.model import UNSTRESSED, Case, PeriodOf, ScenarioFile
from claire.scenarios.stress import Transform
from claire.scenarios.values import as_text
from services.common.errors import SettingsInvalid

__all__ = ["MOST", "Axes", "Plan", "Scenario", "read_plan"]

MOST: Final = 200
"""More scenarios than this are run only when somebody says that so many are meant."""


@dataclass(frozen=True)
class Axes:
    """Where a scenario stands in the matrix; None: as `base` has it."""

    period: str | None = None
    profile: str | None = None
    set: str | None = None
    grid: Mapping[str, str] = field(default_factory=dict)
    stress: str = UNSTRESSED

    def as_json(self) -> dict[str, Any]:
        """Return them as they stand in the results."""
        return {
            "period": self.period,
            "profile": self.profile,
            "set": self.set,
            "grid": dict(self.grid),
            "stress": self.stress,
        }


@dataclass(frozen=True)
class Scenario:
    """One run of a plan. Everything in it can be pickled.

    Attributes:
        number: from 1, in the order of the file.
        stresses: as the file has them: their times may count from the beginning of play.
    """

    number: int
    name: str
    axes: Axes
    spec: PaperSpec
    stresses: tuple[Transform, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What a scenario file means."""

    title: str
    path: Path
    scenarios: tuple[Scenario, ...]


def read_plan(path: Path, *, most: int | None = MOST) -> Plan:
    """Read a scenario file and check everything that can be known before a run.

    Args:
        path: of the file.
        most: more scenarios are refused; None: any number is meant.

    Raises:
        SettingsInvalid: every mistake, by line, with the fix.
    """
    document = read_document(path)
    mistakes = Mistakes(document)
    file = parse_file(document, mistakes)
    transforms = check_stresses(file, mistakes)
    check_settings_of(file, mistakes)
    check_inputs(file, path.parent, mistakes)
    _check_names(file, mistakes)
    mistakes.tell()
    count = _count(file)
    if most is not None and count > most:
        raise SettingsInvalid(
            f"{path}:{document.line_of(('grid',))}: this makes {count:,} scenarios, over {most}; "
            "take values out, or say --yes if so many are meant"
        )
    builder = _Builder(file, path.parent, transforms)
    scenarios = tuple(builder.build(number, place, case) for number, (place, case) in enumerate(_cases(file), start=1))
    together = Together(mistakes)
    for place, scenario in zip(builder.places, scenarios, strict=True):
        stresses = [(name, one) for name in scenario.axes.stress.split("+") for one in transforms.get(name, ())]
        together.check(scenario.name, scenario.spec, stresses, place)
    _check_doubled(scenarios, builder.places, mistakes)
    mistakes.tell()
    return Plan(file.title or path.stem, path, scenarios)


@dataclass(frozen=True)
class _Cell:
    """What is picked for one scenario."""

    name: str
    axes: Axes
    settings: Mapping[str, Any] = field(default_factory=dict)
    stress: tuple[str, ...] = ()


def _cases(file: ScenarioFile) -> Iterator[tuple[Place, _Cell]]:
    for number, case in enumerate(file.scenarios or ()):
        yield ("scenarios", number), _explicit(case)
    if _has_matrix(file):
        yield from _matrix(file)


def _has_matrix(file: ScenarioFile) -> bool:
    return file.matrix if file.matrix is not None else file.scenarios is None


def _count(file: ScenarioFile) -> int:
    count = 0
    if _has_matrix(file):
        count = len(file.periods or (0,)) * len(file.profiles or (0,)) * len(file.sets or (0,))
        count *= len(file.stress or ()) + file.unstressed if file.stress else 1
        for values in (file.grid or {}).values():
            count *= len(values)
    return count + len(file.scenarios or ())


def _explicit(case: Case) -> _Cell:
    stress = "+".join(case.stress) or UNSTRESSED
    return _Cell(case.name, Axes(case.period, case.profile, case.set, {}, stress), case.settings, case.stress)


def _matrix(file: ScenarioFile) -> Iterator[tuple[Place, _Cell]]:
    periods: Sequence[str | None] = [period.name for period in file.periods or ()] or [None]
    profiles: Sequence[Profile | None] = file.profiles or [None]
    sets: Sequence[str | None] = list(file.sets or ()) or [None]
    stresses = ([UNSTRESSED] if file.unstressed or not file.stress else []) + list(file.stress or ())
    grid = {name: [as_text(value) for value in values] for name, values in (file.grid or {}).items()}
    points = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    place: Place = ("grid",) if file.grid else ("sets",) if file.sets else ("base",)
    for period, profile, set_, point, stress in product(periods, profiles, sets, points, stresses):
        parts = [
            *([period] if len(periods) > 1 else []),
            *([profile] if len(profiles) > 1 else []),
            *([set_] if len(sets) > 1 else []),
            *(f"{name}={value}" for name, value in point.items() if len(grid[name]) > 1),
            *([stress] if len(stresses) > 1 else []),
        ]
        name = "/".join(str(part) for part in parts) or "base"
        axes = Axes(period, profile, set_, point, stress)
        yield place, _Cell(name, axes, point, () if stress == UNSTRESSED else (stress,))


class _Builder:
    """Makes the specs; `places` are where in the file each came from."""

    def __init__(self, file: ScenarioFile, folder: Path, transforms: Mapping[str, tuple[Transform, ...]]) -> None:
        self._file, self._folder, self._transforms = file, folder, transforms
        self._periods = {period.name: period for period in file.periods or ()}
        self.places: list[Place] = []

    def build(self, number: int, place: Place, cell: _Cell) -> Scenario:
        self.places.append(place)
        file, base, axes = self._file, self._file.base, cell.axes
        period = self._periods[axes.period] if axes.period is not None else PeriodOf(name=UNSTRESSED)
        bundled, inputs = self._inputs(period.inputs or base.inputs or ())
        symbol_map = period.symbol_map if period.symbol_map is not None else base.symbol_map
        warmup_min = period.warmup_min if period.warmup_min is not None else base.warmup_min
        if warmup_min is None and bundled is not None and period.from_us is None:
            warmup_min = SCENARIOS[bundled].warmup_min
        chosen = {**(file.sets or {}).get(axes.set or "", {}), **cell.settings}
        settings = {
            **(SCENARIOS[bundled].settings if bundled is not None else {}),
            **({"RECORDED_SYMBOL_MAP": ",".join(f"{a}={b}" for a, b in symbol_map.items())} if symbol_map else {}),
            **_texts(base.settings),
            **profile_settings(None if axes.profile is None else Profile(axes.profile)),
            **_texts(chosen),
            "TRADING_MODE": "paper",
        }
        spec = PaperSpec(
            inputs=inputs,
            settings=settings,
            period=Period(period.from_us, period.to_us),
            warmup_min=warmup_min,
            title=cell.name,
        )
        stresses = tuple(one for name in cell.stress for one in self._transforms[name])
        return Scenario(number, cell.name, axes, spec, stresses)

    def _inputs(self, names: Sequence[str]) -> tuple[str | None, tuple[Path, ...]]:
        if len(names) == 1 and names[0] in SCENARIOS:
            return names[0], SCENARIOS[names[0]].inputs
        return None, tuple((self._folder / name).resolve() for name in names)


def _texts(settings: Mapping[str, Any]) -> dict[str, str]:
    return {name: as_text(value) for name, value in settings.items()}


def _check_names(file: ScenarioFile, mistakes: Mistakes) -> None:
    """Report names that stand twice, names of nothing, and lists without anything in them."""
    for axis in ("periods", "profiles", "sets", "grid", "stress", "scenarios"):
        if getattr(file, axis) is not None and not getattr(file, axis):
            mistakes.add((axis,), f"{axis} is empty, so there would be no scenario; name at least one, or leave it out")
    for axis, names in (
        ("periods", [period.name for period in file.periods or ()]),
        ("profiles", list(file.profiles or ())),
        ("scenarios", [case.name for case in file.scenarios or ()]),
    ):
        for number, name in enumerate(names):
            if name in names[:number]:
                mistakes.add((axis, number), f"{name} is named twice in {axis}; give it another name, or leave it out")
    if file.matrix is False and not file.scenarios:
        mistakes.add(("matrix",), "matrix is false and there are no scenarios; name some, or leave matrix out")
    known = {
        "period": [period.name for period in file.periods or ()],
        "set": list(file.sets or {}),
        "stress": list(file.stress or {}),
    }
    for number, case in enumerate(file.scenarios or ()):
        for key, names in known.items():
            given = getattr(case, key)
            for name in [given] if isinstance(given, str) else given or ():
                if name not in names:
                    there = ", ".join(names) or "none in this file"
                    mistakes.add(("scenarios", number, key), f"there is no {key} {name}; there is {there}")


def _check_doubled(scenarios: Sequence[Scenario], places: Sequence[Place], mistakes: Mistakes) -> None:
    seen: set[str] = set()
    for scenario, place in zip(scenarios, places, strict=True):
        if scenario.name in seen:
            mistakes.add(place, f"two scenarios would be called {scenario.name}; give one another name")
        seen.add(scenario.name)
