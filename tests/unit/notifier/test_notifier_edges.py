"""What comes from outside the journal is validated and bounded: addresses, settings, webhooks, the outbox."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import flask
import pytest
from pydantic import SecretStr

from services.cdb_notifier.adapters.door import Door
from services.cdb_notifier.adapters.memory import Memory
from services.cdb_notifier.adapters.targets import read_targets
from services.cdb_notifier.message import Level, Message
from services.cdb_notifier.outbox import MOST_WAITING, Outbox
from services.cdb_notifier.settings import NotifierSettings, quiet_minutes
from services.cdb_notifier.webhook import MOST_BYTES, read_webhook
from services.common.errors import ContractViolation, SettingsInvalid, StateMismatch
from services.common.journal.entry import JournalId
from services.common.runtime.run_clock import RunClock
from services.common.settings import load_settings, read_environment
from tests.unit.notifier.notifier_desk import Desk

pytestmark = [pytest.mark.unit, pytest.mark.security]


def message(level: Level = "WARNING", title: str = "t") -> Message:
    """A message."""
    return Message(level, title, "b", 0)


def payload(**alert: Any) -> bytes:
    """What Alertmanager posts about one alert."""
    body = {"status": "firing", "labels": {"alertname": "ClockStalled", "severity": "critical"}, **alert}
    return json.dumps({"version": "4", "status": "firing", "alerts": [body]}).encode()


# addresses and settings


def test_several_addresses_with_levels_and_separators() -> None:
    """Commas, blanks and line ends separate; LEVEL= in front is that one's least level; doubled ones count once."""
    urls = "json://127.0.0.1/a?x=1,2 CRITICAL=xml://127.0.0.1/b,\n json://127.0.0.1/a?x=1,2"

    targets = read_targets(SecretStr(urls))

    assert [(target.name, target.least) for target in targets] == [("1 (json)", "INFO"), ("2 (xml)", "CRITICAL")]
    assert read_targets(SecretStr("  ")) == []


def test_a_wrong_address_is_named_by_its_place_alone() -> None:
    """All mistakes at once, and nothing of the address: it is a secret."""
    with pytest.raises(SettingsInvalid) as refused:
        read_targets(SecretStr("json://127.0.0.1/ok nosuch://hunter2/x tgram://hunter2"))

    assert "address 2 is none" in str(refused.value)
    assert "address 3 is none" in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_nothing_shows_an_address() -> None:
    """Neither the settings nor a target say it in any text of theirs."""
    settings = load_settings(NotifierSettings, {"NOTIFY_URLS": "json://127.0.0.1/hunter2"})

    shown = f"{settings!r} {settings} {read_targets(settings.NOTIFY_URLS)!r}"

    assert "hunter2" not in shown


def test_addresses_may_stand_in_a_file(tmp_path: Path) -> None:
    """NOTIFY_URLS_FILE, as a compose secret."""
    secret = tmp_path / "urls"
    secret.write_text("json://127.0.0.1/x\n")

    assert read_environment({"NOTIFY_URLS_FILE": str(secret)})["NOTIFY_URLS"] == "json://127.0.0.1/x"


@pytest.mark.parametrize("text", ["22-7", "24:00-07:00", "07:00-07:00", "always"])
def test_quiet_hours_that_are_none_are_refused_with_an_example(text: str) -> None:
    """A wrong span stops the start instead of waking or silencing somebody."""
    with pytest.raises(SettingsInvalid, match=r"NOTIFY_QUIET_HOURS"):
        load_settings(NotifierSettings, {"NOTIFY_QUIET_HOURS": text})
    assert quiet_minutes("") is None
    assert quiet_minutes("22:30 - 07:15") == (1350, 435)


# webhooks


def test_a_webhook_becomes_notices() -> None:
    """Name, severity, labels, summary and runbook are taken over; a resolved alert is the all-clear."""
    firing = read_webhook(payload(annotations={"summary": "no tick", "runbook_url": "uhr-steht.md"}))[0]
    over = read_webhook(payload(status="resolved", annotations={"description": "no tick"}))[0]
    plain = read_webhook(payload(labels={"service": "cdb_ws"}))[0]

    assert (firing.level, firing.code, firing.text) == ("CRITICAL", "ClockStalled", "no tick")
    assert firing.context == {"runbook": "uhr-steht.md"}
    assert (over.level, over.code, over.text) == ("WARNING", "ClockStalled_RESOLVED", "over: no tick")
    assert (plain.level, plain.code, plain.context) == ("INFO", "UNNAMED", {"service": "cdb_ws"})


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{", b'{"version":"4","alerts":[]}',
        b'{"version":"3","alerts":[{"status":"firing","labels":{}}]}',
        b'{"version":"4","alerts":[{"status":"burning","labels":{}}]}',
        b'{"version":"4","alerts":[{"status":"firing"}]}',
        json.dumps({"version": "4", "alerts": [{"status": "firing", "labels": {"a": "x" * 5000}}]}).encode(),
        json.dumps({"version": "4", "alerts": [{"status": "firing", "labels": {}}] * 101}).encode(),
        b" " * (MOST_BYTES + 1), b"\xff",
    ],
)  # fmt: skip
def test_what_is_no_webhook_is_refused(body: bytes) -> None:
    """Bounded in every direction, never a crash."""
    with pytest.raises(ContractViolation):
        read_webhook(body)


