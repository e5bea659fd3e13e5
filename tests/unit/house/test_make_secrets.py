"""Passwords are made once, never weak, never changed behind the back of a server that keeps the first one."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from backoffice.docker.make_secrets import SECRETS, write_secrets

pytestmark = [pytest.mark.unit, pytest.mark.security]

OURS = "a-value-of-the-operator"


def _all(root: Path) -> dict[str, str]:
    return {path.relative_to(root).as_posix(): path.read_text() for path in sorted(root.rglob("*")) if path.is_file()}


def test_the_first_start_writes_every_password_at_random(tmp_path: Path) -> None:
    """Each file holds a long password; different secrets differ, and two stacks have nothing in common."""
    first, second = tmp_path / "first", tmp_path / "second"

    assert write_secrets(first, {}) == []
    assert write_secrets(second, {}) == []

    written = _all(first)
    assert set(written) == {name for secret in SECRETS for name in secret.files}
    assert all(len(value) >= 32 for value in written.values())
    assert len(set(written.values())) == len(SECRETS)
    assert set(written.values()).isdisjoint(_all(second).values())


def test_the_reader_of_dashboards_has_one_password_in_each_place(tmp_path: Path) -> None:
    """Grafana and the status page know the password that PostgreSQL was given for its reader."""
    write_secrets(tmp_path, {})

    written = _all(tmp_path)

    assert written["postgres_server/reader_password"] == written["grafana/reader_password"]
    assert written["postgres_server/reader_password"] == written["page/reader_password"]


def test_a_later_start_changes_nothing(tmp_path: Path) -> None:
    """Passwords survive restarts, and an empty variable counts as not given."""
    write_secrets(tmp_path, {})
    before = _all(tmp_path)

    assert write_secrets(tmp_path, {"POSTGRES_PASSWORD": ""}) == []

    assert _all(tmp_path) == before


def test_env_gives_a_password_the_first_time(tmp_path: Path) -> None:
    """What `.env` says is taken, and saying it again is fine."""
    environ = {"POSTGRES_PASSWORD": OURS, "REDIS_PASSWORD": OURS + "-2"}

    assert write_secrets(tmp_path, environ) == []
    assert write_secrets(tmp_path, environ) == []

    assert _all(tmp_path)["postgres_server/password"] == _all(tmp_path)["postgres_writer/password"] == OURS
    assert _all(tmp_path)["redis/service_password"] == OURS + "-2"


def test_a_password_that_a_server_keeps_is_not_changed_silently(tmp_path: Path) -> None:
    """PostgreSQL would go on with the first one: nothing is written, and the message names the way."""
    write_secrets(tmp_path, {"POSTGRES_PASSWORD": OURS})
    before = _all(tmp_path)

    mistakes = write_secrets(tmp_path, {"POSTGRES_PASSWORD": OURS + "-new", "REDIS_PASSWORD": OURS + "-new"})

    assert len(mistakes) == 1
    assert "POSTGRES_PASSWORD" in mistakes[0]
    assert OURS not in mistakes[0]
    assert _all(tmp_path) == before


def test_redis_takes_a_new_password_at_its_next_start(tmp_path: Path) -> None:
    """Redis reads its file at each start, so a changed variable is written."""
    write_secrets(tmp_path, {})

    assert write_secrets(tmp_path, {"REDIS_PASSWORD": OURS}) == []

    assert _all(tmp_path)["redis/service_password"] == OURS


@pytest.mark.parametrize("weak", ["short", "with a blank in it", 'with"quote-mark', "back\\slash-in-it"])
def test_weak_and_dangerous_passwords_are_refused(tmp_path: Path, weak: str) -> None:
    """Too short, or with a character that a configuration file could misread: refused, nothing is written."""
    mistakes = write_secrets(tmp_path, {"GRAFANA_PASSWORD": weak})

    assert len(mistakes) == 1
    assert mistakes[0].startswith("GRAFANA_PASSWORD: ")
    assert _all(tmp_path) == {}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such file modes; the container is Linux")
def test_files_are_read_only(tmp_path: Path) -> None:
    """Servers read them under their own users, nobody writes them in place, and no half-written file is left."""
    write_secrets(tmp_path, {})

    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*") if path.is_file()}

    assert modes == {0o444}
    assert not list(tmp_path.rglob("*.new"))
