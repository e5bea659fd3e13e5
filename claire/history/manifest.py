"""First and last line of a journal file: what it is about, as a function of its entries: a copy says the same."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from services.cdb_writer.chain import ChainHead
from services.common import channels
from services.common.codec import decode, encode
from services.common.errors import ContractViolation
from services.common.events import SCHEMA_VERSION, Control
from services.common.instruments import instrument_key
from services.common.journal.entry import Entry

__all__ = ["FORMAT", "Footer", "Manifest", "ManifestMaker"]

FORMAT: Final = 1
MANIFEST_KEY: Final = "claire_journal"
FOOTER_KEY: Final = "claire_journal_end"

_INSTRUMENT: Final = re.compile(rb'"venue":"(\w+)","symbol":"(\w+)"')
_TICK: Final = b',"action":"tick"'
_TIMESTAMP: Final = re.compile(rb'"timestamp":"([^"]*)","producer"')


@dataclass(frozen=True)
class Manifest:
    """What a journal file contains.

    Attributes:
        after: the chain before the first entry; the genesis for a whole journal.
        entries: how many there are.
        first, last: timestamps of the first and the last event of cdb_ws, ISO 8601; None without one.
        run_ids: in order of appearance.
        code_versions: of the code that wrote it, in order of appearance.
        configs: each `config` event: `n`, `service`, `settings`, `settings_hash`, `code_version`, and what else it says
            (cdb_ws: `files`, with name and sha256 of each recording).
        instruments: keys of the instruments with market data, sorted.
        schema_version: of the events.
    """

    after: ChainHead = ChainHead()
    entries: int = 0
    first: str | None = None
    last: str | None = None
    run_ids: tuple[str, ...] = ()
    code_versions: tuple[str, ...] = ()
    configs: tuple[Mapping[str, Any], ...] = ()
    instruments: tuple[str, ...] = ()
    schema_version: str = SCHEMA_VERSION

    @property
    def feeds(self) -> list[dict[str, Any]]:
        """Where market data came from: `feed` and the `files` of each configuration of cdb_ws."""
        of_ws = [config for config in self.configs if config["service"] == channels.WS]
        return [{"feed": config["settings"].get("FEED"), "files": config.get("files", [])} for config in of_ws]

    def line(self) -> bytes:
        """Return the first line of the file."""
        head = {"epoch": self.after.epoch, "n": self.after.seq, "hash": self.after.hash.hex()}
        return _line(
            MANIFEST_KEY,
            {
                "format": FORMAT,
                "schema_version": self.schema_version,
                "after": head,
                "entries": self.entries,
                "first": self.first,
                "last": self.last,
                "run_ids": self.run_ids,
                "code_versions": self.code_versions,
                "instruments": self.instruments,
                "feeds": self.feeds,
                "configs": self.configs,
            },
        )

    @classmethod
    def read(cls, raw: bytes) -> Manifest | None:
        """Return the manifest of a first line; None when the line is something else.

        Raises:
            ContractViolation: a manifest that is wrong, or of a newer format.
        """
        value = _value(MANIFEST_KEY, raw)
        if value is None:
            return None
        if value.get("format") != FORMAT:
            raise ContractViolation(f"format {value.get('format')!r}; this version of claire reads format {FORMAT}")
        try:
            after = value["after"]
            return cls(
                ChainHead(int(after["n"]), int(after["epoch"]), bytes.fromhex(after["hash"])),
                int(value["entries"]),
                value["first"],
                value["last"],
                tuple(value["run_ids"]),
                tuple(value["code_versions"]),
                tuple(value["configs"]),
                tuple(value["instruments"]),
                value["schema_version"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ContractViolation(f"not a manifest: {type(error).__name__}: {error}") from error


@dataclass(frozen=True)
class Footer:
    """The last line: the end of the chain, how many entries there are, and how many of each channel."""

    entries: int
    head: ChainHead
    events: Mapping[str, int] = field(default_factory=dict)

    def line(self) -> bytes:
        """Return the last line of the file."""
        end = {"n": self.head.seq, "epoch": self.head.epoch, "tip": self.head.hash.hex()}
        return _line(FOOTER_KEY, {"entries": self.entries, **end, "events": self.events})

    @classmethod
    def read(cls, raw: bytes) -> Footer | None:
        """Return the footer that a line is; None when it is something else.

        Raises:
            ContractViolation: a footer that is wrong.
        """
        value = _value(FOOTER_KEY, raw)
        if value is None:
            return None
        try:
            head = ChainHead(int(value["n"]), int(value["epoch"]), bytes.fromhex(value["tip"]))
            return cls(int(value["entries"]), head, dict(value["events"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ContractViolation(f"not a last line: {type(error).__name__}: {error}") from error


def _line(key: str, value: Mapping[str, Any]) -> bytes:
    return b'{"%b":%b}\n' % (key.encode(), encode(value))


def _value(key: str, raw: bytes) -> Mapping[str, Any] | None:
    if b'"%b"' % key.encode() not in raw[:40]:
        return None
    value = decode(raw)
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, dict):
        raise ContractViolation(f"{key} is an object")
    return found


class ManifestMaker:
    """Collects the manifest, and what the last line says, while entries pass."""

    def __init__(self, after: ChainHead) -> None:
        """Begin after this place."""
        self._after = after
        self._runs: dict[str, None] = {}
        self._versions: dict[str, None] = {}
        self._configs: list[Mapping[str, Any]] = []
        self._instruments: set[tuple[bytes, bytes]] = set()
        self._first: bytes | None = None
        self._last: bytes | None = None
        self.events: Counter[str] = Counter()

    def fold(self, entry: Entry) -> None:
        """Take note of one entry."""
        self.events[entry.channel] += 1
        if entry.producer == channels.WS:
            self._last = entry.data
            self._first = self._first or entry.data
        if entry.channel == channels.MARKET_DATA:
            found = _INSTRUMENT.search(entry.data)
            if found is not None:
                self._instruments.add((found[1], found[2]))
        elif entry.channel == channels.CONTROL and _TICK not in entry.data:
            event = entry.event
            assert isinstance(event, Control)
            self._on_control(entry.id.n, event)

    def _on_control(self, n: int, event: Control) -> None:
        if event.action == "started" and event.producer == channels.WS and event.run_id is not None:
            self._runs.setdefault(event.run_id)
        if event.action == "config" and event.service is not None and event.producer == event.service:
            self._configs.append({"n": n, "service": event.service, **event.details})
        version = event.details.get("code_version")
        if event.action in {"started", "config"} and isinstance(version, str):
            self._versions.setdefault(version)

    def manifest(self) -> Manifest:
        """Return the manifest of what has passed."""
        return Manifest(
            self._after,
            self.events.total(),
            _time(self._first),
            _time(self._last),
            tuple(self._runs),
            tuple(self._versions),
            tuple(self._configs),
            tuple(sorted(instrument_key(venue.decode(), symbol.decode()) for venue, symbol in self._instruments)),
        )

    def footer(self, head: ChainHead) -> Footer:
        """Return the last line, given the end of the chain."""
        return Footer(self.events.total(), head, dict(self.events))


def _time(data: bytes | None) -> str | None:
    found = None if data is None else _TIMESTAMP.search(data)
    return None if found is None else found[1].decode()