def test_text_from_outside_is_plain() -> None:
    """No control characters, no change of direction, bounded."""
    notice = read_webhook(payload(annotations={"summary": "a\x1b[31mb\u202ec" + "x" * 4000}))[0]

    assert notice.text.startswith("a [31mb c")
    assert len(notice.text) == 1000


def post(door: Door, body: bytes, mimetype: str = "application/json") -> int:
    """Knock."""
    app = flask.Flask("test")
    door.hang(app)
    return int(app.test_client().post("/alertmanager", data=body, content_type=mimetype).status_code)


def test_the_door_answers_only_when_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """200 after the work loop has it on disk; 503 when that takes too long or the service ends."""
    door = Door()
    kept: list[str] = []

    def loop() -> None:
        while not kept:
            for knock in door.take():
                kept.append(knock.notices[0].code)
                knock.answer()

    worker = threading.Thread(target=loop)
    worker.start()
    answered = post(door, payload())
    worker.join()
    monkeypatch.setattr("services.cdb_notifier.adapters.door.PATIENCE_SEC", 0.01)
    ignored = post(door, payload())
    door.close()

    assert (answered, ignored, post(door, payload())) == (200, 503, 503)
    assert kept == ["ClockStalled"]


def test_the_door_refuses_what_a_web_page_could_send_and_what_is_too_much() -> None:
    """A form or plain text of another origin is no webhook; too many bytes are not even read."""
    door = Door()

    assert post(door, payload(), "text/plain") == 415
    assert post(door, b"{}") == 400
    assert post(door, b" " * (MOST_BYTES + 1)) == 413
    assert door.take() == []


# the outbox


def test_a_message_leaves_only_when_every_target_has_taken_it() -> None:
    """One target that is down neither loses it nor has it sent twice to the other."""
    outbox = Outbox({"a": "INFO", "b": "INFO"})
    waiting = outbox.add(message())
    assert waiting is not None

    assert outbox.done(1, "a") is None
    assert (outbox.pending("a"), [one.number for one in outbox.pending("b")]) == ([], [1])
    assert outbox.done(1, "a") is None
    assert outbox.done(1, "b") is waiting
    assert outbox.state.waiting == []


def test_each_target_gets_its_levels_the_most_serious_first() -> None:
    """A pager from CRITICAL on sees nothing else; a backlog begins with what matters; without targets nothing waits."""
    outbox = Outbox({"all": "INFO", "pager": "CRITICAL"})
    for level in ("INFO", "CRITICAL", "WARNING", "CRITICAL"):
        outbox.add(message(level))

    assert [one.number for one in outbox.pending("all")] == [2, 4, 3, 1]
    assert [one.number for one in outbox.pending("pager")] == [2, 4]
    assert Outbox({}).add(message("CRITICAL")) is None


def test_a_full_outbox_gives_up_the_oldest_info_first_and_counts_it() -> None:
    """Then warnings; what is CRITICAL goes last."""
    outbox = Outbox({"a": "INFO"})
    outbox.add(message("INFO"))
    outbox.add(message("WARNING"))
    for _ in range(MOST_WAITING):
        outbox.add(message("CRITICAL"))

    assert outbox.state.dropped == {"INFO": 1, "WARNING": 1}
    assert {one.message.level for one in outbox.state.waiting} == {"CRITICAL"}


def test_memory_survives_and_forgets_targets_that_are_gone(tmp_path: Path) -> None:
    """Place, state, outbox and clock come back together; a message that only a removed target wanted is taken off."""
    desk, outbox = Desk(), Outbox({"a": "INFO", "b": "CRITICAL"})
    desk.alert("MARKS_STALE", "WARNING", key="x")
    outbox.add(message("CRITICAL", "both"))
    outbox.add(message("INFO", "only a"))
    memory = Memory(tmp_path)
    clock, again = RunClock(), RunClock()
    clock.now, clock.run_id, clock.finished = 7, "run-1", True
    memory.save(JournalId(2, 77), desk.machine, outbox, clock)

    machine, restored = desk.make(), Outbox({"b": "CRITICAL"})
    place = memory.load(machine, restored, again)

    assert place == JournalId(2, 77)
    assert [one.message.title for one in restored.pending("b")] == ["both"]
    assert len(restored.state.waiting) == 1
    assert machine.dump() == desk.machine.dump()
    assert again.dump() == clock.dump()


@pytest.mark.parametrize("spoil", [lambda data: data[:-5], lambda _: b"", lambda data: data.replace(b"both", b"BOTH")])
def test_a_spoilt_memory_is_put_aside(tmp_path: Path, spoil: Any) -> None:
    """It is not believed, not lost, and the service starts."""
    desk, outbox = Desk(), Outbox({"a": "INFO"})
    outbox.add(message(title="both"))
    memory = Memory(tmp_path)
    memory.save(JournalId(1, 1), desk.machine, outbox, RunClock())
    path = tmp_path / "notifier.json"
    path.write_bytes(spoil(path.read_bytes()))

    assert memory.load(desk.make(), Outbox({"a": "INFO"}), RunClock()) is None
    assert (tmp_path / "notifier.json.unusable").exists()
    with pytest.raises(StateMismatch):
        outbox.restore({"waiting": 1})
