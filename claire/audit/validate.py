"""Whether a history is what the system did: nothing changed, nothing missing, and every decision follows again.

One pass in constant memory, in the order of the journal, up to the first difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from claire.audit.books import Books
from claire.audit.derivation import Derivation, missing_event
from claire.audit.difference import Difference, differing_field
from claire.audit.labels import Labels
from claire.audit.links import Links
from claire.audit.mandate import Mandates
from claire.audit.origin import Origins
from claire.audit.tables import Tables
from claire.history.record import HistoryUnusable, Record
from claire.history.source import ChainBroken, DatabaseHistory, History, follow
from claire.kernel import deciding_machines
from claire.progress import Tell
from services.cdb_risk.machine import RiskMachine
from services.cdb_writer.chain import ChainHead
from services.common.decimals import use_fixed_context
from services.common.errors import ClaireError
from services.common.events import Control
from services.common.journal.entry import Cause, Entry
from services.common.runtime.build import code_version

__all__ = ["NothingToValidate", "Verdict", "validate"]


class NothingToValidate(HistoryUnusable):
    """There is nothing that could be right or wrong; that is not the same as right."""


@dataclass
class Verdict:
    """What `claire validate` found.

    Attributes:
        where: what was validated.
        entries: how many events were walked and good.
        head: the chain after them.
        differences: of the first event that is wrong: what each check says about it; empty when all hold.
        checked: what was compared, by check.
        not_derivable: events that follow from no other, by who said them and why: they are inputs.
        outstanding: what machines had still to say when the record ends.
        code_versions: of the code that recorded it.
        notes: what a reader should know besides.
    """

    where: str
    entries: int = 0
    head: ChainHead = field(default_factory=ChainHead)
    differences: list[Difference] = field(default_factory=list)
    checked: dict[str, Any] = field(default_factory=dict)
    not_derivable: dict[str, int] = field(default_factory=dict)
    outstanding: list[dict[str, Any]] = field(default_factory=list)
    code_versions: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything holds."""
        return not self.differences

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "ok": self.ok,
            "where": self.where,
            "entries": self.entries,
            "chain_tip": self.head.hash.hex(),
            "first_difference": self.differences[0].as_dict() if self.differences else None,
            "differences": [difference.as_dict() for difference in self.differences],
            "checked": self.checked,
            "not_derivable": self.not_derivable,
            "outstanding": self.outstanding,
            "code_versions": self.code_versions,
            "notes": self.notes,
        }


def validate(
    history: History, *, complete: bool = False, tip: str | None = None, tell: Tell = lambda _: None
) -> Verdict:
    """Walk a history to its end or its first difference.

    Args:
        history: a whole one; machines can only be followed from the beginning.
        complete: the run has ended, so that what a machine has still to say is missing.
        tip: where the chain must end, as it was written down elsewhere (hexadecimal).
        tell: told of events walked.

    Raises:
        NothingToValidate: there are no events, or nothing was ever derived from them.
        HistoryUnusable: it begins in the middle, or cannot be read.
    """
    use_fixed_context()
    history.require_beginning()
    walk = _Walk(history)
    for record in history.records():
        if walk.differs(record):
            break
        tell(walk.verdict.entries)
    else:
        walk.finish(complete=complete, tip=tip)
    return walk.result()


