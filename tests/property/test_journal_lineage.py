"""Properties of the journal's pure parts, over any history of losses and any message."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.channels import FOREIGN_OWNER
from services.common.errors import ContractViolation
from services.common.events import parse_event
from services.common.journal.entry import Entry, JournalId
from services.common.journal.foreign import ADMITTED, admit
from services.common.journal.lineage import Epochs
from services.common.journal.recovery import ArchiveFacts, RedisFacts, plan_recovery
from tests.property.effort import examples

pytestmark = pytest.mark.unit

MODERATE = settings(max_examples=examples(80), derandomize=True, deadline=None)


@dataclass
class Life:
    """A journal and its archive as lists of entries, through writing, archiving, losing and recovering."""

    redis: list[Entry] = field(default_factory=list)
    redis_epochs: dict[int, int] = field(default_factory=dict)
    first: int = 1
    archive: list[Entry] = field(default_factory=list)
    archive_epochs: dict[int, int] = field(default_factory=dict)
    epoch: int = 0
    serial: int = 0
    ever: set[JournalId] = field(default_factory=set)

    def write(self, count: int) -> None:
        """Append so many entries, each with bytes of its own."""
        for _ in range(count):
            self.serial += 1
            n = (self.redis[-1].id.n if self.redis else self.first - 1) + 1
            self.redis.append(Entry(JournalId(self.epoch, n), "control", "cdb_ws", "", b"%d" % self.serial))
            self.ever.add(self.redis[-1].id)

    def store(self, count: int) -> None:
        """Let the writer archive up to so many of the entries that it has not."""
        done = self.archive[-1].id.n if self.archive else 0
        self.archive += [entry for entry in self.redis if entry.id.n > done][:count]

    def lose(self, count: int) -> None:
        """Let Redis lose the newest entries (all of them and its epochs, when it has not so many)."""
        if count >= len(self.redis):
            self.redis, self.redis_epochs, self.first = [], {}, 1
        else:
            del self.redis[len(self.redis) - count :]

    def recover(self, copy_max: int) -> None:
        """Make a plan from the facts and carry it out on the lists."""
        heads = [entries[-1].id for entries in (self.redis, self.archive) if entries]
        lower = min(heads, key=lambda place: place.n).n if len(heads) == 2 else 0
        plan = plan_recovery(
            RedisFacts(
                self.redis[-1].id if self.redis else None,
                self.redis_epochs,
                next((entry for entry in self.redis if entry.id.n == lower), None),
                self.redis[0].id.n if self.redis else None,
            ),
            ArchiveFacts(
                self.archive[-1].id if self.archive else None,
                self.archive_epochs,
                next((entry for entry in self.archive if entry.id.n == lower), None),
            ),
            copy_max=copy_max,
        )
        self.archive_epochs[plan.epoch] = plan.head + 1
        if plan.clear:
            self.redis = []
        self.redis += [entry for entry in self.archive if plan.copy_after < entry.id.n <= plan.copy_to]
        self.redis_epochs = dict(plan.epochs)
        self.first = plan.head + 1
        self.epoch = plan.epoch

    @property
    def whole(self) -> list[Entry]:
        """The journal: what is archived and what only Redis has."""
        done = self.archive[-1].id.n if self.archive else 0
        return self.archive + [entry for entry in self.redis if entry.id.n > done]


STEP = st.one_of(
    st.tuples(st.just("write"), st.integers(1, 6)),
    st.tuples(st.just("store"), st.integers(1, 6)),
    st.tuples(st.just("restart"), st.integers(0, 12)),
)


@MODERATE
@given(steps=st.lists(STEP, max_size=25), copy_max=st.integers(1, 8))
def test_recovery_keeps_all_that_is_left_and_tells_lost_places_apart(
    steps: list[tuple[str, int]], copy_max: int
) -> None:
    """After any history: numbers are contiguous, nothing archived changes, a place is valid iff its entry is there."""
    life = Life()
    life.recover(copy_max)
    for kind, count in steps:
        if kind == "write":
            life.write(count)
        elif kind == "store":
            life.store(count)
        else:
            archived = list(life.archive)
            kept_by_redis = life.redis[: len(life.redis) - count] if count < len(life.redis) else []
            life.lose(count)
            life.recover(copy_max)
            assert life.archive == archived
            done = archived[-1].id.n if archived else 0
            assert life.whole == archived + [entry for entry in kept_by_redis if entry.id.n > done]

        whole = life.whole
        assert [entry.id.n for entry in whole] == list(range(1, len(whole) + 1))
        assert [entry.id.n for entry in life.redis] == list(range(len(whole) - len(life.redis) + 1, len(whole) + 1))
        epochs = Epochs(life.redis_epochs)
        assert all(epochs.id_of(entry.id.n) == entry.id for entry in whole)
        present = {entry.id for entry in whole}
        assert {place for place in life.ever if epochs.contains(place, len(whole))} == present


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELD = st.sampled_from(
    ["type", "symbol", "price", "timestamp", "side", "signal_type", "intent", "venue", "bid", "high", "volume",
     "confidence", "inputs", "level", "code", "message", "context", "action", "details", "command_id", "ts_ms"]
)  # fmt: skip
LIKELY = st.sampled_from(
    ["BTCUSDT", "buy", "halt", "INFO", "ABC", "exit", 1, 50_000.5, 1_700_000_000, "1.5", {}, {"a": 1}]
)


@settings(max_examples=examples(150), derandomize=True, deadline=None)
@given(
    channel=st.sampled_from(sorted(FOREIGN_OWNER)),
    message=st.one_of(
        st.binary(max_size=40),
        st.dictionaries(FIELD, LIKELY | JSON, max_size=12).map(lambda value: json.dumps(value).encode()),
    ),
)
def test_any_message_is_an_event_or_refused(channel: str, message: bytes) -> None:
    """Whatever arrives, admission returns an event whose bytes read back equal, or says why not; nothing else."""
    try:
        event = admit(
            channel,
            message,
            owner=FOREIGN_OWNER[channel],
            counter=1,
            now=1_700_000_000_000_000,
            run_id="run",
            default_venue="mexc_spot",
        )
    except ContractViolation:
        return
    assert channel in ADMITTED
    assert parse_event(channel, event.data) == event
    assert event.timestamp == 1_700_000_000_000_000
    assert event.producer == FOREIGN_OWNER[channel]
