"""The operator's time of day."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from services.common.errors import SettingsInvalid
from services.common.timestamps import SECOND_US

__all__ = ["minutes_of"]


def minutes_of(zone: str) -> Callable[[int], int]:
    """Return what turns microseconds since the epoch into the minute of the day in a time zone.

    Raises:
        SettingsInvalid: nobody knows the zone.
    """
    try:
        place = ZoneInfo(zone)
    except (KeyError, ValueError, OSError) as error:
        raise SettingsInvalid(f"NOTIFY_TIMEZONE={zone}: no such time zone; for example UTC or Europe/Berlin") from error

    def minute_of_day(at: int) -> int:
        local = datetime.fromtimestamp(at // SECOND_US, UTC).astimezone(place)
        return local.hour * 60 + local.minute

    return minute_of_day
