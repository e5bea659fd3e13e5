"""Asks the services over HTTP how they are, in a thread of its own."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Mapping
from typing import Any

__all__ = ["HealthProbe", "read_json"]

TIMEOUT_SEC = 2.0
EVERY_SEC = 0.5


def read_json(
    port: int, path: str, *, host: str = "127.0.0.1", timeout_sec: float = TIMEOUT_SEC
) -> dict[str, Any] | None:
    """Return the JSON object that a service answers with, None when it does not answer."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_sec)
    try:
        connection.request("GET", path)
        value = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return value if isinstance(value, dict) else None


class HealthProbe(threading.Thread):
    """Keeps the last health of each service.

    Attributes:
        health: by service: empty when it is well, otherwise what fails.
    """

    def __init__(self, ports: Mapping[str, int]) -> None:
        """Name the ports by service."""
        super().__init__(name="probe", daemon=True)
        self._ports = dict(ports)
        self._stop_asked = threading.Event()
        self.health: dict[str, str] = dict.fromkeys(ports, "starting")

    def run(self) -> None:
        """Ask in turn until `stop`."""
        while not self._stop_asked.wait(EVERY_SEC):
            for service, port in self._ports.items():
                self.health[service] = _words(read_json(port, "/health"))

    def stop(self) -> None:
        """Stop asking."""
        self._stop_asked.set()
        self.join(2 * TIMEOUT_SEC * len(self._ports))


def _words(answer: dict[str, Any] | None) -> str:
    if answer is None:
        return "no answer"
    if answer.get("status") == "ok":
        return ""
    failing = answer.get("failing")
    if not isinstance(failing, dict):
        return str(answer.get("status"))
    return "; ".join(f"{name}: {reason}" for name, reason in failing.items())
