"""One difference between what is recorded and what belongs there."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from services.common.codec import decode, encode_value
from services.common.errors import ClaireError, ContractViolation
from services.common.journal.entry import Entry

__all__ = ["Difference", "differing_field"]

SHOWN: Final = 120


@dataclass(frozen=True)
class Difference:
    """What is wrong with one event.

    Attributes:
        check: chain, contract, derivation, origin, links, mandate, books, manifest or tables.
        n: journal number where it shows; 0 for the first line of a file.
        event_id: of the event that is wrong, or missing.
        field: what differs, as a path into the event.
        recorded, derived: what stands there, and what belongs there.
        meaning: one sentence.
    """

    check: str
    n: int
    event_id: str | None
    field: str
    recorded: str
    derived: str
    meaning: str

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def at(cls, check: str, entry: Entry, field: str, recorded: Any, derived: Any, *, meaning: str) -> Difference:
        """Return a difference in the event of an entry."""
        return cls(check, entry.id.n, id_of(entry), field, shown(recorded), shown(derived), meaning)


def id_of(entry: Entry) -> str | None:
    """Return the event id of an entry; None when its bytes are no event."""
    try:
        return entry.event.event_id
    except ClaireError:
        return None


def shown(value: Any) -> str:
    """Return a value as it stands in an event, cut to a readable length."""
    if not isinstance(value, str):
        try:
            value = encode_value(value)
        except ClaireError:
            value = repr(value)
    text: str = value
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def differing_field(recorded: bytes, derived: bytes) -> tuple[str, Any, Any]:
    """Return the first field in which two events differ, and its two values.

    The path names fields and places in lists, as `layers.1.limit`. Bytes that differ though they say the same give
    their place.
    """
    try:
        found = _walk(decode(recorded), decode(derived), "")
    except ContractViolation as error:
        return "bytes", str(error), "an event"
    if found is not None:
        return found
    place = next((i for i, (a, b) in enumerate(zip(recorded, derived, strict=False)) if a != b), len(derived))
    return f"byte {place}", repr(recorded[place : place + 20]), repr(derived[place : place + 20])


def _walk(recorded: Any, derived: Any, path: str) -> tuple[str, Any, Any] | None:
    if isinstance(recorded, dict) and isinstance(derived, dict):
        for key in dict.fromkeys([*derived, *recorded]):
            if key not in recorded or key not in derived:
                return _joined(path, key), recorded.get(key, "nothing"), derived.get(key, "nothing")
            found = _walk(recorded[key], derived[key], _joined(path, key))
            if found is not None:
                return found
        return None
    if isinstance(recorded, list) and isinstance(derived, list) and len(recorded) == len(derived):
        for place, (ours, theirs) in enumerate(zip(recorded, derived, strict=True)):
            found = _walk(ours, theirs, _joined(path, str(place)))
            if found is not None:
                return found
        return None
    return None if (recorded, type(recorded)) == (derived, type(derived)) else (path or "event", recorded, derived)


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
