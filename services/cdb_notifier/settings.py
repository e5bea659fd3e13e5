"""Settings of the notifier. None of them decides about trading, so none is journalled."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from services.cdb_notifier.message import Level

__all__ = ["NotifierSettings", "quiet_minutes"]

_SPAN = re.compile(r"^([01]\d|2[0-3]):([0-5]\d)\s*-\s*([01]\d|2[0-3]):([0-5]\d)$")


def quiet_minutes(text: str) -> tuple[int, int] | None:
    """Return begin and end of quiet hours as minutes of the day, None when there are none.

    Raises:
        ValueError: not like 22:00-07:00.
    """
    if not text:
        return None
    found = _SPAN.match(text)
    if found is None:
        raise ValueError("begin and end of the quiet hours are meant, for example 22:00-07:00")
    begin, end = int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4])
    if begin == end:
        raise ValueError("quiet hours that begin when they end would be none or all; leave it empty for none")
    return begin, end


def _checked_span(text: str) -> str:
    quiet_minutes(text)
    return text


class NotifierSettings(BaseModel):
    """Whom to tell what, and when not."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    NOTIFY_URLS: SecretStr = Field(
        SecretStr(""),
        description="apprise URLs separated by commas or blanks; LEVEL=URL tells that one from LEVEL on",
    )
    NOTIFY_MIN_LEVEL: Level = Field("WARNING", description="least level that is told at once; the rest daily")
    NOTIFY_QUIET_HOURS: Annotated[str, AfterValidator(_checked_span)] = Field(
        "", description="as 22:00-07:00: what is not CRITICAL waits for their end"
    )
    NOTIFY_TIMEZONE: str = Field("UTC", description="of the quiet hours, for example Europe/Berlin")
    NOTIFY_REPEAT_MIN: int = Field(15, ge=1, le=1_440, description="minutes in which equal alerts are only counted")
    NOTIFY_BURST: int = Field(20, ge=1, le=1_000, description="most messages of a level within NOTIFY_REPEAT_MIN")
    NOTIFY_DAILY_SUMMARY: bool = Field(True, description="a summary with the equity curve after each UTC day")
