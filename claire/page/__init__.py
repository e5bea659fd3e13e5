"""The status page: what the services and the database know of a run, read-only in a browser on this machine."""

from __future__ import annotations

from typing import Final

__all__ = ["PORT_AFTER_FIRST"]

PORT_AFTER_FIRST: Final = 6
"""The page listens so many ports after cdb_ws: 8006 beside 8000."""
