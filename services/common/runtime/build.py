"""Which code is running: the product's version and a fingerprint of the services' sources."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from pathlib import Path

from services.common.version import VERSION

__all__ = ["code_version", "source_fingerprint"]

SOURCES = frozenset({".py", ".lua", ".sql"})


def source_fingerprint(root: Path) -> str:
    """Return the sha256 over name and content of every source below `root`, in the order of their names."""
    digest = sha256()
    for path in sorted(root.rglob("*"), key=lambda path: path.relative_to(root).as_posix()):
        if path.suffix in SOURCES and path.is_file():
            for part in (path.relative_to(root).as_posix().encode(), path.read_bytes().replace(b"\r\n", b"\n")):
                digest.update(b"%d:" % len(part))
                digest.update(part)
    return digest.hexdigest()


@cache
def code_version() -> str:
    """Return `<version>+<12 hex digits>`, read once a process."""
    import services.common as ground_floor

    return f"{VERSION}+{source_fingerprint(Path(ground_floor.__file__).parents[1])[:12]}"
