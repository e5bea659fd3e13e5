"""One line of a journal file: where an event stands, and its exact bytes.

`{"epoch":1,"n":42,"channel":"market_data","producer":"cdb_ws","cause":"feed:3","hash":"0123456789abcdef","event":{…}}`:
`hash` are the first 16 digits of the chain's hash there, `event` are the canonical bytes as they were published.
"""

from __future__ import annotations

import re
from json.encoder import encode_basestring
from typing import Any, Final, NamedTuple

from services.cdb_writer.chain import ChainHead
from services.cdb_writer.rows import EventRow
from services.common.codec import decode
from services.common.errors import ContractViolation, InputUnusable
from services.common.events import EVENT_BY_CHANNEL, Event
from services.common.journal.entry import Entry, JournalId

__all__ = ["CHECK_BYTES", "HistoryUnusable", "Record", "read_line", "write_line"]

CHECK_BYTES: Final = 8
"""How much of the chain's hash stands beside each event in a file: enough to name the event that was changed."""

_LINE: Final = re.compile(
    rb'\{"epoch":(\d+),"n":(\d+),"channel":"([a-z_]+)","producer":"([^"\\]*)","cause":"([^"\\]*)",'
    rb'"hash":"([0-9a-f]{16})","event":(\{.*\})\}',
    re.DOTALL,
)
_EVENT_KEY: Final = b',"event":'
_BY_TYPE: Final[dict[str, type[Event]]] = {
    str(model.model_fields["type"].default): model for model in EVENT_BY_CHANNEL.values()
}


class HistoryUnusable(InputUnusable):
    """A history cannot be read; the text names the place, what is wrong there, and the fix."""


class Record(NamedTuple):
    """An entry of a history, and what is written beside it.

    Attributes:
        entry: the journal entry.
        check: the chain's hash at this entry, or its first bytes; empty when none is written.
        row: all columns, when it comes from a database.
    """

    entry: Entry
    check: bytes = b""
    row: EventRow | None = None


def write_line(entry: Entry, head: ChainHead) -> bytes:
    """Return the line of an entry that is chained with this result.

    Raises:
        HistoryUnusable: its bytes are no JSON object of one line, so nobody has published them as they are.
    """
    data = entry.data
    if b"\n" in data or data[:1] != b"{" or data[-1:] != b"}":
        raise HistoryUnusable(f"event {entry.id}: {data[:60]!r} are not the canonical bytes of an event")
    producer, cause = encode_basestring(entry.producer), encode_basestring(entry.cause)
    return (
        f'{{"epoch":{entry.id.epoch},"n":{entry.id.n},"channel":"{entry.channel}","producer":{producer},'
        f'"cause":{cause},"hash":"{head.hash[:CHECK_BYTES].hex()}","event":'
    ).encode() + b"%b}\n" % data


def read_line(raw: bytes, number: int) -> Record:
    """Return what a line says.

    Lines that a tool has written anew (other spaces, other order of keys), and bare events, are read as well.

    Args:
        raw: the line without its end.
        number: of the line among the entries; a bare event has no other number.

    Raises:
        ContractViolation: it is no entry.
    """
    found = _LINE.fullmatch(raw)
    if found is None:
        return _read_other_line(raw, number)
    epoch, n, channel, producer, cause, check, data = found.groups()
    entry = Entry(JournalId(int(epoch), int(n)), channel.decode(), producer.decode(), cause.decode(), data)
    return Record(entry, bytes.fromhex(check.decode()))


def _read_other_line(raw: bytes, number: int) -> Record:
    value = decode(raw)
    if not isinstance(value, dict):
        raise ContractViolation(f"an object is meant, not {type(value).__name__}")
    if "event" not in value:
        event = _model(value).parse(value)
        return Record(Entry(JournalId(1, number), event.channel, event.producer, f"file:{number}", event.data))
    try:
        epoch, n, channel, producer, cause = (value[name] for name in ("epoch", "n", "channel", "producer", "cause"))
    except KeyError as missing:
        raise ContractViolation(
            f"{missing} is missing; epoch, n, channel, producer, cause and event are meant"
        ) from None
    texts = isinstance(channel, str) and isinstance(producer, str) and isinstance(cause, str)
    if type(epoch) is not int or type(n) is not int or not texts:
        raise ContractViolation(
            f"epoch={epoch!r}, n={n!r}, channel={channel!r}, producer={producer!r}, cause={cause!r}"
        )
    check = value.get("hash", "")
    if not isinstance(check, str) or re.fullmatch(r"(?:[0-9a-f]{16})?", check) is None:
        raise ContractViolation(f"hash={check!r}; 16 hexadecimal digits are meant")
    return Record(
        Entry(JournalId(epoch, n), channel, producer, cause, _event_bytes(raw, value["event"])), bytes.fromhex(check)
    )


def _event_bytes(raw: bytes, event: Any) -> bytes:
    """Return the event's bytes as they stand in the line; made anew when the line does not end with them."""
    place = raw.find(_EVENT_KEY)
    if place > 0 and raw.endswith(b"}"):
        data = raw[place + len(_EVENT_KEY) : -1]
        try:
            if decode(data) == event:
                return data
        except ContractViolation:
            pass
    return _model(event).parse(event).data


def _model(value: Any) -> type[Event]:
    kind = value.get("type") if isinstance(value, dict) else None
    model = _BY_TYPE.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise ContractViolation(f"type={kind!r}; one of {', '.join(_BY_TYPE)} is meant")
    return model
