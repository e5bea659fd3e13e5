"""Settings of cdb_ws: what decides which events come out is journalled, what only decides when is not."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from services.cdb_ws.live_settings import LiveSettings
from services.common.errors import ContractViolation
from services.common.instruments import DEFAULT_INSTRUMENTS, Venue, normalise_symbol
from services.common.settings import AUTO, MachineSettings, Symbols

__all__ = ["FeedSettings", "LiveSettings", "PlaybackSettings"]

_BETWEEN_FILES = re.compile(r"[,;\n]|(?<!^[A-Za-z])(?<![,;:\n][A-Za-z]):")
"""A comma, a semicolon, or a colon that does not follow a drive letter."""


def _files(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in _BETWEEN_FILES.split(value) if part.strip())
    return value


def _symbol_map(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    pairs: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in value.split(","))):
        theirs, equals, ours = part.partition("=")
        if not equals:
            raise ValueError(f"{part!r}: FILE_SYMBOL=OUR_SYMBOL is meant, as XBTUSD=BTCUSDT")
        try:
            source, target = normalise_symbol(theirs), normalise_symbol(ours)
        except ContractViolation as error:
            raise ValueError(str(error)) from error
        if source in pairs:
            raise ValueError(f"{source} is mapped twice")
        if target in pairs.values():
            raise ValueError(f"two symbols of the file would both be {target}")
        pairs[source] = target
    return pairs


def _speed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value.lower() == "max":
        return None
    try:
        return Decimal(value)
    except InvalidOperation:
        raise ValueError("a number above 0, or max, is meant") from None


class FeedSettings(MachineSettings):
    """What the feed publishes is a function of these and of the recordings.

    Attributes:
        FEED: `mexc_spot` and `mexc_perpetual` listen to the exchange; `recorded` plays files, `raw` frames that
            `claire record` kept; `external` is the clock alone, market data come by PUBLISH.
        FEED_FILES: recordings, separated by commas or as in PATH; the feed `external` leaves them alone.
        VENUE: the venue that the feed stands for.
        MARKET_DATA_MAX_HZ: market data events per second and instrument, at most.
        CLOCK_TICK_SEC: distance of the clock's ticks; 60 when all files are candles, otherwise 1.
        RECORDED_WARMUP_MIN: minutes at the beginning of the recording that become closed bars.
        RECORDED_SYMBOL_MAP: from a file's symbols to ours, as XBTUSD=BTCUSDT.
        FEED_BAD_ROWS: `error` refuses a file with an unusable row, `skip` passes over it and marks a gap.
    """

    FEED: Literal["recorded", "external", "raw", "mexc_spot", "mexc_perpetual"] = "recorded"
    FEED_FILES: Annotated[tuple[str, ...], BeforeValidator(_files)] = ()
    VENUE: Venue = "mexc_spot"
    SYMBOLS: Symbols = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
    MARKET_DATA_MAX_HZ: int = Field(4, ge=1, le=1000)
    CLOCK_TICK_SEC: int | None = Field(None, ge=1, le=3600)
    RECORDED_WARMUP_MIN: int = Field(0, ge=0, le=100_000)
    RECORDED_SYMBOL_MAP: Annotated[dict[str, str], BeforeValidator(_symbol_map)] = Field(default_factory=dict)
    FEED_BAD_ROWS: Literal["error", "skip"] = "error"

    @model_validator(mode="after")
    def _check_files(self) -> FeedSettings:
        if self.FEED == "raw" and not self.FEED_FILES:
            raise ValueError("FEED=raw needs FEED_FILES: what claire record has written")
        if self.FEED == "recorded" and not self.FEED_FILES:
            raise ValueError(
                "FEED=recorded needs FEED_FILES, for example "
                "FEED_FILES=backoffice/data/crash-2021-05-19_xbtusd_1m.csv.gz; FEED=external has the clock alone"
            )
        return self

    @property
    def live(self) -> bool:
        """Whether the feed listens to the exchange."""
        return self.FEED in {"mexc_spot", "mexc_perpetual"}

    @model_validator(mode="after")
    def _feed_is_of_the_venue(self) -> FeedSettings:
        if self.live and self.FEED != self.VENUE:
            raise ValueError(
                f"FEED={self.FEED}: VENUE={self.VENUE} is another market; set VENUE={self.FEED} (for every service)"
            )
        return self

    @model_validator(mode="after")
    def _symbols_have_a_grid(self) -> FeedSettings:
        if self.live or self.FEED == "raw":
            return self  # the exchange tells the grids
        if self.SYMBOLS == AUTO:
            raise ValueError(f"SYMBOLS=auto asks the exchange; FEED={self.FEED} has none to ask: name the symbols")
        known = sorted(spec.symbol for spec in DEFAULT_INSTRUMENTS if spec.venue == self.VENUE)
        unknown = [symbol for symbol in self.SYMBOLS if symbol not in known]
        if unknown:
            raise ValueError(
                f"SYMBOLS: no price and lot grid is known for {', '.join(unknown)}; known are {', '.join(known)}"
            )
        return self


class PlaybackSettings(BaseModel):
    """How fast, and in which run: never journalled, because no event depends on it.

    Attributes:
        PLAYBACK_SPEED: feed seconds per wall second of a recording; None (`max`): as fast as the journal takes it.
        CLOCK_SPEED: feed seconds per wall second of the feed `external`.
        RUN_ID: the run to begin or to go on with; empty: the journal's own, or a new one.
        NEW_RUN: begin a new run at this start. Whoever restarts a process gives RUN_ID instead.
        MEXC_SANDBOX: address of the sandbox that compose may have started; while it is there, a new run listens to it.
        FEED_RECORD_DIR: folder that a live feed keeps its raw frames in; empty: they are not kept.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    PLAYBACK_SPEED: Annotated[
        Annotated[Decimal, Field(gt=0, le=1_000_000, allow_inf_nan=False)] | None, BeforeValidator(_speed)
    ] = Decimal(1)
    CLOCK_SPEED: Decimal = Field(Decimal(1), gt=0, le=10_000, allow_inf_nan=False)
    RUN_ID: str = Field("", max_length=64)
    NEW_RUN: bool = False
    MEXC_SANDBOX: str = Field("", pattern=r"^(https?://[^/]+)?$")
    FEED_RECORD_DIR: str = ""
