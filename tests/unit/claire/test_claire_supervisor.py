"""The supervisor with real child processes: start again, give up when that cannot help, stop everybody."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from claire.supervisor import Child, ServiceFailed, Supervisor, describe_exit

pytestmark = pytest.mark.unit

FOREVER = "import time\nwhile True: time.sleep(0.05)"
STUBBORN = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\n" + FOREVER


def supervisor(logs: Path, **programs: str) -> Supervisor:
    """Return a supervisor of Python one-liners."""
    return Supervisor(
        lambda _: dict(os.environ),
        logs,
        services=tuple(programs),
        command=lambda service: [sys.executable, "-S", "-c", programs[service]],
    )


def until(look: Callable[[], bool]) -> None:
    """Wait for a condition, 60 s at most."""
    deadline = time.monotonic() + 60
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_last_words_are_those_for_people(tmp_path: Path) -> None:
    """What a service says to its operator at the end is not buried under its log for machines."""
    family = supervisor(
        tmp_path, one="import sys; print('{\"event\":\"starting\"}'); print('one: the file is empty'); sys.exit(2)"
    )
    family.start()
    with pytest.raises(ServiceFailed) as failed:
        until(lambda: family.look_after() == ["never"])
    assert str(failed.value).endswith(":\none: the file is empty")


def test_a_killed_child_is_started_again(tmp_path: Path) -> None:
    """Death is told with its signal, then the start; the others are left alone."""
    family = supervisor(tmp_path, one=FOREVER, two=FOREVER)
    family.start()
    one, two = family.children.values()
    assert one.process is not None
    one.process.kill()
    told: list[str] = []
    until(lambda: told.extend(family.look_after()) or one.starts == 2)  # type: ignore[func-returns-value]
    assert told == ["one ended with signal 9", "one started again"]
    assert one.alive
    assert two.starts == 1
    assert family.stop() == []
    assert not one.alive
    assert not two.alive


@pytest.mark.parametrize(("code", "word"), [(2, "settings"), (4, "another instance")])
def test_what_a_restart_cannot_mend_is_raised_with_the_last_words(tmp_path: Path, code: int, word: str) -> None:
    """Wrong settings and a second instance stop the whole; the reason is in the error."""
    family = supervisor(tmp_path, one=f"import sys; print('MAX_POSITION_PCT=5: no'); sys.exit({code})")
    family.start()
    with pytest.raises(ServiceFailed, match=word) as failure:
        until(lambda: bool(family.look_after()) and False)
    assert "MAX_POSITION_PCT=5: no" in str(failure.value)


def test_the_same_fault_three_times_in_a_row_is_raised(tmp_path: Path) -> None:
    """A fault that comes back at each start is not tried for ever."""
    family = supervisor(tmp_path, one="import sys; print('halts'); sys.exit(3)")
    family.start()
    with pytest.raises(ServiceFailed, match="exit code 3"):
        until(lambda: bool(family.look_after()) and False)
    assert family.children["one"].starts == 3


def test_who_does_not_obey_is_killed(tmp_path: Path) -> None:
    """After the time-out a child that ignores SIGTERM is killed and named."""
    family = supervisor(tmp_path, good=FOREVER, bad=STUBBORN)
    family.start()
    until(lambda: "up" in family.children["bad"].log_tail())
    assert family.stop(timeout_sec=0.3) == ["bad"]
    assert not any(child.alive for child in family.children.values())
    assert family.stop() == []


def test_delays_grow_until_a_child_has_settled(tmp_path: Path) -> None:
    """Each death in a row doubles the wait; 20 quiet seconds begin anew."""
    family = supervisor(tmp_path, one=FOREVER)
    child = family.children["one"]
    waits = []
    for _ in range(8):
        child.start()
        assert child.process is not None
        child.process.kill()
        child.process.wait()
        before = time.monotonic()
        family.look_after()
        assert child.start_again_at is not None
        waits.append(child.start_again_at - before)
    assert [round(wait, 1) for wait in waits] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    child.start()
    child.started_at -= 21
    family.look_after()
    assert child.failures == 0
    family.stop()


def test_no_log_no_last_words(tmp_path: Path) -> None:
    """A child that never ran has nothing to say."""
    assert Child("x", [], {}, tmp_path / "none.log").log_tail() == ""


@pytest.mark.parametrize(
    ("code", "words"),
    [(-9, "signal 9"), (0, "exit code 0 (stopped)"), (3, "exit code 3 (fault)"), (77, "exit code 77")],
)
def test_exit_codes_in_words(code: int, words: str) -> None:
    """Known codes have a name."""
    assert describe_exit(code) == words
