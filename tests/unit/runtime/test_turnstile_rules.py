"""The turnstile's rules, pure: whose turn it is."""

from __future__ import annotations

import random

import pytest

from services.common import channels
from services.common.runtime.backoff import Backoff
from services.common.runtime.turnstile import Turnstile, may_handle, may_publish

pytestmark = pytest.mark.unit

CORE, RISK, EXECUTION = channels.TURNSTILE_ORDER


def test_core_begins_when_all_have_done_the_entry_before() -> None:
    """Entry 5 is core's when risk and execution have done 4."""
    assert may_handle(CORE, 5, {CORE: 4, RISK: 4, EXECUTION: 4})
    assert not may_handle(CORE, 5, {CORE: 4, RISK: 4, EXECUTION: 3})
    assert may_handle(CORE, 1, {})


def test_risk_follows_core_and_execution_follows_both() -> None:
    """Within one entry the order is core, risk, execution."""
    assert not may_handle(RISK, 5, {CORE: 4, RISK: 4, EXECUTION: 4})
    assert may_handle(RISK, 5, {CORE: 5, RISK: 4, EXECUTION: 4})
    assert not may_handle(EXECUTION, 5, {CORE: 5, RISK: 4, EXECUTION: 4})
    assert may_handle(EXECUTION, 5, {CORE: 5, RISK: 5, EXECUTION: 4})


def test_the_feed_goes_on_when_all_have_done_the_head() -> None:
    """One service behind holds the feed."""
    assert may_publish(7, {CORE: 7, RISK: 7, EXECUTION: 7})
    assert not may_publish(7, {CORE: 7, RISK: 7, EXECUTION: 6})
    assert may_publish(0, {})


def test_whatever_the_scheduler_does_the_order_is_the_same() -> None:
    """Every interleaving that the rules allow handles the entries in one and the same order."""
    for seed in range(50):
        draw = random.Random(seed)
        cursors = dict.fromkeys(channels.TURNSTILE_ORDER, 0)
        done: list[tuple[int, str]] = []
        while min(cursors.values()) < 6:
            service = draw.choice(channels.TURNSTILE_ORDER)
            n = cursors[service] + 1
            if n <= 6 and may_handle(service, n, cursors):
                cursors[service] = n
                done.append((n, service))
        assert done == [(n, service) for n in range(1, 7) for service in channels.TURNSTILE_ORDER]


class Bell:
    """Wake-ups as a test rings them."""

    def __init__(self, *rings: tuple[str, int] | None) -> None:
        self.rings = list(rings)

    def wait(self, timeout_sec: float) -> tuple[str, int] | None:
        """Return the next ring."""
        return self.rings.pop(0) if self.rings else None

    def close(self) -> None:
        """Do nothing."""


def test_news_are_learnt_and_late_news_do_no_harm() -> None:
    """A message moves the peer forward; an older one does not move it back."""
    turnstile = Turnstile(dict, Bell((CORE, 3), (CORE, 2)))  # type: ignore[arg-type]
    turnstile.learn()
    turnstile.learn()
    assert turnstile.may_handle(RISK, 3) is False
    assert turnstile._known == {CORE: 3}


def test_a_lost_wake_up_is_found_by_looking() -> None:
    """When nothing rings the cursors themselves are read, also when they have fallen back."""
    turnstile = Turnstile(lambda: {CORE: 9, RISK: 9, EXECUTION: 9}, Bell(None))  # type: ignore[arg-type]
    assert not turnstile.may_publish(9)
    turnstile.learn()
    assert turnstile.may_publish(9)
    turnstile.forget()
    assert not turnstile.may_publish(9)


def test_backoff_grows_is_capped_and_ends_with_a_stop() -> None:
    """Delays double up to the cap, each at least half of it; a stop ends the wait at once."""

    class Recorder:
        delays: list[float] = []  # noqa: RUF012 -- one recorder, one test

        def wait(self, delay: float) -> bool:
            self.delays.append(delay)
            return len(self.delays) >= 8

    recorder = Recorder()
    backoff = Backoff(recorder, first_sec=1.0, cap_sec=10.0)  # type: ignore[arg-type]
    while not backoff.wait():
        pass
    for delay, whole in zip(recorder.delays, (1, 2, 4, 8, 10, 10, 10, 10), strict=True):
        assert whole / 2 <= delay <= whole
    backoff.reset()
    assert backoff.attempts == 0
