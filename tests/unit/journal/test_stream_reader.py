"""What a stream entry must be before anything believes it."""

from __future__ import annotations

import pytest

from services.common.errors import JournalHole
from services.common.journal.entry import JournalId
from services.common.journal.stream_reader import decode_entry

pytestmark = pytest.mark.unit

FIELDS = [b"channel", b"control", b"producer", b"cdb_ws", b"cause", b"feed:7", b"data", b"{}"]


def test_an_entry_is_read_by_the_names_of_its_fields() -> None:
    """The id and the four fields of the publish script."""
    entry = decode_entry(b"1-42", FIELDS)
    assert (entry.id, entry.channel, entry.producer) == (JournalId(1, 42), "control", "cdb_ws")
    assert (entry.cause, entry.data) == ("feed:7", b"{}")


@pytest.mark.parametrize("field", ["channel", "producer", "cause", "data"])
def test_what_somebody_else_wrote_into_the_stream_is_named(field: str) -> None:
    """An XADD by hand halts the reader with the id and the reason, not with a KeyError that says nothing."""
    place = FIELDS.index(field.encode())
    with pytest.raises(JournalHole, match=rf"entry 1795829316707-0 .*\(no {field}\): somebody has written"):
        decode_entry(b"1795829316707-0", FIELDS[:place] + FIELDS[place + 2 :])
