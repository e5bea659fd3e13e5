"""The operator's line: a command goes into the journal, and what risk and execution made of it comes back.

The command is one entry of producer `operator`, so it needs Redis alone: neither the writer nor PostgreSQL nor any
other service has to be alive for it to count. Whoever is down folds it as the first thing when it comes back.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from uuid import uuid4

import redis

from services.common import channels
from services.common.errors import (
    ClaireError,
    ContractViolation,
    JournalClosed,
    JournalError,
    JournalHole,
    StateMismatch,
)
from services.common.events import Alert, Control, Event, Order, OrderResult, RiskDecision
from services.common.identity import derive_id
from services.common.journal.client import JournalClient
from services.common.journal.entry import Entry, JournalId
from services.common.journal.keys import lease_key
from services.common.journal.link import Link
from services.common.settings import Infrastructure

__all__ = ["Action", "Command", "JournalUnreachable", "OperatorLine", "Outcome"]

Action = Literal["halt", "resume", "flatten", "reset_breaker", "resolve_order"]

KEYS: Final = (channels.RISK, channels.EXECUTION)
"""Who folds a command."""

PATIENCE_SEC: Final = 2.0
"""So long a Redis that restarts, or a journal that is being opened, is waited for."""
RETRY_SEC: Final = 0.1
LOOK_EVERY_SEC: Final = 0.05
PAGE: Final = 500
TERMINAL: Final = frozenset({"FILLED", "CANCELED", "REJECTED", "EXPIRED"})


class JournalUnreachable(ClaireError):
    """The command could not be recorded: nothing was done."""


@dataclass(frozen=True)
class Command:
    """What an operator wants.

    Attributes:
        by, reason: who, and why.
        details: what belongs to the action: `freeze` of a halt; `order_id` and `outcome` of resolve_order.
        command_id: the same command sent twice is done once. It begins with the wall clock's time: the event itself is
            stamped with the run's clock, which may be of another year.
    """

    action: Action
    by: str
    reason: str
    details: Mapping[str, Any] = field(default_factory=dict)
    command_id: str = field(default_factory=lambda: f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{uuid4().hex}")


_NOTHING_HELD: Final = frozenset({"NO_POSITION", "DUST"})
"""Reasons of a declined exit that leave nothing to be closed."""


@dataclass
class Outcome:
    """What became of a command.

    Attributes:
        place: where it stands in the journal.
        recorded_at: the run's clock then, microseconds.
        folded: whether risk and execution have handled it.
        running: whether risk and execution hold their leases, which is to say whether they are alive.
        refused: why risk did not do it; None when it did.
        state, previous, causes: the trading state that followed; None when it did not change.
        told: risk's other messages that followed.
        canceled: orders that execution cancelled on it.
        orders: what flatten sent, by order id.
        declined: what flatten could not send, and why.
        awaited: orders whose end is waited for: those, or the one that was resolved.
        results: the last result of each of them.
    """

    place: JournalId
    recorded_at: int
    folded: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(KEYS, False))
    running: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(KEYS, True))
    refused: str | None = None
    state: str | None = None
    previous: str | None = None
    causes: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    canceled: list[OrderResult] = field(default_factory=list)
    orders: dict[str, Order] = field(default_factory=dict)
    declined: list[RiskDecision] = field(default_factory=list)
    awaited: set[str] = field(default_factory=set)
    results: dict[str, OrderResult] = field(default_factory=dict)

    @property
    def unanswered(self) -> list[str]:
        """Who has not handled it yet."""
        return [service for service, done in self.folded.items() if not done]

    @property
    def unfilled(self) -> list[str]:
        """What the orders of a flatten have left open so far: quantity and symbol."""
        left = {
            order_id: order.quantity - (result.filled_quantity if (result := self.results.get(order_id)) else 0)
            for order_id, order in self.orders.items()
        }
        return [f"{left[name].normalize():f} {order.symbol}" for name, order in self.orders.items() if left[name]]

    @property
    def still_open(self) -> list[str]:
        """What a flatten has not closed yet; risk asks again with each valid quote."""
        return self.unfilled + [each.symbol for each in self.declined if each.reason not in _NOTHING_HELD]

    @property
    def settled(self) -> bool:
        """Whether every order that is waited for has ended."""
        return all(name in self.results and self.results[name].status in TERMINAL for name in self.awaited)


class OperatorLine:
    """One connection for the operator's commands.

    Args:
        infra: where Redis is, and as whom to speak to it (`operator` in Docker).
    """

    def __init__(self, infra: Infrastructure) -> None:
        self._client = JournalClient(infra, name="operator")
        self._link = Link(infra, name="operator-look")
        self._read_to = 0

    def close(self) -> None:
        """Hang up."""
        self._client.close()
        self._link.close()

    # sending

    def send(self, command: Command) -> Outcome:
        """Record a command; a lost reply is looked up before it is sent again.

        Raises:
            JournalUnreachable: it is not recorded; the text says why.
        """
        event: Control | None = None
        before = 0
        deadline = time.monotonic() + PATIENCE_SEC
        while True:
            try:
                if event is None:
                    before, event = self._prepare(command)
                elif (found := self._find(event, before)) is not None:
                    return Outcome(found, event.timestamp)
                result = self._client.publish(channels.OPERATOR, None, None, [event])
            except (redis.ConnectionError, redis.TimeoutError, OSError, JournalClosed) as error:
                self._client.close()
                if time.monotonic() > deadline:
                    raise JournalUnreachable(_why_not(error)) from error
                time.sleep(RETRY_SEC)
            except (JournalError, StateMismatch, redis.RedisError) as error:
                raise JournalUnreachable(f"Redis does not take the command: {error}") from error
            else:
                return Outcome(result.ids[0], event.timestamp)

    def _prepare(self, command: Command) -> tuple[int, Control]:
        """Return the journal's head and the event, which is stamped with the run's clock."""
        head = self._client.head()
        wall = time.time_ns() // 1_000
        now = wall
        if head is not None:
            try:
                now = self._client.read(head.n - 1, 1)[0].event.timestamp
            except (IndexError, JournalHole, ContractViolation):
                now = wall
        event = Control(
            event_id=derive_id(self._client.run_id() or "", channels.OPERATOR, command.command_id),
            timestamp=now,
            producer=channels.OPERATOR,
            action=command.action,
            command_id=command.command_id,
            by=command.by,
            reason=command.reason,
            details=dict(command.details),
        )
        return (0 if head is None else head.n), event

    def _find(self, event: Control, after: int) -> JournalId | None:
        while entries := self._client.read(after, PAGE):
            for entry in entries:
                if entry.producer == channels.OPERATOR and entry.data == event.data:
                    return entry.id
            after = entries[-1].id.n
        return None

    # following

    def follow(self, outcome: Outcome, timeout_sec: float) -> Outcome:
        """Wait until risk and execution have handled the command, and collect what followed from it.

        Who is dead is not waited for. Orders of a flatten, and a resolved one, are followed to their end in that time.

        Raises:
            JournalUnreachable: the command is recorded, but Redis went away before an answer came.
        """
        deadline = time.monotonic() + timeout_sec
        self._read_to = outcome.place.n
        try:
            while not self._look(outcome) and time.monotonic() < deadline:
                time.sleep(LOOK_EVERY_SEC)
        except (redis.RedisError, JournalError, StateMismatch, OSError) as error:
            raise JournalUnreachable(f"recorded as {outcome.place}, but then Redis went away: {error}") from error
        return outcome

    def _look(self, outcome: Outcome) -> bool:
        """Look once; returns whether there is nothing left to wait for."""
        cursors = self._client.cursors()
        for service in KEYS:
            outcome.folded[service] = cursors.get(service, 0) >= outcome.place.n
            outcome.running[service] = self._link.call("EXISTS", lease_key(service)) == 1
        self._collect(outcome)
        waited_for = [service for service in outcome.unanswered if outcome.running[service]]
        if waited_for:
            return False
        return not outcome.folded[channels.RISK] or outcome.settled or not outcome.running[channels.EXECUTION]

    def _collect(self, outcome: Outcome) -> None:
        while entries := self._client.read(self._read_to, PAGE):
            for entry in entries:
                self._take(outcome, entry)
            self._read_to = entries[-1].id.n

    def _take(self, outcome: Outcome, entry: Entry) -> None:
        ours = entry.cause == str(outcome.place.n)
        if entry.producer == channels.RISK and ours:
            _take_answer(outcome, entry.event)
        elif entry.producer == channels.EXECUTION and entry.channel == channels.ORDER_RESULTS:
            event = entry.event
            assert isinstance(event, OrderResult)
            if event.order_id in outcome.awaited:
                outcome.results[event.order_id] = event
            elif ours and event.status == "CANCELED":
                outcome.canceled.append(event)


def _why_not(error: Exception) -> str:
    if isinstance(error, JournalClosed):
        return (
            "Redis was restarted and the journal is not open yet, so nobody can trade now. It opens when cdb_writer "
            "and PostgreSQL are up; then give the command again"
        )
    return f"Redis does not answer: {error}"


def _take_answer(outcome: Outcome, event: Event) -> None:
    match event:
        case Control(action="trading_state"):
            details = event.details
            outcome.state, outcome.previous = str(details.get("state")), str(details.get("previous"))
            outcome.causes = [str(cause) for cause in details.get("causes", ())]
        case Alert(code="COMMAND_REFUSED"):
            outcome.refused = event.message
        case Alert() if not event.code.startswith("TRADING_"):
            outcome.told.append(f"{event.level} {event.code}: {event.message}")
        case RiskDecision() if not event.approved:
            outcome.declined.append(event)
        case Order():
            outcome.orders[event.order_id] = event
            outcome.awaited.add(event.order_id)
        case Control(action="resolve_order"):
            outcome.awaited.add(str(event.details.get("order_id")))
