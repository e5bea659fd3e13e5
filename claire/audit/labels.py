"""What the first and the last line of a journal file say of it must follow from the entries between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from claire.audit.difference import Difference, differing_field, shown
from claire.history.manifest import ManifestMaker
from claire.history.source import FileHistory, History
from services.cdb_writer.chain import ChainHead
from services.common.codec import decode
from services.common.journal.entry import Entry

__all__ = ["FIRST_LINE", "Labels"]

FIRST_LINE: Final = 0
"""Instead of a journal number: the manifest stands before the first event."""


class Labels:
    """Makes both lines anew while entries pass; a history without them has nothing to compare."""

    def __init__(self, history: History) -> None:
        """Begin before the first entry."""
        self._history = history if isinstance(history, FileHistory) and history.manifest is not None else None
        self._maker = ManifestMaker(history.after)

    def fold(self, entry: Entry) -> None:
        """Take note of a good entry."""
        if self._history is not None:
            self._maker.fold(entry)

    def differences(self, head: ChainHead) -> Iterator[Difference]:
        """Yield where a line says something else, given the end of the chain."""
        if self._history is None:
            return
        footer = self._history.footer
        for n, name, recorded, derived in (
            (FIRST_LINE, "first line", self._history.first_line, self._maker.manifest().line()),
            (head.seq, "last line", b"" if footer is None else footer.line(), self._maker.footer(head).line()),
        ):
            if decode(recorded) != decode(derived):
                field, theirs, ours = differing_field(recorded, derived)
                meaning = f"the {name} of the file does not say what its events say"
                yield Difference("manifest", n, None, field, shown(theirs), shown(ours), meaning)
