"""Looks at the environment: every setting of every service, and names that nobody reads but somebody meant."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from itertools import chain
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

import services
from claire.doctor.finding import Finding, Level
from claire.stack import check_settings, known_settings, settings_models
from claire.status import Answer
from services.common.errors import SettingsInvalid
from services.common.settings import Infrastructure, canonical_settings, load_settings, read_environment

__all__ = ["BESIDE_THE_SERVICES", "in_force", "look_at_settings", "look_at_settings_in_force", "read_env_file"]

TOPIC: Final = "settings"

BESIDE_THE_SERVICES: Final = frozenset(
    {
        *("REDIS_OPERATOR_PASSWORD", "REDIS_READONLY_PASSWORD", "POSTGRES_SUPERUSER_PASSWORD"),
        *("POSTGRES_READER_PASSWORD", "POSTGRES_SERVICE_PASSWORD", "GRAFANA_PASSWORD", "RECORDINGS_DIR"),
        *("CDB_WS_PORT", "CDB_CORE_PORT", "CDB_RISK_PORT", "CDB_EXECUTION_PORT", "CDB_WRITER_PORT"),
        *("MEXC_REST_URL", "MEXC_API_KEY", "MEXC_API_SECRET", "CONFIRM_LIVE_TRADING"),
        *("PROMETHEUS_PORT", "GRAFANA_PORT", "REDIS_APPENDFSYNC", "REDIS_MAXMEMORY"),
        *("MAX_DRAWDOWN_PCT", "MAX_EXPOSURE_PCT"),  # refused by their own check, with the name of today
    }
)
"""Read by the compose file or by tools, not by a service."""

FAMILIES: Final = ("SIGNAL_", "PAPER_", "LIVE_", "MEXC_", "KELLY_", "ATR_", "FEED_", "JOURNAL_TRIM_", "WRITER_")
"""A name that begins like this is meant for us, even when it resembles none of ours."""

_OF_THE_FEED: Final = frozenset({"FEED", "FEED_FILES", "VENUE"})
"""Whoever starts a pipeline chooses them; `claire status` shows them."""

NEAR: Final = 0.86
_NAME: Final = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")


def known_names() -> frozenset[str]:
    """Return every name that something of ours reads, also of services that `claire up` does not start."""
    names = set(known_settings() | BESIDE_THE_SERVICES)
    for package in pkgutil.iter_modules(services.__path__):
        with suppress(ModuleNotFoundError):
            module = importlib.import_module(f"services.{package.name}.settings")
            models = (value for value in vars(module).values() if isinstance(value, type))
            names |= {name for model in models if issubclass(model, BaseModel) for name in model.model_fields}
    return frozenset(names)


def look_at_settings(
    environ: Mapping[str, str], env_file: Path | None, documented: frozenset[str]
) -> Iterator[Finding]:
    """Say what is wrong with the environment, and with the `.env` that Docker reads.

    Args:
        environ: the environment.
        env_file: `.env` beside the compose file; None: there is none.
        documented: names of `.env.example`; empty when it is not here.
    """
    known = known_names() | documented
    sources = [("the environment", environ)]
    if env_file is not None:
        try:
            sources.append((str(env_file), read_env_file(env_file.read_text(encoding="utf-8"))))
        except (OSError, UnicodeDecodeError) as error:
            yield Finding(TOPIC, Level.problem, f"{env_file} cannot be read: {error}", f"chmod u+r {env_file}")
    for where, values in sources:
        found = [*_wrong(where, values), *_unknown(where, values, known)]
        yield from found
        if not found:
            count = sum(1 for name, value in values.items() if value and name.removesuffix("_FILE") in known)
            yield Finding(TOPIC, Level.ok, f"{where}: {count} of our settings are set, all of them make sense")


def in_force(answers: Mapping[str, Answer]) -> dict[str, Any]:
    """Return the settings with which the running services decide, by name; empty when none answers."""
    found: dict[str, Any] = {}
    for answer in answers.values():
        infrastructure = answer.status.get("infrastructure") or {}
        found |= {name: infrastructure[name] for name in ("TRADING_MODE",) if name in infrastructure}
        found |= answer.config
    return found


def look_at_settings_in_force(force: Mapping[str, Any], environ: Mapping[str, str]) -> Iterator[Finding]:
    """Say what the services run with besides the defaults, and where the environment here says something else.

    Args:
        force: as `in_force` returns it; `claire up --set` stands in no environment but is in force.
        environ: the environment.
    """
    if not force:
        return
    defaults, meant = _values({}), _values(environ)
    told = [
        f"{name}={_shown(value)}"
        for name, value in sorted(force.items())
        if name in defaults and name not in _OF_THE_FEED and _plain(value) != _plain(defaults[name])
    ]
    yield Finding(TOPIC, Level.ok, f"in force besides the defaults: {'; '.join(told) or 'nothing'}")
    for name in sorted(name for name in meant.keys() & force.keys() if environ.get(name)):
        if _plain(meant[name]) != _plain(force[name]):
            words = f"the environment here says {name}={environ[name]}; in force is {_shown(force[name])}"
            mend = f"unset {name}  # or start the pipeline anew; claire up --set goes before it"
            yield Finding(TOPIC, Level.warning, words, mend)


def _values(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return every setting as the services would read it; a service whose settings are wrong is left out."""
    given = {**environ, "FEED": environ.get("FEED") or "external"}
    found: dict[str, Any] = {}
    models: list[type[BaseModel]] = [Infrastructure, *chain.from_iterable(settings_models().values())]
    for model in models:
        with suppress(SettingsInvalid):
            found |= canonical_settings(load_settings(model, given))
    return found


