"""When an alert is due: at once, then every 15 minutes while its cause lasts, at most once a minute while it flaps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from services.common.timestamps import MINUTE_US

__all__ = ["REPEAT_US", "Alarm", "Alarms"]

REPEAT_US = 15 * MINUTE_US
_FLAP_US = MINUTE_US


@dataclass
class Alarm:
    """When an alert was last sent (microseconds), and whether its cause still lasts."""

    sent_at: int
    lasting: bool = True


@dataclass
class Alarms:
    """Alerts by key: a code, or a code and what it is about."""

    sent: dict[str, Alarm] = field(default_factory=dict)

    def settle(self, holding: Iterable[str], now: int) -> list[str]:
        """Note which causes hold at `now`, and return those whose alert is to be sent."""
        keys = list(holding)
        if not keys and not self.sent:
            return []
        for key in [key for key in self.sent if key not in keys]:
            self._over(key, now)
        return [key for key in keys if self._due(key, now)]

    def _due(self, key: str, now: int) -> bool:
        alarm = self.sent.get(key)
        if alarm is not None:
            wait = REPEAT_US if alarm.lasting else _FLAP_US
            alarm.lasting = True
            if now - alarm.sent_at < wait:
                return False
        self.sent[key] = Alarm(now)
        return True

    def _over(self, key: str, now: int) -> None:
        """What was sent long ago is forgotten; what was sent just now is kept, so that flapping does not page."""
        alarm = self.sent[key]
        alarm.lasting = False
        if now - alarm.sent_at >= _FLAP_US:
            del self.sent[key]
