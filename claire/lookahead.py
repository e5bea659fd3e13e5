"""Proves that no decision looked ahead: the input is cut at many points, and what was decided before must not change.

A run is a function of its input. Cut off, the input gives a journal that must be, byte for byte, the beginning of the
journal of the whole: the first entry that differs may only be the feed's own, saying that the input has ended.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import islice
from typing import Any, Final

from claire.explain.redecide import outside
from claire.history.source import History
from claire.kernel import Kernel, deciding_machines
from claire.paper.feed import open_feed
from claire.paper.run import ClosedLoop, service_settings
from claire.paper.spec import PaperSpec
from services.cdb_ws.observation import Observation
from services.cdb_ws.recorded import Source
from services.common import channels
from services.common.decimals import use_fixed_context
from services.common.errors import InputUnusable
from services.common.events import Control
from services.common.identity import derive_id
from services.common.journal.entry import Cause, Entry
from services.common.timestamps import SECOND_US, format_timestamp

__all__ = [
    "DEFAULT_POINTS",
    "Cut",
    "Finding",
    "LookaheadResult",
    "Play",
    "check_lookahead",
    "play_journal",
    "play_spec",
]

DEFAULT_POINTS: Final = 25
CONFLATION_US: Final = SECOND_US
"""Market data just before a cut may have become another event: what was conflated with them is missing."""
_FROM_OUTSIDE: Final = -1
_DECIDED: Final = frozenset({channels.SIGNALS, channels.RISK_DECISIONS, channels.ORDERS, channels.ORDER_RESULTS})


@dataclass
class Cut:
    """An input that ends early.

    Attributes:
        before_us: only what is earlier is played; None: everything.
        last_us: time of the last row or event that was played; None before the first.
    """

    before_us: int | None = None
    last_us: int | None = None


Play = Callable[[Cut], Iterator[Entry]]
"""Yields the journal of a run whose input ends at a cut, entry by entry."""


@dataclass(frozen=True)
class Finding:
    """The first thing that changes with what comes later.

    Attributes:
        cut_us: where the input ended.
        n: journal number.
        cut: what stands there when the input ends at the cut; None: nothing.
        whole: what stands there in the whole run; None: nothing.
    """

    cut_us: int
    n: int
    cut: Entry | None
    whole: Entry | None

    @property
    def entry(self) -> Entry:
        """What differs, as the whole run has it if it has it."""
        found = self.whole or self.cut
        assert found is not None, "one of both has an entry there"
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return it for `--json`."""
        sides = {name: None if entry is None else entry.data.decode() for name, entry in
                 (("cut", self.cut), ("whole", self.whole))}  # fmt: skip
        return {"cut_at": format_timestamp(self.cut_us), "n": self.n, "event_id": self.entry.event.event_id, **sides}


@dataclass(frozen=True)
class LookaheadResult:
    """What the check came to.

    Attributes:
        entries, decisions: of the whole run.
        cuts: where the input was cut, microseconds.
        compared: entries compared over all cuts.
        finding: the first difference of the earliest cut that has one; None when no decision looks ahead.
    """

    entries: int
    decisions: int
    cuts: tuple[int, ...]
    compared: int
    finding: Finding | None

    def as_dict(self) -> dict[str, Any]:
        """Return it for `--json`."""
        return {
            "ok": self.finding is None,
            "entries": self.entries,
            "decisions": self.decisions,
            "cuts": [format_timestamp(cut) for cut in self.cuts],
            "compared": self.compared,
            "finding": None if self.finding is None else self.finding.as_dict(),
        }


class NothingToCut(InputUnusable):
    """The input is too short to end it anywhere but at its end."""


def check_lookahead(
    play: Play, points: int = DEFAULT_POINTS, tell: Callable[[int], None] | None = None
) -> LookaheadResult:
    """Play the whole input, then every beginning of it, and compare.

    Args:
        play: a run; called once for the whole and once for each cut.
        points: how many cuts at most: half of them just after decisions, the others evenly spread.
        tell: called with the number of runs that are done.

    Raises:
        NothingToCut: the input has fewer than two moments.
    """
    use_fixed_context()
    whole = _Whole()
    for entry in play(Cut()):
        whole.take(entry)
    tell = tell or (lambda _: None)
    tell(1)
    cuts = whole.cuts(points)
    compared = 0
    for place, cut_us in enumerate(cuts, 2):
        found, count = _compare(play, Cut(cut_us), whole)
        compared += count
        tell(place)
        if found is not None:
            return LookaheadResult(whole.count, whole.decisions, tuple(cuts[: place - 1]), compared, found)
    return LookaheadResult(whole.count, whole.decisions, tuple(cuts), compared, None)


