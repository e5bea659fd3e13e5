"""What README and handbook say: their commands, one a line, and their links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["ROOT", "Shown", "pages", "shown_commands"]

ROOT: Final = Path(__file__).resolve().parents[3]
_BLOCK: Final = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE: Final = re.compile(r"`((?:\.venv/bin/)?(?:claire|make|docker|curl|backoffice/\S+\.sh) [^`\n]+|make\s\S+)`")


@dataclass(frozen=True)
class Shown:
    """One command that a page shows.

    Attributes:
        page: path from the root.
        text: the command without its comment, on one line.
        block: stands in a block to be copied, not in a sentence.
    """

    page: str
    text: str
    block: bool

    @property
    def words(self) -> list[str]:
        """The words as a shell would part them."""
        return shlex.split(self.text, comments=True)

    def __str__(self) -> str:
        return f"{self.page}: {self.text}"


def pages() -> list[Path]:
    """Return README, the changelog and every page of the handbook."""
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "backoffice").rglob("*.md"))]


def shown_commands() -> list[Shown]:
    """Return every command that README and handbook show, in order."""
    return [command for page in pages() if page.name != "CHANGELOG.md" for command in _of(page)]


def _of(page: Path) -> Iterator[Shown]:
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(ROOT).as_posix()
    for block in _BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            command = re.sub(r"\s+#\s.*$", "", line).strip()
            if command and not command.startswith("#"):
                yield Shown(name, re.sub(r" {2,}", " ", command), block=True)
    for command in _INLINE.findall(_BLOCK.sub("", text)):
        yield Shown(name, command.strip(), block=False)
