"""The Lua scripts: each is one atomic step on the journal.

All of them run with `allow-oom`: what may enter a full journal is decided by the publish script, per class of event.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha1
from importlib import resources
from typing import Final

__all__ = [
    "ACQUIRE",
    "ADVANCE",
    "ATTACH",
    "CLEAR",
    "DEAD_LETTER",
    "DURABLE",
    "MARKS",
    "MEND",
    "OPEN",
    "PUBLISH",
    "RELEASE",
    "RENEW",
    "RESTORE",
    "TRIM",
    "Script",
]


@dataclass(frozen=True)
class Script:
    """A script and the digest by which the server knows it."""

    name: str
    text: str
    sha: str


def _load(name: str) -> Script:
    folder = resources.files(__name__)
    guard = (folder / "guard.lua").read_text(encoding="utf-8")
    body = (folder / f"{name}.lua").read_text(encoding="utf-8")
    text = f"#!lua flags=allow-oom\n{guard}\n{body}"
    return Script(name, text, sha1(text.encode(), usedforsecurity=False).hexdigest())


ACQUIRE: Final = _load("acquire")
ADVANCE: Final = _load("advance")
ATTACH: Final = _load("attach")
CLEAR: Final = _load("clear")
DEAD_LETTER: Final = _load("dead_letter")
DURABLE: Final = _load("durable")
MARKS: Final = _load("marks")
MEND: Final = _load("mend")
OPEN: Final = _load("open")
PUBLISH: Final = _load("publish")
RELEASE: Final = _load("release")
RENEW: Final = _load("renew")
RESTORE: Final = _load("restore")
TRIM: Final = _load("trim")
