"""Foreign messages beyond the bus's backlog are lost, but never in silence."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from services.common.runtime.admission import Admission

pytestmark = pytest.mark.unit


def test_dropped_foreign_messages_raise_an_alert_that_counts_them() -> None:
    """Each time more were dropped one alert says how many in all; nothing new, no alert."""
    alerts: list[tuple[Any, ...]] = []
    life: Any = SimpleNamespace(service="cdb_core", clock=SimpleNamespace(now=1, run_id="r"))
    publisher: Any = SimpleNamespace(alert=lambda *told: alerts.append(told))
    bus: Any = SimpleNamespace(foreign_dropped=0, take_foreign=list)
    admission = Admission(life, publisher)

    for dropped in (0, 3, 3, 5):
        bus.foreign_dropped = dropped
        assert admission.admit(bus) == 0

    assert [(told[0], told[1], told[3]) for told in alerts] == [
        ("CRITICAL", "FOREIGN_MESSAGES_DROPPED", {"dropped": dropped}) for dropped in (3, 5)
    ]
