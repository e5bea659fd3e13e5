"""Whether another container is there: by its name, which only resolves while it runs."""

from __future__ import annotations

import queue
import socket
import threading
from typing import Final
from urllib.parse import urlsplit

__all__ = ["is_there"]

WAIT_SEC: Final = 3.0


def is_there(url: str) -> bool:
    """Whether the host of an address has one; False when its name cannot be resolved in time."""
    host = urlsplit(url).hostname
    if not host:
        return False
    found: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def look() -> None:
        try:
            socket.getaddrinfo(host, None)
        except OSError:
            found.put(False)
        else:
            found.put(True)

    threading.Thread(target=look, name="neighbour", daemon=True).start()
    try:
        return found.get(timeout=WAIT_SEC)
    except queue.Empty:
        return False
