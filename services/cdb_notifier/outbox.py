"""What waits to be sent, and to whom: a message leaves it only when every target has taken it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from pydantic import TypeAdapter, ValidationError

from services.cdb_notifier.message import LEVELS, Level, Message, at_least
from services.common.errors import StateMismatch

__all__ = ["MOST_WAITING", "Outbox", "OutboxState", "Waiting"]

MOST_WAITING: Final = 200


@dataclass
class Waiting:
    """A message and the keys of the targets that have not taken it yet."""

    number: int
    message: Message
    targets: list[str]


@dataclass
class OutboxState:
    """What survives.

    Attributes:
        number: of the last message.
        dropped: messages by level that were given up because too many waited.
    """

    number: int = 0
    waiting: list[Waiting] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)


class Outbox:
    """Messages in order of their making; of equal level the oldest goes first, a higher level before a lower one."""

    _adapter: ClassVar[TypeAdapter[OutboxState]] = TypeAdapter(OutboxState)

    def __init__(self, targets: Mapping[str, Level]) -> None:
        """Take the targets: key to the least level that each wants."""
        self._targets = dict(targets)
        self.state = OutboxState()

    def add(self, message: Message) -> Waiting | None:
        """Take a message; None when no target wants it."""
        wanted = [key for key, least in self._targets.items() if at_least(message.level, least)]
        if not wanted:
            return None
        self.state.number += 1
        waiting = Waiting(self.state.number, message, wanted)
        self.state.waiting.append(waiting)
        while len(self.state.waiting) > MOST_WAITING:
            self._drop_one()
        return waiting

    def _drop_one(self) -> None:
        """Give up the oldest of the lowest level."""
        victim = min(self.state.waiting, key=lambda waiting: (LEVELS.index(waiting.message.level), waiting.number))
        self.state.waiting.remove(victim)
        level = victim.message.level
        self.state.dropped[level] = self.state.dropped.get(level, 0) + 1

    def pending(self, target: str) -> list[Waiting]:
        """Return what a target has not taken yet, what is to be sent first in front."""
        mine = [waiting for waiting in self.state.waiting if target in waiting.targets]
        return sorted(mine, key=lambda waiting: (-LEVELS.index(waiting.message.level), waiting.number))

    def done(self, number: int, target: str) -> Waiting | None:
        """Note that a target has taken a message; returned when it was the last one."""
        for waiting in self.state.waiting:
            if waiting.number == number and target in waiting.targets:
                waiting.targets.remove(target)
                if waiting.targets:
                    return None
                self.state.waiting.remove(waiting)
                return waiting
        return None

    def restore(self, value: Any) -> None:
        """Take over a decoded state; targets that are not there any more are taken off.

        Raises:
            StateMismatch: it is not a state of an outbox.
        """
        try:
            self.state = self._adapter.validate_python(value)
        except ValidationError as error:
            raise StateMismatch(f"not an outbox: {error}") from error
        for waiting in list(self.state.waiting):
            waiting.targets = [key for key in waiting.targets if key in self._targets]
            if not waiting.targets:
                self.state.waiting.remove(waiting)
