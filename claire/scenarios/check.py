"""What can be wrong with a scenario file, told by line with the fix before anything runs."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from claire.paper.run import service_settings
from claire.paper.scenarios import SCENARIOS
from claire.paper.spec import PaperSpec
from claire.profiles import Profile
from claire.scenarios.lines import Document, Mistakes, Place
from claire.scenarios.model import UNSTRESSED, Base, Case, PeriodOf, ScenarioFile
from claire.scenarios.stress import TRANSFORMS, Funding, Transform
from claire.scenarios.values import as_text
from claire.stack import known_settings, settings_models
from services.cdb_ws.settings import FeedSettings, PlaybackSettings
from services.common.errors import SettingsInvalid
from services.common.instruments import PERPETUAL
from services.common.setting_mistakes import meant, mistake
from services.common.settings import load_settings

__all__ = ["Together", "check_inputs", "check_settings_of", "check_stresses", "parse_file"]

_ANY_FILE: Final = {"FEED_FILES": "any.csv"}
"""The recording is known from `inputs`; the settings of the feed alone would miss it."""
_SAID_ELSEWHERE: Final = {
    "FEED": "inputs",
    "FEED_FILES": "inputs",
    "RECORDED_WARMUP_MIN": "warmup_min",
    "RECORDED_SYMBOL_MAP": "symbol_map",
}
_PARTS: Final[Mapping[str, type[BaseModel]]] = {"base": Base, "periods": PeriodOf, "scenarios": Case}


def parse_file(document: Document, mistakes: Mistakes) -> ScenarioFile:
    """Return the file as a model.

    Raises:
        SettingsInvalid: it has another shape.
    """
    if not isinstance(document.data, dict):
        mistakes.add((), "names with values are meant at the top, as in backoffice/scenarios/example.yaml")
        mistakes.tell()
    try:
        return ScenarioFile.model_validate(document.data)
    except ValidationError as invalid:
        for error in invalid.errors():
            place = tuple(part for part in error["loc"] if part != "[key]")
            model = _PARTS.get(str(place[0]), ScenarioFile) if len(place) > 1 else ScenarioFile
            mistakes.add(place, _words(error, model))
        mistakes.tell()
        raise


def _words(error: ErrorDetails, model: type[BaseModel]) -> str:
    """Return one mistake of pydantic as a person reads it."""
    key = str(error["loc"][-1]) if error["loc"] else ""
    match error["type"]:
        case "extra_forbidden":
            return f"there is no {key} here{_near(key, _keys(model))}"
        case "missing":
            return f"{key} is missing"
        case "enum":
            near = difflib.get_close_matches(str(error["input"]), list(Profile), n=1)
            return f"{error['input']}: {', '.join(Profile)} are the profiles" + (f"; perhaps {near[0]}" if near else "")
        case "value_error":
            words = str(error["ctx"]["error"])
        case "tuple_type" | "list_type":
            words = "a list is meant, one item a line with '- ' before it"
        case "dict_type" | "model_type":
            words = "names with values are meant, as NAME: VALUE"
        case _:
            words = meant(error) or f"{error['msg'].removeprefix('Input should be ')} is meant"
    return f"{key}: {words}" if isinstance(error["loc"][-1:], tuple) and key and key != "[key]" else words


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _near(name: str, known: Collection[str]) -> str:
    """Return the nearest name there is; without one, all of them if they are few."""
    near = difflib.get_close_matches(name, known, n=1) or difflib.get_close_matches(name.upper(), known, n=1)
    if near:
        return f"; perhaps {near[0]}"
    return f"; there is {', '.join(known)}" if len(known) <= 14 else ""


def check_settings_of(file: ScenarioFile, mistakes: Mistakes) -> None:
    """Report settings that no service reads, and values that none would take."""
    for place, name, value in _settings(file):
        if name in _SAID_ELSEWHERE:
            mistakes.add(place, f"{name}: {_SAID_ELSEWHERE[name]} says this, in base or in a period")
        elif name not in _open_settings():
            known = "it is not for scenarios" if name in known_settings() else "there is no such setting"
            mistakes.add(place, f"{name}: {known}{_near(name, _open_settings())}")
        elif value is None or isinstance(value, dict):
            mistakes.add(place, f"{name}: a value is meant")
        else:
            for text in _wrong(name, as_text(value)):
                mistakes.add(place, text)
    for name, values in (file.grid or {}).items():
        texts = list(map(as_text, values))
        if not values:
            mistakes.add(("grid", name), f"{name} has no value, so there would be no scenario; name at least one")
        for number, text in enumerate(texts):
            if text in texts[:number]:
                mistakes.add(("grid", name, number), f"{name}={text} stands twice in the grid; name it once")


def _settings(file: ScenarioFile) -> Iterator[tuple[Place, str, Any]]:
    for name, value in file.base.settings.items():
        yield ("base", "settings", name), name, value
    for set_, settings in (file.sets or {}).items():
        for name, value in settings.items():
            yield ("sets", set_, name), name, value
    for name, values in (file.grid or {}).items():
        for number, value in enumerate(values):
            yield ("grid", name, number), name, value
    for number, case in enumerate(file.scenarios or ()):
        for name, value in case.settings.items():
            yield ("scenarios", number, "settings", name), name, value


@cache
def _models() -> tuple[type[BaseModel], ...]:
    """Return the settings that decide something, and no place of a server or a file."""
    return tuple(model for models in settings_models().values() for model in models if model is not PlaybackSettings)


@cache
def _open_settings() -> frozenset[str]:
    return frozenset(name for model in _models() for name in model.model_fields) - {"TRADING_MODE", *_SAID_ELSEWHERE}


def _wrong(name: str, text: str) -> list[str]:
    """Return what is wrong with one value by itself, in the words of the services' own validation."""
    found: dict[str, None] = {}
    for model in _models():
        if name in model.model_fields and text != "":
            try:
                model.model_validate({**(_ANY_FILE if model is FeedSettings else {}), name: text})
            except ValidationError as invalid:
                found.update({mistake(model, error): None for error in invalid.errors() if error["loc"][:1] == (name,)})
    return list(found)


