"""What one connection is subscribed to: a topic counts when it was echoed and data of it came."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

__all__ = ["CONFIRM_US", "Subscriptions"]

CONFIRM_US: Final = 15_000_000
"""So long may a topic be unconfirmed before that is a fault."""


@dataclass(slots=True)
class _Topic:
    asked_us: int
    echoed: bool = False
    data: bool = False
    refused: str = ""


class Subscriptions:
    """Bookkeeping of one connection."""

    def __init__(self) -> None:
        self._topics: dict[str, _Topic] = {}

    def __contains__(self, topic: str) -> bool:
        return topic in self._topics

    def asked(self, topics: Iterable[str], now_us: int) -> None:
        """Take note that topics were asked for (again)."""
        for topic in topics:
            self._topics[topic] = _Topic(now_us)

    def ended(self, topics: Iterable[str]) -> None:
        """Forget topics."""
        for topic in topics:
            self._topics.pop(topic, None)

    def echoed(self, names: Iterable[str]) -> list[str]:
        """Take note of an echo; returns the topics that it is of.

        A name without an instrument stands for the oldest topic of that name which waits for its echo.
        """
        found = []
        for name in names:
            topic = name if name in self._topics else self._waiting(name)
            if topic is not None:
                self._topics[topic].echoed = True
                self._topics[topic].refused = ""
                found.append(topic)
        return found

    def _waiting(self, name: str) -> str | None:
        return next(
            (
                topic
                for topic, state in self._topics.items()
                if not state.echoed and topic.partition("@")[0] == name and "@" in topic
            ),
            None,
        )

    def data(self, topic: str) -> None:
        """Take note of data."""
        if (state := self._topics.get(topic)) is not None:
            state.data = True

    def refused(self, names: Iterable[str], reason: str) -> list[str]:
        """Take note of a refusal; returns the topics that it is of: without a name all that wait for their echo."""
        wanted = list(names)
        found = [topic for name in wanted for topic in self._named(name)]
        if not wanted:
            found = [topic for topic, state in self._topics.items() if not state.echoed and not state.refused]
        for topic in found:
            self._topics[topic].refused, self._topics[topic].echoed = reason or "refused", False
        return found

    def _named(self, name: str) -> list[str]:
        if name.startswith("*@"):
            return [topic for topic in self._topics if topic.endswith(name[1:])]
        topic = name if name in self._topics else self._waiting(name)
        return [] if topic is None else [topic]

    def refusals(self) -> dict[str, str]:
        """Return the topics that are refused, with the reason."""
        return {topic: state.refused for topic, state in self._topics.items() if state.refused}

    def unconfirmed(self, now_us: int) -> list[str]:
        """Return topics that were asked for a while ago and still have no echo."""
        return [
            topic for topic, state in self._topics.items() if not state.echoed and now_us - state.asked_us > CONFIRM_US
        ]

    def counts(self, topic: str) -> bool:
        """Whether a topic counts as subscribed: it was echoed, and data came."""
        state = self._topics.get(topic)
        return state is not None and state.echoed and state.data

    def is_echoed(self, topic: str) -> bool:
        """Whether a topic was echoed."""
        state = self._topics.get(topic)
        return state is not None and state.echoed
