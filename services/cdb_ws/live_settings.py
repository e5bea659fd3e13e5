"""Settings of the live feeds: what decides which events come out, so it is journalled with the feed's own."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, field_validator

from services.common.book import MAX_LEVELS
from services.common.settings import Amount, Fraction, MachineSettings

__all__ = ["LiveSettings"]


class LiveSettings(MachineSettings):
    """How MEXC is asked and listened to.

    Attributes:
        MEXC_REST_URL, MEXC_WS_URL: where the spot market is.
        MEXC_PERPETUAL_REST_URL, MEXC_PERPETUAL_WS_URL: where the perpetual contracts are.
        MEXC_WS_TOPICS: topics on one connection at most; more symbols get more connections.
        MEXC_WS_PUSH_MS: how often the spot market pushes trades and quotes.
        MARKET_DATA_DEPTH_LEVELS: levels of each side of the book in market data, at most; 0: the top alone.
        FEED_SILENCE_SEC: a symbol without any message for so long is reconnected.
        FEED_ROTATE_MIN: a connection is replaced after so long (the exchange cuts it after 24 hours).
        FEED_WARMUP_MIN: closed minutes that are asked for at the start.
        FEED_COMPARE: whether each closed minute's trades are compared with the exchange's bar.
        FEED_TIME_EVERY_SEC: distance of the measurements of the exchange's clock.
        SCREENER_TOP: of `SYMBOLS=auto`: how many symbols are chosen.
        SCREENER_EVERY_MIN: how often the choice is made again.
        SCREENER_MAX_SPREAD_PCT, SCREENER_MIN_TURNOVER_USDT, SCREENER_MIN_AGE_DAYS: what a symbol must keep.
        SCREENER_KEEP_MIN: a symbol that has left the list is still watched for so long, to close what is held.
    """

    MEXC_REST_URL: str = "https://api.mexc.com"
    MEXC_WS_URL: str = "wss://wbs-api.mexc.com/ws"
    MEXC_PERPETUAL_REST_URL: str = "https://api.mexc.com"
    MEXC_PERPETUAL_WS_URL: str = "wss://contract.mexc.com/edge"
    MEXC_WS_TOPICS: int = Field(30, ge=6, le=200)
    MEXC_WS_PUSH_MS: Literal[10, 100] = 100
    MARKET_DATA_DEPTH_LEVELS: int = Field(5, ge=0, le=MAX_LEVELS)
    FEED_SILENCE_SEC: int = Field(30, ge=1, le=3_600)
    FEED_ROTATE_MIN: int = Field(1_380, ge=1, le=1_439)
    FEED_WARMUP_MIN: int = Field(780, ge=0, le=10_080)
    FEED_COMPARE: bool = True
    FEED_TIME_EVERY_SEC: int = Field(60, ge=1, le=3_600)
    SCREENER_TOP: int = Field(10, ge=1, le=100)
    SCREENER_EVERY_MIN: int = Field(60, ge=1, le=10_080)
    SCREENER_MAX_SPREAD_PCT: Annotated[Fraction, Field(gt=0)] = Decimal("0.002")
    SCREENER_MIN_TURNOVER_USDT: Amount = Decimal(1_000_000)
    SCREENER_MIN_AGE_DAYS: int = Field(30, ge=0, le=400)
    SCREENER_KEEP_MIN: int = Field(300, ge=0, le=10_080)

    @field_validator("MEXC_WS_PUSH_MS", mode="before")
    @classmethod
    def _number(cls, value: object) -> object:
        return int(value) if isinstance(value, str) and value.isdigit() else value

    @field_validator("MEXC_REST_URL", "MEXC_PERPETUAL_REST_URL")
    @classmethod
    def _rest(cls, url: str) -> str:
        if not url.startswith(("https://", "http://")):
            raise ValueError("an address is meant, as https://api.mexc.com")
        return url.rstrip("/")

    @field_validator("MEXC_WS_URL", "MEXC_PERPETUAL_WS_URL")
    @classmethod
    def _socket(cls, url: str) -> str:
        if not url.startswith(("wss://", "ws://")):
            raise ValueError("an address is meant, as wss://wbs-api.mexc.com/ws")
        return url
