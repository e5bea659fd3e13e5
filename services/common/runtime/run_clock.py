"""What a process knows of the run it is in: its clock, its id, who takes part, whether the feed has ended.

The fold part is a function of the journal (and kept in snapshots). The other part, how long ago on the wall the clock
last moved, is the one thing that tells a quiet market from a dead feed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from services.common import channels
from services.common.events import Control
from services.common.journal.entry import Entry
from services.common.timestamps import SECOND_US

__all__ = ["RunClock"]

STALL_SEC = 5.0
START_GRACE_SEC = 60.0


class RunClock:
    """Folds the clock of cdb_ws and the announcements of all services.

    Attributes:
        now: greatest timestamp of cdb_ws in this run, microseconds; None before the first.
        run_id: of the last `started` of cdb_ws.
        announced: services that have announced themselves in this run.
        settings_hashes: of each service's configuration in force (kept over runs).
        finished: the recorded feed of this run has ended.
        pressure: memory pressure that cdb_ws last observed.
    """

    def __init__(self, wall: Callable[[], float] = time.monotonic) -> None:
        """Start before the first entry; `wall` gives seconds that only grow."""
        self._wall = wall
        self.now: int | None = None
        self.run_id: str | None = None
        self.announced: set[str] = set()
        self.settings_hashes: dict[str, str] = {}
        self.finished = False
        self.pressure = "none"
        self._last_tick: int | None = None
        self._tick_gap_us: int | None = None
        self._born = self._moved = wall()

    def fold(self, entry: Entry) -> None:
        """Take note of one entry; all but clock and control entries are passed over."""
        of_clock = entry.producer == channels.WS
        if not of_clock and entry.channel != channels.CONTROL:
            return
        event = entry.event
        if entry.channel != channels.CONTROL:  # asking for the class of another event costs more than all of this
            self._moved = self._wall()
            if self.now is None or event.timestamp > self.now:
                self.now = event.timestamp
            return
        assert isinstance(event, Control)
        if of_clock:
            self._moved = self._wall()
            if event.action == "started" and event.run_id != self.run_id:
                self.run_id, self.now, self.finished = event.run_id, None, False
                self.announced.clear()
                self._last_tick = self._tick_gap_us = None
            if self.now is None or event.timestamp > self.now:
                self.now = event.timestamp
        self._fold_control(event)

    def _fold_control(self, event: Control) -> None:
        own = event.producer == event.service
        if event.action == "started" and own:
            self.announced.add(event.producer)
        elif event.action == "config" and own:
            self.settings_hashes[event.producer] = str(event.details.get("settings_hash"))
        elif event.producer == channels.WS and event.action == "tick":
            self.finished = False  # the run goes on with another feed
            if self._last_tick is not None:
                gap_us = event.timestamp - self._last_tick
                before_us = self._tick_gap_us
                # The clock's pace; a jump (the machine slept) is none, so it grows by steps.
                self._tick_gap_us = gap_us if before_us is None else min(gap_us, 2 * before_us)
            self._last_tick = event.timestamp
            self.pressure = str(event.details.get("pressure", "none"))
        elif event.producer == channels.WS and event.action == "finished":
            self.finished = True

    @property
    def ticked(self) -> bool:
        """Whether the clock of this run has begun to tick."""
        return self._last_tick is not None

    def age_sec(self) -> float:
        """Return the wall time since the clock last moved, as this process saw it."""
        return self._wall() - self._moved

    def listen_anew(self) -> None:
        """Begin to wait anew: what this process did not listen to (it was held up) was no silence of the clock."""
        self._moved = self._wall()

    def stalled(self) -> str | None:
        """Return why the clock counts as dead, None when it lives (or has rightly ended).

        A clock that ticks once a minute (candle files at their own speed) may be silent for longer than one that
        ticks every second; before the first tick of a run there is a grace for the services to find each other.
        """
        if self.finished:
            return None
        if self._last_tick is None:
            waited = self._wall() - self._born
            return f"no clock tick of cdb_ws for {waited:.0f} s since the start" if waited > START_GRACE_SEC else None
        limit = max(STALL_SEC, 2.5 * (self._tick_gap_us or 0) / SECOND_US)
        age = self.age_sec()
        return f"no event of cdb_ws for {age:.1f} s (limit {limit:.0f} s)" if age > limit else None

    def dump(self) -> dict[str, Any]:
        """Return the fold part."""
        return {
            "now": self.now,
            "run_id": self.run_id,
            "announced": sorted(self.announced),
            "settings_hashes": self.settings_hashes,
            "finished": self.finished,
            "pressure": self.pressure,
            "last_tick": self._last_tick,
            "tick_gap_us": self._tick_gap_us,
        }

    def restore(self, value: dict[str, Any]) -> None:
        """Take over what `dump` returned."""
        self.now, self.run_id = value["now"], value["run_id"]
        self.announced = set(value["announced"])
        self.settings_hashes = dict(value["settings_hashes"])
        self.finished, self.pressure = value["finished"], value["pressure"]
        self._last_tick, self._tick_gap_us = value["last_tick"], value["tick_gap_us"]
        self._moved = self._wall()
