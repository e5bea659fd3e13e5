"""Any interleaving of publishing, consuming, killing connections, restarting and trimming: exactly once, in order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from journal_support import MemoryArchive, Server, alert, fence_of, quote, signal, tick, whole

from services.common.channels import CORE, RISK, WS
from services.common.journal.bus import Bus
from services.common.journal.client import JournalClient
from services.common.journal.entry import Cause, Entry
from services.common.journal.opening import recover
from tests.property.effort import examples

pytestmark = [pytest.mark.integration, pytest.mark.chaos, pytest.mark.slow]

CHANNELS = ("market_data", "alerts", "signals")


class JournalLife(RuleBasedStateMachine):
    """One producer with two sources, one consumer a mode, an archive; the model is the list of what was published."""

    server: Server

    def __init__(self) -> None:
        super().__init__()
        self.published: list[bytes] = []
        self.feed = 0
        self.core_done = 0
        self.archive = MemoryArchive()

    @initialize()
    def start(self) -> None:
        """Begin with an empty, open journal."""
        with self.server.admin() as admin:
            admin.flushall()
        recover(self.server.infra, self.archive)
        self.client = JournalClient(self.server.infra, name="life", archive=self.archive)
        self.fences = {name: fence_of(self.server, name) for name in (WS, CORE)}
        self.buses: dict[str, Bus] = {}
        self.got: dict[str, list[Entry]] = {"pubsub": [], "xread": []}
        for mode in self.got:
            self.open_bus(mode)

    def open_bus(self, mode: Any) -> None:
        """Open a bus after the last entry that was handled."""
        got = self.got[mode]
        bus = Bus(self.server.infra, RISK, frozenset(CHANNELS), mode=mode, archive=self.archive)
        bus.open(got[-1].id if got else None)
        self.buses[mode] = bus

    @rule(count=st.integers(1, 4))
    def publish(self, count: int) -> None:
        """Publish a batch of the feed over two channels."""
        self.feed += 1
        batch: list[Any] = [quote(10 * self.feed + i) if i % 2 else tick(10 * self.feed + i) for i in range(count)]
        result = self.client.publish(WS, self.fences[WS], Cause("feed", self.feed), batch)
        assert (result.status, len(result.ids)) == ("new", count)
        self.published += [event.data for event in batch]

    @rule()
    @precondition(lambda self: self.feed)
    def publish_again(self) -> None:
        """Repeat the last batch, as after a lost reply."""
        again = self.client.publish(WS, self.fences[WS], Cause("feed", self.feed), [quote(self.feed)])
        assert again.status == "repeated"

    @rule()
    @precondition(lambda self: len(self.published) > self.core_done)
    def follow_up(self) -> None:
        """Publish the outputs of the next entry that core has not handled."""
        self.core_done += 1
        entry = self.client.read(self.core_done - 1, 1)[0]
        events = [signal(self.core_done, CORE), alert(self.core_done, CORE)]
        assert self.client.publish(CORE, self.fences[CORE], Cause.of(entry.id), events).status == "new"
        self.published += [event.data for event in events]

    @rule(mode=st.sampled_from(["pubsub", "xread"]))
    def poll(self, mode: str) -> None:
        """Let a consumer take what is there."""
        self.got[mode] += self.buses[mode].poll(0.01)

    @rule(mode=st.sampled_from(["pubsub", "xread"]))
    def restart_consumer(self, mode: str) -> None:
        """End a consumer and start it after the last entry that it handled."""
        self.buses[mode].close()
        self.open_bus(mode)

    @rule(name=st.sampled_from(["cdb_risk:subscriber", "cdb_risk:bus"]))
    def cut_connections(self, name: str) -> None:
        """Close the consumers' connections from the server's side."""
        with self.server.admin() as admin:
            for connection in admin.client_list():
                if connection["name"] == name:
                    admin.client_kill_filter(_id=connection["id"])

    @rule()
    def forget_scripts(self) -> None:
        """Flush the server's scripts."""
        with self.server.admin() as admin:
            admin.script_flush()

    @rule(forged=st.sampled_from([b"by hand", b'{"journal_id":"1-1","previous_id":"0-0","cause":"",}']))
    def publish_by_hand(self, forged: bytes) -> None:
        """Publish something that is no journal entry."""
        with self.server.admin() as admin:
            admin.publish("market_data", forged)

    @rule()
    @precondition(lambda self: len(self.published) > 4)
    def archive_and_trim(self) -> None:
        """Archive everything, then trim most of it away."""
        self.archive.fill(self.client)
        head = self.archive.entries[-1].id
        with self.server.admin() as admin:
            admin.xtrim("journal", minid=f"{head.epoch}-{head.n - 1}", approximate=False)

    @rule()
    def new_instance(self) -> None:
        """Start a second instance of the feed with the same holder: the fence grows, the first is out."""
        self.fences[WS] = fence_of(self.server, WS)

    @invariant()
    def journal_is_what_was_published(self) -> None:
        """The journal holds exactly what was published, contiguous."""
        if hasattr(self, "client"):
            entries = whole(self.client)
            assert [entry.data for entry in entries] == self.published
            assert [entry.id.n for entry in entries] == list(range(1, len(self.published) + 1))

    def teardown(self) -> None:
        """In the end both consumers have handled every entry of their channels, once and in order."""
        if not hasattr(self, "client"):
            return
        expected = [entry for entry in whole(self.client) if entry.channel in CHANNELS]
        for mode, bus in self.buses.items():
            for _ in range(200):
                self.got[mode] += bus.poll(0.05)
                bus.take_foreign()
                if bus.at_head and len(self.got[mode]) >= len(expected):
                    break
            assert self.got[mode] == expected, mode
            bus.close()
        self.client.close()


def test_any_interleaving_is_exactly_once_and_in_order(server: Server) -> None:
    """Hypothesis looks for a sequence of publications and disturbances that loses, doubles or reorders an entry."""
    JournalLife.server = server
    run = JournalLife.TestCase
    run.settings = settings(max_examples=examples(20), stateful_step_count=30, derandomize=True, deadline=None)
    run().runTest()
