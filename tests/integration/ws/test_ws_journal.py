"""The feed's side of the journal, in this process on a real Valkey, with faults put between the two."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from services.cdb_ws.adapters.feed_journal import FeedJournal
from services.cdb_ws.mint import Mint
from services.cdb_ws.settings import FeedSettings, PlaybackSettings
from services.common.channels import WS
from services.common.errors import StateMismatch
from services.common.events import Event
from services.common.journal.client import JournalClient, PublishResult
from services.common.journal.entry import JournalId
from services.common.runtime.lifecycle import Lifecycle
from services.common.runtime.publisher import Stopped

pytestmark = pytest.mark.integration

T0 = 1_700_000_000_000_000
SETTINGS = FeedSettings.model_validate({"FEED": "external"})


class LosesReplies(JournalClient):
    """A client whose connection breaks after the journal has taken a batch, before the reply arrives."""

    losing = 0

    def publish(self, *arguments: Any) -> PublishResult:
        """Publish, and lose the reply when told to."""
        result = super().publish(*arguments)
        if self.losing:
            self.losing -= 1
            raise RedisConnectionError("the reply was lost")
        return result


@pytest.fixture
def life(feed: Callable[..., Any]) -> Iterator[Lifecycle]:
    """An open process frame of cdb_ws."""
    one = feed(FEED="external")
    frame = Lifecycle(WS, one.environment, (FeedSettings, PlaybackSettings))
    frame.open()
    yield frame
    frame.close()


def begun(life: Lifecycle) -> FeedJournal:
    """A feed that has announced itself in a first run."""
    journal = FeedJournal(life)
    journal.start_over()
    journal.announce(SETTINGS, "play", "run", T0, {})
    return journal


def ticks(number: int) -> list[Event]:
    """The events of one batch."""
    return [Mint("run", "mexc_spot").tick(T0 + number * 1_000_000, "none")]


def test_a_lost_reply_publishes_nothing_twice(life: Lifecycle, monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch is sent again, the journal knows it, and the feed takes its place from there."""
    journal = begun(life)
    monkeypatch.setattr(life.client, "__class__", LosesReplies)
    life.client.losing = 1  # type: ignore[attr-defined]
    result = journal.publish(1, ticks(1))
    assert result is not None
    assert result.status == "repeated"
    assert (journal.last, journal.head) == (1, 3)
    journal.publish(2, ticks(2))
    assert [e.cause for e in life.client.read(0, 100)] == ["announce:1", "announce:1", "feed:1", "feed:2"]


def test_a_restart_knows_what_was_published(life: Lifecycle) -> None:
    """With and without a snapshot the fold is the same, and an equal configuration is not said again."""
    journal = begun(life)
    for number in range(1, 6):
        journal.publish(number, ticks(number))
    journal.snapshot()
    assert life.client.durable()[WS] == JournalId(1, 7)
    restored, folded = FeedJournal(life), FeedJournal(life)
    restored.start_over()
    for path in Path(life.folder.path).glob("snapshot-*"):
        path.unlink()
    folded.start_over()
    assert restored.fold == folded.fold == journal.fold
    assert (folded.last, folded.run.run_id, folded.run.now) == (5, "run", T0 + 5_000_000)
    folded.announce(SETTINGS, "play", "run", T0 + 5_000_000, {})
    assert [e.event.action for e in life.client.read(7, 100)] == ["started"]
    folded.announce(SETTINGS, "another", "run", T0 + 5_000_000, {})
    assert [e.event.action for e in life.client.read(8, 100)] == ["started", "config"]
    assert folded.fold.base == 5


def test_an_entry_that_the_journal_lost_is_noticed(life: Lifecycle) -> None:
    """A place that is not in the journal means starting over, not going on."""
    journal = begun(life)
    journal.check_lineage()
    journal._place = JournalId(1, 10_000)
    with pytest.raises(StateMismatch, match="1-10000 is not in the journal"):
        journal.check_lineage()


def test_waiting_ends_with_a_stop(life: Lifecycle) -> None:
    """A process that is told to stop while Redis is away stops."""
    journal = begun(life)
    life.stop.set()

    def away() -> None:
        raise RedisConnectionError("away")

    with pytest.raises(Stopped):
        journal.patiently(away)
