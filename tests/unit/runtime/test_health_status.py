"""Health and status: failing checks by name with their reason; the work loop's thread makes the picture."""

from __future__ import annotations

import threading

import pytest

from services.common.runtime.health import Health, StatusBoard

pytestmark = pytest.mark.unit


class Wall:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.seconds

    def shift(self, seconds: float) -> None:
        """Let time pass."""
        self.seconds += seconds


def test_not_well_before_the_work_has_begun() -> None:
    """A service that only started its HTTP thread is not healthy."""
    health = Health()
    assert health.failing() == {"loop": "starting"}
    health.beat()
    assert health.failing() == {}


def test_a_dead_work_loop_is_found() -> None:
    """No heartbeat for over 5 s fails, however well everything else is."""
    wall = Wall()
    health = Health(wall)
    health.beat()
    wall.shift(6)
    assert "6.0 s" in health.failing()["loop"]


def test_checks_are_named_and_a_broken_check_fails() -> None:
    """A reason fails, None passes, and a check that raises is a failing check."""
    health = Health()
    health.beat()
    health.check("redis", lambda: "connection refused")
    health.check("clock", lambda: None)
    health.check("odd", lambda: str(1 // 0))
    assert health.failing() == {
        "redis": "connection refused",
        "odd": "check failed: ZeroDivisionError: integer division or modulo by zero",
    }


def test_status_is_made_by_the_loops_thread() -> None:
    """The asking thread gets what the loop's thread put together after the question."""
    board = StatusBoard()
    makers: list[str] = []

    def supply() -> int:
        makers.append(threading.current_thread().name)
        return 7

    board.add("answer", supply)
    board.refresh()
    assert makers == []
    asked = threading.Event()
    stop = threading.Event()

    def loop() -> None:
        asked.wait()
        while not stop.wait(0.001):
            board.refresh()

    thread = threading.Thread(target=loop, name="loop")
    thread.start()
    asked.set()
    assert board.read(5.0) == {"answer": 7}
    stop.set()
    thread.join()
    assert makers == ["loop"]


def test_a_stuck_loop_gives_the_last_picture_with_its_age() -> None:
    """The answer comes all the same, and says that it is old."""
    board = StatusBoard()
    board.add("answer", lambda: 7)
    assert board.read(0.01) == {"status_age_sec": None}
    board.refresh(always=True)
    assert board.read(0.01) == {"answer": 7, "status_age_sec": 0}
