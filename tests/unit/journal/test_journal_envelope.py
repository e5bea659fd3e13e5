"""The front of a published message, and the seal that only the publish script can make."""

from __future__ import annotations

from hashlib import sha1

import pytest

from services.common.journal.entry import Entry, JournalId
from services.common.journal.envelope import Envelope, open_envelope

pytestmark = pytest.mark.security

SECRET = b"drawn-at-the-opening"
DATA = (
    b'{"type":"order","event_id":"a \\"b","schema_version":"1.0","timestamp":"2026-01-01T00:00:00.000000Z",'
    b'"producer":"cdb_risk","quantity":1.0}'
)
SEAL = sha1(SECRET + b"2-7 orders 6 " + DATA + SECRET, usedforsecurity=False).hexdigest().encode()


def message(**changed: bytes) -> bytes:
    """Return a sealed message with some parts changed."""
    part = {"id": b"2-7", "previous": b"2-3", "cause": b"6", "seal": b'"seal":"%b",' % SEAL, "data": DATA} | changed
    front = b'{"journal_id":"%b","previous_id":"%b","cause":"%b",%b'
    return front % (part["id"], part["previous"], part["cause"], part["seal"]) + part["data"][1:]


def opened(**changed: bytes) -> Envelope:
    """Return the envelope of a message with some parts changed."""
    envelope = open_envelope(message(**changed))
    assert envelope is not None
    return envelope


def test_a_sealed_message_is_its_entry() -> None:
    """Id, previous id, cause, producer and the event's very bytes; the seal is right for its channel alone."""
    envelope = opened()

    assert envelope.entry("orders") == Entry(JournalId(2, 7), "orders", "cdb_risk", "6", DATA)
    assert envelope.previous == JournalId(2, 3)
    assert envelope.is_sealed("orders", SECRET)
    assert not envelope.is_sealed("order_results", SECRET)


@pytest.mark.parametrize(
    "changed",
    [
        {"id": b"2-8"},
        {"id": b"3-7"},
        {"cause": b"7"},
        {"data": DATA.replace(b"1.0}", b"2.0}")},
        {"data": DATA.replace(b"cdb_risk", b"cdb_core")},
        {"seal": b'"seal":"%b",' % SEAL[::-1]},
        {"seal": b""},
    ],
)
def test_whatever_is_changed_breaks_the_seal(changed: dict[str, bytes]) -> None:
    """An id, a cause or a byte of the event that the script has not sealed, or no seal at all."""
    assert not opened(**changed).is_sealed("orders", SECRET)


def test_without_a_secret_nothing_is_sealed() -> None:
    """A journal that was opened without one: also the seal over nothing is none."""
    over_nothing = sha1(b"2-7 orders 6 " + DATA, usedforsecurity=False).hexdigest().encode()

    assert not opened(seal=b'"seal":"%b",' % over_nothing).is_sealed("orders", b"")


@pytest.mark.parametrize(
    "changed",
    [{"id": b"1-" + b"9" * 5000}, {"id": b"x-1"}, {"previous": b"1"}, {"cause": b'"'}, {"cause": b"\xff"}],
)
def test_a_front_that_the_script_does_not_write_is_foreign(changed: dict[str, bytes]) -> None:
    """Also a number that no reader of numbers would take, and bytes that are no text."""
    assert open_envelope(message(**changed)) is None


@pytest.mark.parametrize("producer", [b"\xff", b"a\\u0000b"])
def test_a_producer_that_is_no_plain_text_makes_no_entry(producer: bytes) -> None:
    """Bytes that cannot be read as a name end in no entry, never in an exception."""
    assert opened(data=DATA.replace(b"cdb_risk", producer)).entry("orders") is None
