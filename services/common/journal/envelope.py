"""What the publish script writes in front of an event on its channel, and the seal that tells it from a forgery.

Whoever may PUBLISH can write such a front around anything. On the channels that trade the script therefore adds a seal,
`sha1(secret id channel cause data secret)`, whose secret was drawn when the bus was opened and stands beside the
journal: who can read it there could as well append to the stream. A message without the right seal is not refused for
that; its reader asks the stream, which costs a round trip.
"""

from __future__ import annotations

import re
from hashlib import sha1
from typing import NamedTuple

from services.common.journal.entry import Entry, JournalId

__all__ = ["Envelope", "open_envelope"]

_TEXT = rb"[ !#-\[\]-~]*"
"""What needs no escape in JSON."""

_QUOTED = rb'"[^"\\]*(?:\\.[^"\\]*)*"'

_FRONT = re.compile(
    rb'\{"journal_id":"(\d{1,19})-(\d{1,19})","previous_id":"(\d{1,19})-(\d{1,19})","cause":"(%b)",'
    rb'(?:"seal":"([0-9a-f]{40})",)?'
    rb'(?="type":"\w+","event_id":%b,"schema_version":"[^"\\]*","timestamp":"[^"\\]*","producer":"(%b)"|)'
    % (_TEXT, _QUOTED, _TEXT)
)


class Envelope(NamedTuple):
    """A message that says it is an entry of the journal.

    Attributes:
        id: of the entry.
        previous: id of its channel's entry before it.
        cause: as in the entry.
        seal: hexadecimal digits, None where there is none.
        producer: as the event names it; None when it does not stand where every event has it.
        data: bytes of the event.
    """

    id: JournalId
    previous: JournalId
    cause: bytes
    seal: bytes | None
    producer: bytes | None
    data: bytes

    def entry(self, channel: str) -> Entry | None:
        """Return the entry, None when no producer stands where every event has it."""
        if self.producer is None:
            return None
        return Entry.read(self.id, channel, self.producer.decode(), self.cause.decode(), self.data)

    def is_sealed(self, channel: str, secret: bytes) -> bool:
        """Return whether the publish script has made this message."""
        if not secret or self.seal is None:
            return False
        text = b"%b%d-%d %b %b %b%b" % (secret, *self.id, channel.encode(), self.cause, self.data, secret)
        return sha1(text, usedforsecurity=False).hexdigest().encode() == self.seal


def open_envelope(message: bytes) -> Envelope | None:
    """Return what a message says of itself, None for one that did not come through the journal."""
    front = _FRONT.match(message)
    if front is None:
        return None
    epoch, n, previous_epoch, previous_n, cause, seal, producer = front.groups()
    return Envelope(
        _tuple(JournalId, (int(epoch), int(n))),
        _tuple(JournalId, (int(previous_epoch), int(previous_n))),
        cause,
        seal,
        producer,
        b"{" + message[front.end() :],
    )


_tuple = tuple.__new__  # a named tuple's own takes twice as long