def check_stresses(file: ScenarioFile, mistakes: Mistakes) -> dict[str, tuple[Transform, ...]]:
    """Return the transforms of each named stress, and report those that cannot be made."""
    made: dict[str, tuple[Transform, ...]] = {}
    for name, parts in (file.stress or {}).items():
        if name == UNSTRESSED:
            mistakes.add(("stress", name), f"{UNSTRESSED} is the market as recorded; give the stress another name")
        if not parts:
            mistakes.add(("stress", name), f"{name} does nothing; name a transform{_near(name, TRANSFORMS)}")
        found = [_transform(file, ("stress", name, number), part, mistakes) for number, part in enumerate(parts)]
        made[name] = tuple(transform for transform in found if transform is not None)
    return made


def _transform(file: ScenarioFile, place: Place, part: Mapping[str, Any], mistakes: Mistakes) -> Transform | None:
    if len(part) != 1:
        mistakes.add(place, "one transform with its parameters is meant, as - crash: {at: +60, drop_pct: 0.1}")
        return None
    ((kind, parameters),) = part.items()
    place = (*place, kind)
    model = TRANSFORMS.get(kind)
    if model is None:
        mistakes.add(place, f"there is no transform {kind}{_near(kind, TRANSFORMS)}")
        return None
    if not isinstance(parameters, dict | None):
        mistakes.add(place, f"{kind}: parameters are meant, as {{at: +60, minutes: 5}}")
        return None
    given = {"seed": file.seed, **{key: as_text(value) for key, value in (parameters or {}).items()}}
    try:
        transform = model.model_validate(given)
    except ValidationError as invalid:
        for error in invalid.errors():
            mistakes.add((*place, *error["loc"]), _of_transform(error, kind, model))
        return None
    if transform.draws and transform.seed is None:
        mistakes.add(place, f"{kind} draws, so it needs a seed; write seed: 1 at the top of the file")
        return None
    return transform


def _of_transform(error: ErrorDetails, kind: str, model: type[Transform]) -> str:
    if error["type"] in {"extra_forbidden", "missing"}:
        return f"{kind}: {_words(error, model)}"
    return f"{kind}: {mistake(model, error)}"


def check_inputs(file: ScenarioFile, folder: Path, mistakes: Mistakes) -> None:
    """Report recordings that are not there, and scenarios that would have none."""
    for place, names in (
        (("base", "inputs"), file.base.inputs),
        *((("periods", number, "inputs"), period.inputs) for number, period in enumerate(file.periods or ())),
    ):
        for name in names or ():
            if name in SCENARIOS:
                if len(names or ()) > 1:
                    mistakes.add(place, f"{name} is a bundled scenario with its own recording; leave the others out")
            elif not (folder / name).is_file():
                bundled = ", ".join(SCENARIOS)
                mistakes.add(
                    place,
                    f"{name}: there is no such file beside this one{_near(name, list(SCENARIOS))}; "
                    f"bundled scenarios are {bundled}",
                )
    if file.base.inputs is None and not (file.periods and all(period.inputs for period in file.periods)):
        mistakes.add(("base",), "inputs is missing; name a recording, or a bundled scenario as crash-2021-05-19")
    for number, period in enumerate(file.periods or ()):
        if period.from_us is not None and period.to_us is not None and period.to_us <= period.from_us:
            mistakes.add(("periods", number, "to"), f"{period.name} ends before it begins; exchange from and to")


class Together:
    """Looks at the settings of whole scenarios: what is wrong with them only when they come together.

    Args:
        mistakes: takes each of them once, with the first scenario that has it.
    """

    def __init__(self, mistakes: Mistakes) -> None:
        self._mistakes = mistakes
        self._told: set[str] = set()

    def check(self, name: str, spec: PaperSpec, stresses: Sequence[tuple[str, Transform]], place: Place) -> None:
        """Report what is wrong with one scenario.

        Args:
            name: of the scenario.
            spec: with its settings.
            stresses: each with the name under which the file has it.
            place: where the scenario stands in the file.
        """
        try:
            venue = load_settings(FeedSettings, {**_ANY_FILE, **spec.settings}).VENUE
            service_settings(spec.settings)
        except SettingsInvalid as invalid:
            for text in str(invalid).splitlines():
                if text not in self._told:
                    self._told.add(text)
                    self._mistakes.add(place, f"scenario {name}: {text}")
            return
        for stress, transform in stresses:
            if isinstance(transform, Funding) and venue != PERPETUAL:
                self._mistakes.add(
                    ("stress", stress), "funding is of perpetuals only; set VENUE: mexc_perpetual in base.settings"
                )
