"""Settings come from environment variables only, typed and bounded; every mistake is listed at once with its fix."""

from __future__ import annotations

import os
from collections.abc import Mapping
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, SecretStr, ValidationError

from services.common.errors import SettingsInvalid
from services.common.instruments import normalise_symbol
from services.common.market_facts import MarketFacts
from services.common.setting_mistakes import FractionMarker, mistake

__all__ = [
    "AUTO",
    "Amount",
    "Fraction",
    "Infrastructure",
    "MachineSettings",
    "Symbols",
    "canonical_settings",
    "load_settings",
    "read_environment",
]

ModelT = TypeVar("ModelT", bound=BaseModel)


def _exact(value: Any) -> Any:
    if isinstance(value, float):
        return Decimal(repr(value))
    return value


Fraction = Annotated[
    Decimal, BeforeValidator(_exact), Field(ge=0, le=1, allow_inf_nan=False, decimal_places=18), FractionMarker()
]
"""A share: 0.05 is 5 %. Settings are journalled, so it has at most the decimals of the wire."""


AUTO: Final = ("auto",)
"""What `SYMBOLS=auto` is read as: the feed's screener chooses."""


def _symbols(value: Any) -> Any:
    if value == "auto" or (isinstance(value, list | tuple) and tuple(value) == AUTO):
        return AUTO
    if isinstance(value, str):
        value = [part for part in value.split(",") if part.strip()]
    if not isinstance(value, list | tuple) or not all(isinstance(symbol, str) for symbol in value):
        raise ValueError("symbols separated by commas are meant, for example BTCUSDT,ETHUSDT")
    symbols = tuple(normalise_symbol(symbol) for symbol in value)
    if not symbols:
        raise ValueError("at least one symbol is needed, for example BTCUSDT")
    doubled = next((symbol for symbol in symbols if symbols.count(symbol) > 1), None)
    if doubled is not None:
        raise ValueError(f"{doubled} stands twice; name each symbol once")
    return symbols


Symbols = Annotated[tuple[str, ...], BeforeValidator(_symbols), Field(max_length=200)]
"""Symbols separated by commas, each as it stands on the wire and named once; or `auto` (`AUTO`)."""

Amount = Annotated[Decimal, BeforeValidator(_exact), Field(ge=0, allow_inf_nan=False, max_digits=28, decimal_places=18)]
"""Money or another number that is not negative."""


class MachineSettings(BaseModel):
    """Settings of a state machine: they decide, so they are journalled. Field names are the environment names."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True, ignored_types=(cached_property,))

    _facts: MarketFacts = PrivateAttr(default_factory=MarketFacts)

    def knowing(self, facts: MarketFacts) -> Self:
        """Return these settings together with what the exchange has said; no setting is changed by it."""
        copied = self.model_copy()
        copied._facts = facts  # noqa: SLF001 - of its own class
        return copied

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with some settings changed (not validated); what follows from them is its own."""
        copied = super().model_copy(update=update, deep=deep)
        for name in copied.__dict__.keys() - type(self).model_fields:
            del copied.__dict__[name]
        return copied

    def chosen(self, symbols: tuple[str, ...]) -> tuple[str, ...]:
        """Return what a setting SYMBOLS means now: for `auto` what the feed has chosen, at first nothing."""
        return self._facts.symbols or () if symbols == AUTO else symbols


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
    HTTP_PORT: int = Field(0, ge=0, le=65535, description="0: the service's own default, 8000 to 8005")
    LOG_LEVEL: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    LOG_FORMAT: Literal["auto", "json", "console"] = "auto"
    BUS_MODE: Literal["pubsub", "xread"] = "pubsub"
    TURNSTILE: bool = Field(False, description="handle one journal entry at a time in a fixed order (repeatable runs)")
    SNAPSHOT_EVERY: int = Field(2_000, ge=1, le=10_000_000, description="journal entries between snapshots")
    TRADING_MODE: Literal["paper", "shadow", "live"] = "paper"

    def postgres_address(self) -> dict[str, Any]:
        """Return where PostgreSQL is and as whom to connect, as keyword arguments of psycopg2.connect."""
        return {
            "host": self.POSTGRES_HOST,
            "port": self.POSTGRES_PORT,
            "user": self.POSTGRES_USER,
            "password": self.POSTGRES_PASSWORD.get_secret_value() or None,
            "dbname": self.POSTGRES_DB,
        }


SECRETS: Final = frozenset({"MEXC_API_KEY", "MEXC_API_SECRET", "NOTIFY_URLS"})
"""Secrets of single services, which may be given as files like those of the infrastructure."""


def read_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment with every `NAME_FILE` replaced by `NAME` from that file (compose secrets).

    Raises:
        SettingsInvalid: every file that is named but cannot be read, one a line.
    """
    mistakes = []
    source = dict(os.environ if environ is None else environ)
    for name in [name for name in source if name.endswith("_FILE") and name[:-5]]:
        path = source[name]
        target = name[: -len("_FILE")]
        if (target in Infrastructure.model_fields or target in SECRETS) and path and not source.get(target):
            try:
                source[target] = Path(path).read_text(encoding="utf-8").strip()
            except OSError as error:
                mistakes.append(f"{name}={path}: cannot be read ({error.strerror}); name a readable file")
            except UnicodeDecodeError:
                mistakes.append(
                    f"{name}={path}: cannot be read (it is not UTF-8); name a file that holds the value alone"
                )
    if mistakes:
        raise SettingsInvalid("\n".join(mistakes))
    return source


_EARLIER_NAMES: Final = {"MAX_DRAWDOWN_PCT": "MAX_DAILY_DRAWDOWN_PCT", "MAX_EXPOSURE_PCT": "MAX_TOTAL_EXPOSURE_PCT"}
"""Limits under the names of earlier versions: ignoring one would trade under a looser limit than was meant."""


def load_settings(model: type[ModelT], environ: Mapping[str, str]) -> ModelT:
    """Read a settings model from an environment; an empty variable counts as not set.

    Raises:
        SettingsInvalid: every mistake, one a line, each with the value (secrets masked) and the fix.
    """
    mistakes = [
        f"{earlier}={environ[earlier]}: this limit is called {name} here; set {name} instead"
        for earlier, name in _EARLIER_NAMES.items()
        if name in model.model_fields and environ.get(earlier, "") != ""
    ]
    given = {name: environ[name] for name in model.model_fields if environ.get(name, "") != ""}
    try:
        settings = model.model_validate(given)
    except ValidationError as error:
        mistakes += [mistake(model, details) for details in error.errors()]
    else:
        if not mistakes:
            return settings
    raise SettingsInvalid("\n".join(mistakes))


def canonical_settings(settings: BaseModel) -> dict[str, Any]:
    """Return settings as they stand in a `config` event (Decimal, int, str, bool, lists)."""
    return settings.model_dump(mode="python")
