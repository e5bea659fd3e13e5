"""All deciding machines in one process, stepped through one journal in the order of the turnstile.

For each entry core, risk and execution handle it, in this order, and what follows is appended to the journal. The same
inputs give the same journal, byte for byte, as the processes in turnstile mode.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from services.common import channels
from services.common.errors import ContractViolation
from services.common.events import Control, Event, MarketData
from services.common.journal.entry import Cause, Entry, JournalId
from services.common.machine import StateMachine
from services.common.runtime.announcement import announcement, services_ahead

__all__ = ["Kernel", "Machine", "deciding_machines"]

Machine = StateMachine[Any, Any]
"""A deciding machine of whatever settings and state."""


def deciding_machines() -> tuple[Machine, Machine, Machine]:
    """Return new machines of core, risk and execution, in the order of the turnstile."""
    from services.cdb_core.machine import CoreMachine
    from services.cdb_execution.machine import ExecutionMachine
    from services.cdb_risk.machine import RiskMachine

    return CoreMachine(), RiskMachine(), ExecutionMachine()


_new = tuple.__new__  # a named tuple's own takes twice as long


class Kernel:
    """A journal in memory and the machines that fold it.

    Attributes:
        head: number of the last entry appended.
    """

    def __init__(self, machines: Sequence[Machine], *, epoch: int = 1, head: int = 0) -> None:
        """Take the machines in turnstile order; the next entry is `<epoch>-<head + 1>`."""
        order = [machine.service for machine in machines]
        if order != [service for service in channels.TURNSTILE_ORDER if service in order]:
            raise ContractViolation(f"machines come in the order {channels.TURNSTILE_ORDER}, not {order}")
        self._epoch = epoch
        self.head = head
        self._pending: deque[Entry] = deque()
        self.replace(machines)

    def replace(self, machines: Sequence[Machine]) -> None:
        """Go on with these machines, which have folded what those before them had."""
        self._machines = tuple(machines)
        self._handling = tuple((machine, machine.handle) for machine in machines)

    def publish(self, producer: str, cause: str, events: Iterable[Event]) -> None:
        """Append a batch; nothing is handled before `run`.

        Args:
            producer: of the batch.
            cause: in the form that stands in the journal (see `Cause`).
            events: in their order.
        """
        of_feed, append = producer == channels.WS, self._pending.append
        for event in events:
            self.head += 1
            place = _new(JournalId, (self._epoch, self.head))
            # The feed mints its numbers as they come back from the wire, and a control event without details has none:
            # these need not go through their bytes.
            if type(event) is MarketData:
                straight = of_feed
            else:
                straight = type(event) is Control and (not event.details or (of_feed and event.action == "tick"))
            if straight:
                append(Entry.of(place, producer, cause, event))
            else:
                append(Entry(place, event.channel, producer, cause, event.data))

    def take(self, recorded: Iterable[Entry]) -> None:
        """Append recorded entries of an outside source as they stand, under the next numbers."""
        for entry in recorded:
            self.head += 1
            place = JournalId(self._epoch, self.head)
            self._pending.append(Entry(place, entry.channel, entry.producer, entry.cause, entry.data))

    def run(self) -> Iterator[Entry]:
        """Yield each pending entry after all machines have handled it, until nothing is pending."""
        pending, machines = self._pending, self._handling
        while pending:
            entry = pending.popleft()
            for machine, handle in machines:
                outputs = handle(entry)
                if outputs:
                    self.publish(machine.service, str(entry.id.n), outputs)
            yield entry

    def step(self, producer: str, cause: Cause, events: Iterable[Event]) -> Iterator[Entry]:
        """Append a batch of an outside source (the feed, an operator) and run until everything is handled."""
        self.publish(producer, str(cause), events)
        yield from self.run()

    def announce(self, settings: Mapping[str, BaseModel], *, code_version: str) -> Iterator[Entry]:
        """Let every machine join the run and take its settings, as the processes do at their first start.

        Args:
            settings: by service.
            code_version: as the processes would say it.

        Raises:
            ContractViolation: cdb_ws has not begun the run yet, so there is no clock.
        """
        for machine in sorted(self._machines, key=lambda machine: len(services_ahead(machine.service))):
            fold = machine.fold
            if fold.run_id is None or fold.now is None:
                raise ContractViolation("the run begins with `control/started` of cdb_ws; publish that first")
            events = announcement(
                machine.service,
                settings[machine.service],
                run_id=fold.run_id,
                now=fold.now,
                number=1,
                in_force=fold.settings_hash,
                code_version=code_version,
            )
            yield from self.step(machine.service, Cause("announce", 1), events)
