"""Whether a service does its work, and what it can tell about itself, safe to ask from another thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Lock
from typing import Any

__all__ = ["Check", "Health", "StatusBoard"]

HEARTBEAT_LIMIT_SEC = 5.0

Check = Callable[[], str | None]
"""Returns None when all is well, otherwise the reason why not. Must be quick and must not block."""


class Health:
    """Named checks. A check that raises counts as failing: what cannot be looked at is not well."""

    def __init__(self, wall: Callable[[], float] = time.monotonic) -> None:
        """Begin without a heartbeat: not healthy before the work has begun. `wall` gives seconds that only grow."""
        self._wall = wall
        self._checks: dict[str, Check] = {"loop": self._loop}
        self._beat: float | None = None

    def check(self, name: str, callable_: Check) -> None:
        """Add (or replace) a check."""
        self._checks[name] = callable_

    def beat(self) -> None:
        """Say that the work loop has come round."""
        self._beat = self._wall()

    def _loop(self) -> str | None:
        if self._beat is None:
            return "starting"
        age = self._wall() - self._beat
        return f"the work loop has not come round for {age:.1f} s" if age > HEARTBEAT_LIMIT_SEC else None

    @property
    def names(self) -> list[str]:
        """Names of all checks."""
        return list(self._checks)

    def failing(self) -> dict[str, str]:
        """Return the failing checks with their reasons."""
        found = {}
        for name, callable_ in list(self._checks.items()):
            try:
                reason = callable_()
            except Exception as error:  # the edge: a broken check is a failing check
                reason = f"check failed: {type(error).__name__}: {error}"
            if reason is not None:
                found[name] = reason
        return found


class StatusBoard:
    """What `/status` shows.

    State belongs to the work loop, so its thread makes the picture (`refresh`, at every turn of the loop, does nothing
    unless somebody asked); the asking thread waits a moment for it and otherwise gets the last one, marked with
    its age.
    """

    def __init__(self) -> None:
        """Begin with an empty board."""
        self._suppliers: dict[str, Callable[[], Any]] = {}
        self._asked = Event()
        self._made = Event()
        self._lock = Lock()
        self._picture: dict[str, Any] = {}
        self._made_at: float | None = None

    def add(self, section: str, supplier: Callable[[], Any]) -> None:
        """Add (or replace) a section; the supplier is called on the work loop's thread."""
        self._suppliers[section] = supplier

    def refresh(self, *, always: bool = False) -> None:
        """Make the picture if it was asked for (called by the work loop)."""
        if not (always or self._asked.is_set()):
            return
        self._asked.clear()
        self._picture = {section: supplier() for section, supplier in list(self._suppliers.items())}
        self._made_at = time.monotonic()
        self._made.set()

    def read(self, timeout_sec: float = 1.0) -> dict[str, Any]:
        """Return a fresh picture, or the last one with `status_age_sec` when the loop does not come round."""
        with self._lock:
            self._made.clear()
            self._asked.set()
            if self._made.wait(timeout_sec):
                return dict(self._picture)
            age = None if self._made_at is None else round(time.monotonic() - self._made_at)
            return {**self._picture, "status_age_sec": age}
