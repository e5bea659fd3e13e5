"""The pure parts of the journal: lineage, admission classes, the plan of recovery, subscription messages."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.common.channels import CORE, EXECUTION, RISK, WS
from services.common.errors import ContractViolation, StoreError
from services.common.events import Alert, Control, Event, MarketData, Order, OrderResult, Signal
from services.common.journal.admission import admission_class, run_begun
from services.common.journal.dead_letters import decode_dead_letter
from services.common.journal.entry import Cause, Entry, JournalId
from services.common.journal.keys import lease_key
from services.common.journal.lineage import BEGINNING, Epochs
from services.common.journal.recovery import (
    ArchiveFacts,
    RecoveryPlan,
    RedisFacts,
    high_water_field,
    plan_recovery,
)

pytestmark = pytest.mark.unit


def entry(n: int, epoch: int = 1, data: bytes = b"{}", cause: str = "feed:1") -> Entry:
    """Return an entry."""
    return Entry(JournalId(epoch, n), "control", WS, cause, data)


# lineage


def test_numbers_belong_to_the_newest_epoch_that_began_before_them() -> None:
    """Two epochs: 1 from 1, 2 from 10. A place is valid in its own epoch only."""
    epochs = Epochs({1: 1, 2: 10})
    assert [epochs.id_of(n) for n in (0, 1, 9, 10, 99)] == [
        BEGINNING, JournalId(1, 1), JournalId(1, 9), JournalId(2, 10), JournalId(2, 99),
    ]  # fmt: skip
    assert epochs.contains(JournalId(1, 9), head=20)
    assert epochs.contains(JournalId(2, 10), head=20)
    assert not epochs.contains(JournalId(1, 10), head=20)
    assert not epochs.contains(JournalId(2, 9), head=20)
    assert not epochs.contains(JournalId(2, 21), head=20)
    assert not epochs.contains(JournalId(3, 5), head=20)
    assert epochs.contains(BEGINNING, head=0)
    assert (epochs.lost_after(1), epochs.lost_after(2)) == (9, None)


def test_epoch_that_was_lost_again_leaves_nothing() -> None:
    """Epoch 2 began at 10, but Redis then fell back behind it: epoch 3 begins at 6, and nothing of 2 is left."""
    epochs = Epochs({1: 1, 2: 10, 3: 6})
    assert [epochs.id_of(n) for n in (5, 6, 10)] == [JournalId(1, 5), JournalId(3, 6), JournalId(3, 10)]
    assert not epochs.contains(JournalId(2, 10), head=20)
    assert not epochs.contains(JournalId(1, 6), head=20)
    assert (epochs.lost_after(1), epochs.lost_after(2)) == (5, 5)


def test_empty_epochs_and_equal_beginnings() -> None:
    """No epoch at all knows only the beginning; of two that begin at one number the newer counts."""
    assert Epochs({}).id_of(5) == BEGINNING
    assert Epochs({1: 1, 2: 1}).id_of(1) == JournalId(2, 1)


# admission


def _signal(intent: str) -> Signal:
    return Signal.model_construct(intent=intent)


def _order(purpose: str) -> Order:
    return Order.model_construct(purpose=purpose)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([MarketData.model_construct()], "market_data"),
        ([Control.model_construct(), MarketData.model_construct()], "market_data"),
        ([Control.model_construct()], "vital"),
        ([_signal("entry")], "entry"),
        ([_signal("entry"), Alert.model_construct()], "entry"),
        ([_signal("exit")], "vital"),
        ([_order("entry")], "entry"),
        ([_order("stop_loss")], "vital"),
        ([_order("entry"), _order("exit")], "vital"),
        ([_order("entry"), OrderResult.model_construct()], "vital"),
        ([_signal("entry"), _signal("exit")], "vital"),
    ],
)
def test_class_of_a_batch(events: list[Event], expected: str) -> None:
    """Market data outweigh everything; an exit or a result beside an entry lets the batch pass."""
    assert admission_class(events) == expected


def test_run_begins_with_started_of_the_feed() -> None:
    """Only cdb_ws' own `started` names the run."""
    started = Control.model_construct(action="started", producer=WS, run_id="r")
    assert run_begun([Control.model_construct(action="tick", producer=WS), started]) == "r"
    assert run_begun([Control.model_construct(action="started", producer=CORE, run_id="r")]) == ""
    assert run_begun([Control.model_construct(action="started", producer=WS, run_id=None)]) == ""


# recovery


def facts(
    redis_n: int, archive_n: int, *, first: int | None = None, archived: Entry | None = None
) -> tuple[RedisFacts, ArchiveFacts]:
    """Return the facts of a journal in epoch 1 whose Redis and archive end at these numbers."""
    lower = min(redis_n, archive_n)
    return (
        RedisFacts(
            JournalId(1, redis_n) if redis_n else None,
            {1: 1} if redis_n else {},
            entry(lower) if lower else None,
            first if first is not None else (1 if redis_n else None),
        ),
        ArchiveFacts(
            JournalId(1, archive_n) if archive_n else None,
            {1: 1} if archive_n else {},
            archived or (entry(lower) if lower else None),
        ),
    )