class _Whole:
    """Digests of the whole run, eight bytes an entry."""

    def __init__(self) -> None:
        self._digests = array("Q")
        self._causes = array("q")
        self._decided_us: list[int] = []
        self._first_us: int | None = None
        self._last_us = 0
        self.decisions = 0

    @property
    def count(self) -> int:
        """How many entries there are."""
        return len(self._digests)

    def take(self, entry: Entry) -> None:
        """Remember an entry."""
        self._digests.append(digest(entry))
        self._causes.append(_FROM_OUTSIDE if outside(entry) else Cause.parse(entry.cause).number)
        event = entry.event
        if entry.channel in _DECIDED:
            self.decisions += 1
            if not self._decided_us or self._decided_us[-1] != event.timestamp:
                self._decided_us.append(event.timestamp)
        elif entry.channel == channels.MARKET_DATA:
            self._first_us = event.timestamp if self._first_us is None else self._first_us
            self._last_us = event.timestamp

    def same(self, place: int, entry: Entry) -> bool:
        """Whether the whole run has this entry at a place, from 0."""
        return place < len(self._digests) and self._digests[place] == digest(entry)

    def may_follow(self, place: int) -> bool:
        """Whether what stands at a place, from 0, may be missing when the input ends before it.

        It may, if it came from outside or was derived from something that is missing, too.
        """
        if place >= len(self._causes):
            return True
        return self._causes[place] == _FROM_OUTSIDE or self._causes[place] > place

    def cuts(self, points: int) -> list[int]:
        """Return where to cut: the same for the same run."""
        first, last = self._first_us, self._last_us
        if first is None or last <= first:
            raise NothingToCut("the input has no two moments of market data, so it cannot be cut")
        decided = [at for at in self._decided_us if first < at < last]
        near = max(points // 2, 1)
        step = max(len(decided) // near, 1)
        chosen = {at + 1 for at in decided[::step][:near]}
        spread = max(points - len(chosen), 1)
        chosen |= {first + (last - first) * place // (spread + 1) for place in range(1, spread + 1)}
        return sorted(at for at in chosen if first < at <= last)


def digest(entry: Entry) -> int:
    """Return eight bytes of what an entry says and who says it."""
    if (
        isinstance(entry.event, Control)
        and entry.event.action in {"started", "config"}
        and entry.producer == channels.WS
    ):
        return 0  # says which input is played, and that differs
    text = blake2b(entry.data, digest_size=8, person=entry.producer.encode()[:16])
    return int.from_bytes(text.digest())


def _compare(play: Play, cut: Cut, whole: _Whole) -> tuple[Finding | None, int]:
    """Return the first entry that may not differ, and how many were compared."""
    assert cut.before_us is not None, "the whole is not compared with itself"
    place = 0
    entries = play(cut)
    for entry in entries:
        if not whole.same(place, entry):
            deque(entries, maxlen=0)  # to its end, so that the last row is known
            feed_ended = cut.last_us is None or entry.event.timestamp >= cut.last_us - CONFLATION_US
            if entry.producer == channels.WS and feed_ended:
                return None, place
            return Finding(cut.before_us, place + 1, entry, _at(play, place)), place
        place += 1
    if whole.may_follow(place):
        return None, place
    return Finding(cut.before_us, place + 1, None, _at(play, place)), place


def _at(play: Play, place: int) -> Entry | None:
    return next(islice(play(Cut()), place, None), None)


# what can be played


@dataclass(frozen=True)
class _Ending:
    """Ends a recording before a time, row by row."""

    cut: Cut

    @property
    def identity(self) -> str:
        return f"cut at {self.cut.before_us}"

    def __call__(self, source: Source) -> Source:
        for row in source:
            if self.cut.before_us is not None and row.timestamp_us >= self.cut.before_us:
                return
            if isinstance(row, Observation):
                self.cut.last_us = max(self.cut.last_us or 0, row.timestamp_us)
            yield row


def play_spec(spec: PaperSpec) -> Play:
    """Return the run of a recording: its rows are cut off before anything else looks at them.

    Raises:
        FeedInputInvalid: the input cannot be used.
        SettingsInvalid: settings are wrong.
    """
    configured = service_settings(spec.settings)
    run_id = spec.run_id or derive_id("lookahead", open_feed(spec).play)

    def play(cut: Cut) -> Iterator[Entry]:
        stresses = (_Ending(cut), *spec.stresses)
        yield from ClosedLoop(open_feed(replace(spec, stresses=stresses)), configured, run_id).entries()

    return play


def play_journal(history: History) -> Play:
    """Return the run that derives again all that follows from the recorded events that came from outside.

    Raises:
        HistoryUnusable: it begins in the middle, so that nothing would be decided that could look ahead.
    """
    history.require_beginning()

    def play(cut: Cut) -> Iterator[Entry]:
        kernel: Kernel | None = None
        for entry in history.entries():
            if not outside(entry):
                continue
            if kernel is None:
                kernel = Kernel(deciding_machines(), epoch=entry.id.epoch)
            if entry.producer == channels.WS:
                if cut.before_us is not None and entry.event.timestamp >= cut.before_us:
                    return
                cut.last_us = entry.event.timestamp
            yield from kernel.step(entry.producer, Cause.parse(entry.cause or "operator:1"), [entry.event])

    return play
