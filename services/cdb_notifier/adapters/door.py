"""`POST /alertmanager`: what comes in from outside, answered only when it is safe on disk."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Final

import flask

from services.cdb_notifier.message import Notice
from services.cdb_notifier.webhook import MOST_BYTES, read_webhook
from services.common.errors import ContractViolation

__all__ = ["Door", "Knock"]

PATIENCE_SEC: Final = 5.0
MOST_KNOCKS: Final = 32


@dataclass
class Knock:
    """One request that waits for its answer."""

    notices: list[Notice]
    _kept: Event = field(default_factory=Event)

    def answer(self) -> None:
        """Say that what it brought survives from now on."""
        self._kept.set()

    def wait(self) -> bool:
        """Wait for that; False when it took too long (who knocked comes again)."""
        return self._kept.wait(PATIENCE_SEC)


class Door:
    """Hands requests from the HTTP threads to the work loop."""

    def __init__(self) -> None:
        """Begin with nobody waiting."""
        self._lock = Lock()
        self._knocks: deque[Knock] = deque()
        self._open = True

    def hang(self, app: flask.Flask) -> None:
        """Add the address to an application."""
        app.config["MAX_CONTENT_LENGTH"] = MOST_BYTES

        @app.post("/alertmanager")
        def alertmanager() -> tuple[dict[str, str], int]:
            if flask.request.mimetype != "application/json":  # a web page cannot send this type to another origin
                return {"error": "application/json is meant"}, 415
            try:
                notices = read_webhook(flask.request.get_data())
            except ContractViolation as violation:
                return {"error": str(violation)[:300]}, 400
            return ({"status": "kept"}, 200) if self._bring(Knock(notices)) else ({"error": "try again"}, 503)

    def _bring(self, knock: Knock) -> bool:
        with self._lock:
            if not self._open or len(self._knocks) >= MOST_KNOCKS:
                return False
            self._knocks.append(knock)
        return knock.wait()

    def take(self) -> list[Knock]:
        """Return who has come (for the work loop)."""
        with self._lock:
            knocks, self._knocks = list(self._knocks), deque()
            return knocks

    def close(self) -> None:
        """Let nobody in any more."""
        with self._lock:
            self._open = False
