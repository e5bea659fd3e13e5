"""A file that only one living process can hold; the operating system gives it back when that process dies."""

from __future__ import annotations

import sys
from typing import IO, Any

__all__ = ["try_lock"]

if sys.platform == "win32":  # pragma: no cover -- runs on Windows only
    import msvcrt

    def try_lock(file: IO[Any]) -> bool:
        """Lock an open file for this process until it is closed; False when another process has it."""
        file.seek(0)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def try_lock(file: IO[Any]) -> bool:
        """Lock an open file for this process until it is closed; False when another process has it."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
