"""Settings come from environment variables only, typed and bounded; every mistake is listed at once with its fix."""

from __future__ import annotations

import os
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from services.common.errors import SettingsInvalid

__all__ = [
    "Amount",
    "Fraction",
    "Infrastructure",
    "MachineSettings",
    "canonical_settings",
    "load_settings",
    "read_environment",
]

ModelT = TypeVar("ModelT", bound=BaseModel)


def _exact(value: Any) -> Any:
    if isinstance(value, float):
        return Decimal(repr(value))
    return value


Fraction = Annotated[Decimal, BeforeValidator(_exact), Field(ge=0, le=1, allow_inf_nan=False)]
"""A share: 0.05 is 5 %."""

Amount = Annotated[Decimal, BeforeValidator(_exact), Field(ge=0, allow_inf_nan=False, max_digits=28, decimal_places=18)]
"""Money or another number that is not negative."""


class MachineSettings(BaseModel):
    """Settings of a state machine: they decide, so they are journalled. Field names are the environment names."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


class Infrastructure(BaseModel):
    """Where the process finds its servers and puts its files; never journalled, secrets masked."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    REDIS_HOST: str = "127.0.0.1"
    REDIS_PORT: int = Field(6379, ge=1, le=65535)
    REDIS_DB: int = Field(0, ge=0, le=15)
    REDIS_USERNAME: str = ""
    REDIS_PASSWORD: SecretStr = SecretStr("")
    REDIS_SOCKET: str = Field("", description="path of a UNIX socket; used instead of host and port when set")
    POSTGRES_HOST: str = Field("127.0.0.1", description="host name, or the folder of a UNIX socket")
    POSTGRES_PORT: int = Field(5432, ge=1, le=65535)
    POSTGRES_USER: str = "claire"
    POSTGRES_PASSWORD: SecretStr = SecretStr("")
    POSTGRES_DB: str = "claire_de_binare"
    STATE_DIR: Path = Field(Path("data/state"), description="folder of snapshots and locks, on a volume")
    HTTP_HOST: str = "127.0.0.1"
    HTTP_PORT: int = Field(0, ge=0, le=65535, description="0: the service's own default, 8000 to 8004")
    LOG_LEVEL: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    LOG_FORMAT: Literal["auto", "json", "console"] = "auto"
    BUS_MODE: Literal["pubsub", "xread"] = "pubsub"
    TURNSTILE: bool = Field(False, description="handle one journal entry at a time in a fixed order (repeatable runs)")
    SNAPSHOT_EVERY: int = Field(2_000, ge=1, le=10_000_000, description="journal entries between snapshots")
    TRADING_MODE: Literal["paper", "shadow", "live"] = "paper"


def read_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment with every `NAME_FILE` replaced by `NAME` from that file (compose secrets).

    Raises:
        SettingsInvalid: a file that is named but cannot be read.
    """
    source = dict(os.environ if environ is None else environ)
    for name in [name for name in source if name.endswith("_FILE") and name[:-5]]:
        path = source[name]
        target = name[: -len("_FILE")]
        if target in Infrastructure.model_fields and path and not source.get(target):
            try:
                source[target] = Path(path).read_text(encoding="utf-8").strip()
            except OSError as error:
                raise SettingsInvalid(
                    f"{name}={path}: cannot be read ({error.strerror}); name a readable file"
                ) from error
    return source


def load_settings(model: type[ModelT], environ: Mapping[str, str]) -> ModelT:
    """Read a settings model from an environment; an empty variable counts as not set.

    Raises:
        SettingsInvalid: every mistake, one a line, each with the value (secrets masked) and the fix.
    """
    given = {name: environ[name] for name in model.model_fields if environ.get(name, "") != ""}
    try:
        return model.model_validate(given)
    except ValidationError as error:
        lines = [_mistake(model, str(m["loc"][0]) if m["loc"] else "", m["input"], m["msg"]) for m in error.errors()]
        raise SettingsInvalid("\n".join(lines)) from None


def _mistake(model: type[BaseModel], name: str, value: Any, message: str) -> str:
    field = model.model_fields.get(name)
    if field is None:
        return message
    shown = "********" if field.annotation is SecretStr else value
    default = "" if field.is_required() or field.annotation is SecretStr else f"; the default is {field.default}"
    if name.endswith(("_PCT", "_FRACTION")):
        hint = _as_fraction(value)
        return f"{name}={shown}: a fraction between 0 and 1 is meant{hint}{default}"
    return f"{name}={shown}: {message}{default}"


def _as_fraction(value: Any) -> str:
    try:
        number = Decimal(str(value).rstrip("% "))
    except InvalidOperation:
        return ""
    if not number.is_finite() or not 1 < number <= 100:
        return ""
    return f", perhaps {(number / 100).normalize():f}"


def canonical_settings(settings: BaseModel) -> dict[str, Any]:
    """Return settings as they stand in a `config` event (Decimal, int, str, bool, lists)."""
    return settings.model_dump(mode="python")
