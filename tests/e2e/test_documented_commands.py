"""README and handbook are run on real containers: each `docker …` and `curl …` line that they show.

What only looks or commands is run on the stack of the tests, in the order of the pages. What stops, deletes or starts
containers is run by the tests below it, in the order in which a page has a reader do it. tests/unit/house/runners.py
says which commands nobody runs, and why.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from services.cdb_sandbox.house import SandboxOptions
from tests.e2e.stack import FILES, OFFSET, PORTS, PROJECT, PUBLISHED, ROOT, Stack, eventually
from tests.unit.house.documentation import Shown, shown_commands
from tests.unit.house.runners import NOT_RUN, changes_what_runs, docker_line

SANDBOX = "backoffice/docker/sandbox.env"
WHO = ["--by", "ada", "--reason", "e2e"]
ENDS_WITH = {"doctor": {0, 1}}  # 1: it found something to tell of this stack
"""Exit codes that are right; 0 where it is not named."""


def _shown() -> dict[str, Shown]:
    """Return each line once, under its text."""
    return {
        command.text: command
        for command in reversed(shown_commands())
        if docker_line(command) is not None and command.text not in NOT_RUN
    }


SHOWN = _shown()
LOOKS = [command for command in reversed(SHOWN.values()) if not changes_what_runs(command)]
OF_THE_STACK = [command for command in LOOKS if SANDBOX not in command.text]
ran: set[str] = set()


class Reader:
    """Types what a page shows, on the stack of the tests instead of the daily one."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack = stack
        self.folder = folder
        self.backup = ""

    def types(self, text: str, settings: dict[str, str] | None = None) -> str:
        """Run the line that a page shows with exactly this text, what it may end with is checked.

        `settings` stand for what a `.env` would say.

        Raises:
            KeyError: no page shows it (any more).
        """
        command = SHOWN[text]
        ran.add(text)
        words = self._filled(command.words)
        done = subprocess.run(
            words,
            cwd=ROOT,
            env={**os.environ, **PUBLISHED, **(settings or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        expected = next((codes for verb, codes in ENDS_WITH.items() if verb in words), {0})
        assert done.returncode in expected, (
            f"{command}\n{' '.join(words)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        )
        return done.stdout

    def _filled(self, words: list[str]) -> list[str]:
        """Put the tests' project, ports and files where the page has its own."""
        if words[0] == "curl":
            words = [word.replace("800x", "8004") for word in words]
            return [re.sub(r"(?<=:)\d{4}(?=/)", lambda port: str(int(port[0]) + OFFSET), word) for word in words]
        words = [
            word.replace("DATEI", self.backup)
            .replace("./backups", str(self.folder))
            .replace("cdb_…", "cdb_core")
            .replace("claire_de_binare_", f"{PROJECT}_" if "volume" in words else "claire_de_binare_")
            for word in words
        ]
        if words[1] != "compose":
            return words
        if SANDBOX in words:
            return self._with_images(words)
        if "backoffice/docker/live.yml" in words:
            return self._with_images(["docker", "compose", "--env-file", SANDBOX, *words[2:]])
        if words[2] == "-p":
            del words[2:4]
        if words[2:4] == ["-f", "docker-compose.yml"]:
            del words[2:4]
        files = [part for path in FILES for part in ("-f", str(path))]
        return self._with_images(
            ["docker", "compose", "-p", PROJECT, *files, "--env-file", os.devnull, *words[2:]],
        )

    def _with_images(self, words: list[str]) -> list[str]:
        """Name the services when an image cannot be had here: `up` alone would want to pull it."""
        services = self.stack.services
        if "up" not in words or any(word.startswith("cdb_") for word in words) or "cdb_grafana" in services:
            return words
        if SANDBOX in words or "sandbox" in words:
            return [*words, *(name for name in services if not name.startswith("e2e_")), "cdb_sandbox"]
        return [*words, *services]


@pytest.fixture(scope="module")
def reader(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A reader before a stack that is well."""
    folder = tmp_path_factory.mktemp("backups")
    folder.chmod(0o755)
    eventually(lambda: stack.rows("SELECT 1 FROM event_store.cursor"), "events are stored")
    yield Reader(stack, folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("command", OF_THE_STACK, ids=str)
def test_a_line_of_the_pages(reader: Reader, command: Shown) -> None:
    """It ends as the page says, on a stack that is well before and after."""
    if "cdb_grafana" in command.words and "cdb_grafana" not in reader.stack.services:
        pytest.skip("no image of Grafana can be had here")
    reader.types(command.text)
    if "restart" in command.words:
        reader.stack.await_healthy()


def test_what_was_halted_goes_on(reader: Reader) -> None:
    """The lines above have halted trading in each of the ways that the pages show: it is halted, and can be resumed."""
    status = json.loads(reader.stack.execute("cdb_risk", "claire", "status", "--json"))
    assert status["trading_state"] in {"HALTED", "FROZEN"}
    reader.stack.execute("cdb_risk", "claire", "resume", *WHO)


def test_the_page_about_a_lost_database(reader: Reader) -> None:
    """disaster-recovery.md from top to bottom: PostgreSQL lost, restored from the backup; Redis had what came after."""
    stack = reader.stack
    reader.types("docker compose exec cdb_writer claire backup --dsn env --output /backups --keep 14")
    reader.types("docker compose cp cdb_writer:/backups/. ./backups")
    reader.backup = max(reader.folder.glob("*.backup")).name
    last = int(stack.rows("SELECT max(seq) AS seq FROM event_store.events")[0]["seq"])

    reader.types("docker compose down")
    reader.types("docker volume rm claire_de_binare_postgres_data")
    reader.types("docker compose up -d cdb_postgres cdb_redis")
    stack.await_healthy("cdb_postgres", "cdb_redis")
    reader.types("docker compose run --rm --no-deps cdb_writer claire restore /backups/DATEI --dsn env")
    reader.types("docker compose up -d")
    stack.await_healthy()

    eventually(lambda: stack.rows("SELECT 1 FROM event_store.events WHERE seq > %s", last), "what Redis had, and more")
    assert "events hold" in stack.execute("cdb_writer", "claire", "validate", "--dsn", "env")


def test_the_page_about_a_backup_from_elsewhere(reader: Reader) -> None:
    """Both servers are lost: a file from outside is restored, and no snapshot of the time after it is believed."""
    stack = reader.stack
    reader.types("docker compose down")
    reader.types("docker volume rm claire_de_binare_postgres_data")
    reader.types("docker volume rm claire_de_binare_redis_data")
    reader.types("docker compose up -d cdb_postgres cdb_redis")
    stack.await_healthy("cdb_postgres", "cdb_redis")
    reader.types("docker compose run --rm --no-deps -v ./backups:/in:ro cdb_writer claire restore /in/DATEI --dsn env")
    reader.types("docker compose up -d --build")
    stack.await_healthy()
    eventually(lambda: stack.rows("SELECT 1 FROM event_store.events WHERE epoch > 1000"), "it goes on, epochs later")


def test_the_page_about_passwords(reader: Reader) -> None:
    """A stack whose containers are made anew is well again; then it goes, with its volumes."""
    reader.types("docker compose up -d --force-recreate")
    reader.stack.await_healthy()
    urls = reader.folder / "urls"
    urls.write_text("json://e2e_receiver:8099/hook")
    reader.types(
        "docker compose -f docker-compose.yml -f backoffice/docker/notify.yml up -d", {"NOTIFY_URLS_FILE": str(urls)}
    )
    reader.stack.await_healthy()
    reader.types("docker compose down -v")
    reader.stack.profile = None


def test_the_profile_of_the_sandbox_is_enough(reader: Reader) -> None:
    """Without a setting and without the internet: healthy market data of every default symbol, and gone again."""
    stack = reader.stack
    reader.types("docker compose --profile sandbox up -d --build", {"E2E_FEED": "mexc_spot"})
    eventually(lambda: stack.health("cdb_ws") == "healthy", "market data come", 120)
    shown = requests.get(f"http://127.0.0.1:{OFFSET + 8000}/status", timeout=5).json()["exchange"]
    assert shown["rest"] == "http://cdb_sandbox:8100"
    assert all(float(one["age_sec"]) < 30 for one in shown["instruments"].values()), (
        "SOLUSDT too, which has no recording"
    )
    reader.types("docker compose --profile sandbox down -v")
    stack.profile = None


def test_the_page_about_the_sandbox(reader: Reader) -> None:
    """The whole stack with the settings for the sandbox: healthy, with its own volumes, and gone."""
    try:
        reader.types("docker compose --env-file backoffice/docker/sandbox.env up -d --build --wait")
        assert requests.get(f"http://127.0.0.1:{OFFSET + 8000}/health", timeout=5).json()["status"] == "ok"
        said = reader.types("docker compose --env-file backoffice/docker/sandbox.env exec cdb_risk claire status")
        assert "mexc_spot" in said
    finally:
        reader.types("docker compose --env-file backoffice/docker/sandbox.env down -v")


def test_the_page_about_live_trading(reader: Reader, tmp_path: Path) -> None:
    """With the overlay cdb_execution reads keys from files and reaches the exchange (here the sandbox): it is live."""
    account = next(iter(SandboxOptions().customers))
    files = {"MEXC_API_KEY_FILE": account.api_key, "MEXC_API_SECRET_FILE": account.api_secret}
    live = {"TRADING_MODE": "live", "CONFIRM_LIVE_TRADING": "yes", "REDIS_APPENDFSYNC": "always"}
    for name, value in files.items():
        (tmp_path / name).write_text(value)
        (tmp_path / name).chmod(0o444)
    settings = {**live, **{name: str(tmp_path / name) for name in files}}
    reader.stack.down()
    try:
        reader.types("docker compose -f docker-compose.yml -f backoffice/docker/live.yml up -d --build", settings)

        def compared() -> bool:
            status = requests.get(f"http://127.0.0.1:{PORTS['cdb_execution']}/status", timeout=5).json()
            last = (status.get("machine") or {}).get("reconciliation") or {}
            return last.get("verdict") in {"opened", "agreed"} and last["differences"] == 0

        eventually(compared, "books and account are compared", 90)
    finally:
        reader.types("docker compose --env-file backoffice/docker/sandbox.env down -v")


def test_every_line_was_typed() -> None:
    """Nothing that the pages show was left out (but Grafana's password, where no image of it can be had)."""
    assert {text for text in SHOWN if text not in ran and "cdb_grafana" not in text} == set()
