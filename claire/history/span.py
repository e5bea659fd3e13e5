"""A part of a history: from a journal number or a time, to one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from services.cdb_writer.envelope import read_envelope
from services.common import channels
from services.common.errors import ContractViolation
from services.common.journal.entry import Entry
from services.common.timestamps import DAY_US, format_timestamp, parse_timestamp

__all__ = ["WHOLE", "Span", "timestamp_of"]

_TIMESTAMP: Final = re.compile(rb'"timestamp":"([^"]*)","producer"')


@dataclass(frozen=True)
class Span:
    """Which entries: bounds are included, None is unbounded.

    A time is one of the clock (events of cdb_ws): the part begins with the first of them at or after `since` and ends
    before the first one after `until`.

    Attributes:
        first, last: journal numbers.
        since, until: canonical timestamps.
    """

    first: int | None = None
    last: int | None = None
    since: str | None = None
    until: str | None = None

    @classmethod
    def parse(cls, begin: str = "", end: str = "") -> Span:
        """Read what a person gives for `--from` and `--to`: a number, a day, or a time; empty is unbounded.

        Raises:
            ContractViolation: it is neither.
        """
        first, since = _bound("--from", begin, end_of_day=False)
        last, until = _bound("--to", end, end_of_day=True)
        return cls(first, last, since, until)

    def reaches(self, entry: Entry) -> bool:
        """Whether the clock has come to `since` with this entry; numbers are not looked at."""
        return self.since is None or (entry.producer == channels.WS and timestamp_of(entry) >= self.since)

    def passed(self, entry: Entry) -> bool:
        """Whether this entry is behind the end, by number or by the clock."""
        if self.last is not None and entry.id.n > self.last:
            return True
        return self.until is not None and entry.producer == channels.WS and timestamp_of(entry) > self.until


def timestamp_of(entry: Entry) -> str:
    """Return the timestamp of an entry's event, ISO 8601.

    Raises:
        ContractViolation: its bytes are no event.
    """
    found = _TIMESTAMP.search(entry.data)
    return read_envelope(entry.channel, entry.data).timestamp if found is None else found[1].decode()


WHOLE: Final = Span()


def _bound(option: str, text: str, *, end_of_day: bool) -> tuple[int | None, str | None]:
    if not text:
        return None, None
    if text.isdecimal() and text.isascii():
        return int(text), None
    try:
        if len(text) == len("2021-05-19"):
            timestamp = parse_timestamp(f"{text}T00:00:00Z") + (DAY_US - 1 if end_of_day else 0)
        else:
            timestamp = parse_timestamp(text if text.endswith("Z") or "+" in text else f"{text}Z")
    except ValueError:
        raise ContractViolation(
            f"{option} {text}: a journal number, a day (2021-05-19) or a UTC time (2021-05-19T13:05:00) is meant"
        ) from None
    return None, format_timestamp(timestamp)
