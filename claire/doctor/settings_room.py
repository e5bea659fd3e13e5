"""Looks at the environment: every setting of every service, and names that nobody reads but somebody meant."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from pydantic import BaseModel

import services
from claire.doctor.finding import Finding, Level
from claire.stack import check_settings, known_settings
from services.common.errors import SettingsInvalid
from services.common.settings import read_environment

__all__ = ["BESIDE_THE_SERVICES", "look_at_settings", "read_env_file"]

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