class _Walk:
    """The checks, around one record after the other."""

    def __init__(self, history: History) -> None:
        self._history = history
        self.verdict = Verdict(history.where)
        self._derivation = Derivation(deciding_machines())
        self._origins, self._links = Origins(), Links()
        self._mandates, self._books = Mandates(), Books()
        self._tables = Tables(history.database) if isinstance(history, DatabaseHistory) else None
        self._labels = Labels(history)
        self._anchors = 0
        self._versions: dict[str, None] = {}

    def differs(self, record: Record) -> bool:
        """Look at one record from all sides; True when something is wrong with it."""
        verdict, entry = self.verdict, record.entry
        found = []
        head = verdict.head
        try:
            head = follow(verdict.head, record)
        except ChainBroken as broken:
            found.append(_chain(broken))
        found += self._checks(entry)
        anchor = self._history.anchors.get(entry.id.n)
        if not found and anchor is not None and anchor != head:
            found.append(_anchor(entry, anchor, head))
        self._anchors += anchor is not None
        verdict.differences = found
        if not found:
            verdict.entries, verdict.head = verdict.entries + 1, head
            self._labels.fold(entry)
        return bool(found)

    def _checks(self, entry: Entry) -> list[Difference]:
        """Return what the checks of content say, each once; the machines fold the entry when nothing is wrong."""
        try:
            event = entry.event
            cause = Cause.parse(entry.cause) if entry.cause else None
            if event.data != entry.data:
                name, recorded, derived = differing_field(entry.data, event.data)
                meaning = "these are not the canonical bytes of this event"
                return [Difference.at("contract", entry, name, recorded, derived, meaning=meaning)]
            if event.producer != entry.producer:
                meaning = "the event names another producer than its entry"
                return [Difference.at("contract", entry, "producer", event.producer, entry.producer, meaning=meaning)]
        except ClaireError as error:
            return [Difference.at("contract", entry, "event", str(error), "an event", meaning="this is no event")]
        if isinstance(event, Control) and isinstance(version := event.details.get("code_version"), str):
            self._versions.setdefault(version)
        try:
            found = self._content(entry, cause)
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            wrong = f"{type(error).__name__}: {error}"
            return [Difference.at("contract", entry, "details", wrong, "what such an event says", meaning="no sense")]
        if found:
            return found
        failed = self._derivation.fold(entry)
        if failed is None and self._tables is not None:
            self._tables.fold(entry)
        return [] if failed is None else [failed]

    def _content(self, entry: Entry, cause: Cause | None) -> list[Difference]:
        torn = self._derivation.check_batch(entry, cause)
        if cause is not None and self._derivation.derives(entry, cause):
            first = self._derivation.check(entry, cause)
        else:
            first = self._origins.check(entry, cause)
        checks = (
            torn,
            first,
            self._links.check(entry, cause),
            self._mandates.check(entry),
            self._books.check(entry, cause),
        )
        return [difference for difference in checks if difference is not None]

    def finish(self, *, complete: bool, tip: str | None) -> None:
        """Look at what can only be told at the end."""
        verdict, head = self.verdict, self.verdict.head
        if not verdict.entries:
            raise NothingToValidate(f"{verdict.where}: nothing to validate: it has no events")
        if not self._derivation.compared:
            raise NothingToValidate(
                f"{verdict.where}: nothing to validate: of {verdict.entries} events none was derived from another"
            )
        expected = self._history.tip
        cut = expected is not None and expected.seq > head.seq
        verdict.differences = [*self._wrong_end(tip), *self._wrong_ledger()]
        if verdict.ok:
            verdict.differences = [*self._labels.differences(head)]
        if complete or cut:
            verdict.differences += self._missing()
        if verdict.ok and self._tables is not None:
            found = self._tables.compare(head.seq)
            verdict.differences += [] if found is None else [found]

    def _wrong_end(self, tip: str | None) -> Iterator[Difference]:
        head, expected = self.verdict.head, self._history.tip
        ours = f"{head.epoch}-{head.seq} {head.hash.hex()}"
        if expected is not None and expected != head:
            theirs = f"{expected.epoch}-{expected.seq} {expected.hash.hex()}"
            meaning = "the record does not end where its last line (or the database's cursor) says"
            n = min(head.seq, expected.seq) + (head.seq != expected.seq)
            yield Difference("chain", n, None, "end of the chain", theirs, ours, meaning)
        if tip is not None and head.hash.hex() != tip.lower():
            meaning = "this is not the journal whose end was written down"
            yield Difference("chain", head.seq, None, "chain tip", head.hash.hex(), tip.lower(), meaning)

    def _wrong_ledger(self) -> Iterator[Difference]:
        """Compare the second count of the books with risk's own ledger at the end."""
        risk = self._derivation.machines["cdb_risk"]
        assert isinstance(risk, RiskMachine)
        portfolio = risk.state.account.portfolio
        if not risk.state.opened:
            return
        positions = {key: position.quantity for key, position in portfolio.positions.items()}
        for name, theirs, ours in self._books.differences_from(portfolio.cash, positions):
            meaning = "risk's ledger at the end is not the sum of the fills"
            yield Difference("books", self.verdict.head.seq, None, name, str(theirs), str(ours), meaning)

    def _missing(self) -> Iterator[Difference]:
        for service, due in self._derivation.outstanding():
            yield missing_event(self.verdict.head.seq + 1, due, service)

    def result(self) -> Verdict:
        """Return the verdict with what was compared and what could not be."""
        verdict, derivation = self.verdict, self._derivation
        derived: dict[str, dict[str, int]] = {}
        for (service, kind), count in sorted(derivation.compared.items()):
            derived.setdefault(service, {})[kind] = count
        verdict.checked = {
            "chain": verdict.entries,
            "anchors": self._anchors,
            "derived_events": derived,
            "references": self._links.checked,
            "orders": self._mandates.orders,
            "order_results": self._mandates.results,
            "fills": self._books.fills,
            "funding_and_liquidations": self._books.facts,
            "decisions_with_books": self._books.compared,
            "configurations": dict(self._origins.configurations),
            "starts": dict(self._origins.starts),
            "table_rows": {} if self._tables is None else dict(self._tables.compared),
        }
        verdict.not_derivable = {
            f"{producer} {source}": count for (producer, source), count in sorted(self._origins.seen.items())
        }
        verdict.outstanding = [
            {"service": service, "entry": due.n, "type": due.event.type, "event_id": due.event.event_id}
            for service, due in derivation.outstanding()
        ]
        verdict.code_versions = list(self._versions)
        if not verdict.ok and self._versions and list(self._versions) != [code_version()]:
            recorded = ", ".join(self._versions)
            verdict.notes.append(
                f"recorded by code {recorded}, derived by {code_version()}: other code may rightly decide otherwise; "
                "validate with the code that recorded it"
            )
        return verdict


def _chain(broken: ChainBroken) -> Difference:
    meaning = {
        "n": "missing, doubled, swapped or added: numbers are contiguous",
        "hash": "changed: this is not what was hashed",
        "columns": "the columns of the database do not say what the event says",
    }.get(broken.field, "the journal does not go on like this")
    return Difference("chain", broken.n, broken.event_id, broken.field, broken.recorded, broken.derived, meaning)


def _anchor(entry: Entry, anchor: ChainHead, head: ChainHead) -> Difference:
    meaning = "the chain has been made anew since this day was closed"
    return Difference.at("chain", entry, "chain_anchor", anchor.hash.hex(), head.hash.hex(), meaning=meaning)