def _plain(value: Any) -> Any:
    """Return a value so that equal settings compare equal: 0.3 and "0.30", a list and a tuple."""
    if isinstance(value, list | tuple):
        return tuple(_plain(each) for each in value)
    if value is None or isinstance(value, bool):
        return value
    try:
        return Decimal(str(value))
    except InvalidOperation:
        return str(value)


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(_shown(each) for each in value)
    if isinstance(value, Mapping):
        return ",".join(f"{name}={_shown(each)}" for name, each in value.items())
    return str(value).lower() if isinstance(value, bool) else str(value)


def read_env_file(text: str) -> dict[str, str]:
    """Return the assignments of a `.env` file (`NAME=value`, `#` begins a comment, quotes are taken off)."""
    values = {}
    for line in text.splitlines():
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and not name.startswith("#"):
            values[name.strip()] = value.split(" #")[0].strip().strip("\"'")
    return values


def _wrong(where: str, values: Mapping[str, str]) -> Iterator[Finding]:
    given = dict(values)
    if not given.get("FEED") and not given.get("FEED_FILES"):
        given["FEED"] = "external"  # whoever starts a pipeline chooses the feed then
    try:
        check_settings(read_environment(given))
    except SettingsInvalid as invalid:
        for mistake in str(invalid).splitlines():
            name = mistake.partition("=")[0].partition(":")[0]
            mend = f"unset {name}  # or set what is meant" if _NAME.fullmatch(name) or name.isupper() else ""
            yield Finding(TOPIC, Level.problem, f"{where}: {mistake}", mend)


def _unknown(where: str, values: Mapping[str, str], known: frozenset[str]) -> Iterator[Finding]:
    for name in sorted(values):
        plain = name.removesuffix("_FILE")
        if name in known or plain in known or not _NAME.fullmatch(name):
            continue
        near = difflib.get_close_matches(name, known, n=1, cutoff=NEAR)
        if near:
            words = f"{where}: nobody reads {name}; perhaps {near[0]} is meant, which keeps its default meanwhile"
            yield Finding(TOPIC, Level.warning, words, f"unset {name}; export {near[0]}=…")
        elif name.startswith(FAMILIES):
            yield Finding(TOPIC, Level.warning, f"{where}: nobody reads {name}", f"unset {name}  # see .env.example")