@pytest.mark.parametrize(
    ("redis_n", "archive_n", "plan"),
    [
        (0, 0, RecoveryPlan(False, False, 0, 0, 1, 0, {1: 1})),
        (20, 20, RecoveryPlan(False, False, 20, 20, 2, 20, {1: 1, 2: 21})),
        (25, 20, RecoveryPlan(False, False, 25, 25, 2, 25, {1: 1, 2: 26})),
        (15, 20, RecoveryPlan(False, False, 15, 20, 2, 20, {1: 1, 2: 21})),
        (5, 20, RecoveryPlan(True, True, 10, 20, 2, 20, {1: 1, 2: 21})),
        (0, 20, RecoveryPlan(False, True, 10, 20, 2, 20, {1: 1, 2: 21})),
        (0, 7, RecoveryPlan(False, True, 0, 7, 2, 7, {1: 1, 2: 8})),
    ],
)
def test_plan(redis_n: int, archive_n: int, plan: RecoveryPlan) -> None:
    """Ahead: nothing is copied; behind: the missing events; far behind or empty: the newest ones, afresh."""
    assert plan_recovery(*facts(redis_n, archive_n), copy_max=10) == plan
    assert plan.missing == plan.copy_to - plan.copy_after


def test_plan_without_archive() -> None:
    """A journal without PostgreSQL goes on where it is, trimmed or not."""
    redis = RedisFacts(JournalId(1, 20), {1: 1}, None, 15)
    assert plan_recovery(redis, None) == RecoveryPlan(False, False, 20, 20, 2, 20, {1: 1, 2: 21})


def test_trimmed_entry_is_compared_by_its_epoch() -> None:
    """When the entry at the archive's head is trimmed away, at least its epoch must agree."""
    redis, archive = facts(25, 20, first=21)
    assert plan_recovery(replace(redis, entry=None), archive).head == 25
    with pytest.raises(StoreError, match="two journals"):
        plan_recovery(replace(redis, entry=None), replace(archive, head=JournalId(2, 20), epochs={1: 1, 2: 20}))


@pytest.mark.parametrize(
    ("archived", "words"), [(entry(20, data=b'{"a":1}'), "differs"), (entry(20, cause="feed:2"), "differs")]
)
def test_different_events_under_one_number_are_refused(archived: Entry, words: str) -> None:
    """Other bytes or another cause at the common head: contradiction."""
    with pytest.raises(StoreError, match=words):
        plan_recovery(*facts(25, 20, archived=archived))


def test_archive_that_ends_before_the_oldest_entry_is_refused() -> None:
    """A hole between archive and stream cannot be opened over; touching is no hole."""
    with pytest.raises(StoreError, match="gone"):
        plan_recovery(*facts(25, 20, first=22))
    assert plan_recovery(*facts(25, 20, first=21)).head == 25
    with pytest.raises(StoreError, match="gone"):
        plan_recovery(*facts(25, 0, first=2))


def test_epochs_that_disagree_are_refused() -> None:
    """One epoch with two beginnings: two journals."""
    redis, archive = facts(20, 20)
    with pytest.raises(StoreError, match="epoch 1 begins"):
        plan_recovery(redis, replace(archive, epochs={1: 2}))


def test_new_epoch_is_above_all_known_ones() -> None:
    """An epoch that only PostgreSQL knows (recorded, then the process died) is not given again."""
    redis, archive = facts(20, 20)
    assert plan_recovery(redis, replace(archive, epochs={1: 1, 4: 21})).epoch == 5


def test_marks_of_entries() -> None:
    """A journal cause marks its producer, a numbered source its own field, an operator's command nothing."""
    assert high_water_field(Entry(JournalId(1, 1), "signals", CORE, "41", b"")) == (CORE, 41)
    assert high_water_field(Entry(JournalId(1, 1), "alerts", RISK, "alert:3", b"")) == (f"{RISK}/alert", 3)
    assert high_water_field(Entry(JournalId(1, 1), "control", "operator", "", b"")) is None


# small things


def test_cause_of_an_entry_knows_its_epoch() -> None:
    """`Cause.of` names number and epoch; only the number stands in the journal."""
    cause = Cause.of(JournalId(3, 42))
    assert (cause, str(cause), Cause.parse("42")) == (Cause("", 42, 3), "42", Cause("", 42))
    with pytest.raises(ContractViolation):
        Cause.parse(":4")


def test_dead_letter_is_read_back() -> None:
    """A dead letter's id tells when it arrived."""
    fields = [b"service", EXECUTION.encode(), b"channel", b"orders", b"reason", b"why", b"size", b"3", b"raw", b"abc"]
    letter = decode_dead_letter(b"1700000000000-0", fields)
    assert (letter.arrived_ms, letter.service, letter.raw, letter.size) == (1_700_000_000_000, EXECUTION, b"abc", 3)


def test_lease_key_names_the_service() -> None:
    """The lease of a service is one key."""
    assert lease_key(CORE) == "lease:cdb_core"


def test_a_redis_that_went_on_past_a_restored_backup_is_refused() -> None:
    """PostgreSQL begins an epoch within what Redis has, and Redis does not know it: two lines from one place."""
    head = entry(100)
    archive = ArchiveFacts(head.id, {1: 1, 1002: 101}, head)
    with pytest.raises(StoreError, match="restored from a backup and Redis went on"):
        plan_recovery(RedisFacts(JournalId(2, 150), {1: 1, 2: 101}, head, 1), archive)
    plan = plan_recovery(RedisFacts(JournalId(1, 90), {1: 1}, entry(90), 1), replace(archive, entry=entry(90)))
    assert (plan.epoch, plan.head, plan.missing) == (1003, 100, 10)
