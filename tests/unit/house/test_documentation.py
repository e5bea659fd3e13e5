"""README and handbook: every command they show exists as it is written, and every link leads somewhere."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Any

import click
import pytest
import typer
import yaml

from claire.cli import app
from tests.unit.house.documentation import ROOT, Shown, pages, shown_commands
from tests.unit.house.runners import ELSEWHERE, NOT_RUN, changes_what_runs, claire_line, docker_line, runner

CLAIRE: Any = typer.main.get_command(app)
COMPOSE: Any = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
COMPOSE_VERBS = {"up", "down", "ps", "logs", "exec", "run", "restart", "cp", "stop", "start", "config", "pull", "build"}
SHOWN = shown_commands()


def claire_words(words: list[str]) -> list[str] | None:
    """Return what follows `claire` in a command, also behind `docker compose exec`; None when it is not there."""
    for place, word in enumerate(words):
        if word in {"claire", ".venv/bin/claire"}:
            return words[place + 1 :]
    return None


def check_claire(words: list[str]) -> str | None:
    """Return what is wrong with a command of ours, None when command and options exist and each has its value."""
    if not words or words[0].startswith(("-", "…")):
        return None
    command = CLAIRE.commands.get(words[0])
    if command is None:
        return f"there is no command {words[0]}"
    options: dict[str, Any] = {
        name: parameter
        for parameter in command.params
        if isinstance(parameter, click.Option) or parameter.param_type_name == "option"
        for name in (*parameter.opts, *parameter.secondary_opts)
    }
    rest = [word.strip("[]") for word in words[1:]]
    for place, word in enumerate(rest):
        if not word.startswith("--"):
            continue
        name = word.split("=", 1)[0]
        if name not in options and name != "--help":
            return f"claire {words[0]} has no {name}"
        takes = name in options and not options[name].is_flag and "=" not in word
        if takes and (place + 1 == len(rest) or rest[place + 1].startswith("--")) and "[" not in " ".join(words):
            return f"claire {words[0]} {name} needs a value"
    return None


def check(command: Shown) -> str | None:
    """Return what is wrong with a command that a page shows."""
    words = command.words
    ours = claire_words(words)
    if words[0] == "make":
        target = next((word for word in words[1:] if "=" not in word and not word.startswith("-")), "help")
        return None if target in TARGETS else f"the Makefile has no {target}"
    if words[:2] == ["docker", "compose"] and words[2:] not in ([], ["…"]):
        if not COMPOSE_VERBS.intersection(words[2:]):
            return f"{' '.join(words)}: no verb of docker compose that is used here"
        for word in words:
            if re.fullmatch(r"cdb_[a-z]+", word) and word not in COMPOSE["services"]:
                return f"there is no service {word}"
    if words[0].startswith("backoffice/") and not (ROOT / words[0]).is_file():
        return f"there is no {words[0]}"
    return check_claire(ours) if ours is not None else None


def test_the_pages_show_commands() -> None:
    """The search finds what is known to be there, so that it cannot pass by finding nothing."""
    texts = {(command.page, command.text) for command in SHOWN}
    assert ("README.md", "make paper") in texts
    assert ("README.md", "claire halt") in texts
    assert any("docker compose exec cdb_risk claire halt" in text for _, text in texts)
    assert len(SHOWN) > 80


@pytest.mark.parametrize("command", SHOWN, ids=str)
def test_a_command_that_a_page_shows_exists(command: Shown) -> None:
    """Target, service, command of ours and each of its options are there, under the names that the page uses."""
    assert check(command) is None


@pytest.mark.parametrize("command", SHOWN, ids=str)
def test_a_command_that_a_page_shows_is_run_by_somebody(command: Shown) -> None:
    """By a test here, by one of its own, or it stands in the list of those that are not, with the reason."""
    assert runner(command), f"{command}: no test runs it and runners.py does not say why"


def test_a_line_that_starts_or_stops_containers_has_its_place_in_a_test() -> None:
    """The e2e suite types every line for the stack; of those that change what runs, it knows when."""
    source = (ROOT / "tests" / "e2e" / "test_documented_commands.py").read_text(encoding="utf-8")
    texts = {command.text for command in SHOWN if runner(command) == "stack" and changes_what_runs(command)}

    assert {text for text in texts if f'"{text}"' not in source} == set()
    assert texts


def test_what_is_only_named_is_run_where_it_is_shown_whole() -> None:
    """Each command of ours that a sentence names is shown as a line somewhere, or runs elsewhere."""
    lines = {line[0] for command in SHOWN if (line := claire_line(command)) is not None}
    lines |= {ours[0] for command in SHOWN if docker_line(command) and (ours := claire_words(command.words))}
    named = {command.words[1] for command in SHOWN if runner(command) == "only named" and len(command.words) > 1}

    assert {name for name in named if name in CLAIRE.commands} - lines - set(ELSEWHERE) == set()


def test_each_reason_is_of_a_command_that_is_shown() -> None:
    """A reason for a command that no page shows any more would excuse whatever comes next under that name."""
    for beginning in NOT_RUN:
        assert any(command.text.startswith(beginning) for command in SHOWN), beginning


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_stand_in_blocks_that_say_so(page: Path) -> None:
    """A block of commands begins with ```sh, else its commands would not be found, checked and run."""
    for block in re.findall(r"^```\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        assert not re.search(r"^(claire|make|docker|curl) \w", block, re.MULTILINE), block


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("claire hold", "no command hold"),
        ("claire halt --now", "has no --now"),
        ("claire export --output", "needs a value"),
        ("make papers", "has no papers"),
        ("docker compose exec cdb_riks claire halt", "no service cdb_riks"),
        ("docker compose zap", "docker compose zap"),
        ("backoffice/nothing.sh", "there is no backoffice/nothing.sh"),
    ],
)
def test_a_mistake_would_be_seen(text: str, wrong: str) -> None:
    """Each kind of mistake is named: the check can fail."""
    assert wrong in str(check(Shown("page", text, block=True)))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    found = set()
    for heading in re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
        plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        kept = (c for c in plain if c in "-_ " or unicodedata.category(c)[0] in "LN")
        found.add("".join(kept).strip().replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    """A relative link names a file or folder of the repository, and its anchor a heading there."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        if not linked.exists() or (anchor and anchor not in anchors(linked)):
            dead.append(target)
    assert not dead


def test_what_the_threat_model_calls_tested_is_tested() -> None:
    """Each test file and each test function that security.md names is there."""
    text = (ROOT / "backoffice" / "docs" / "security.md").read_text(encoding="utf-8")
    files = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
    named = set(re.findall(r"`(_?(?:test|check)_\w+(?:\.py)?)`", text))

    assert len(named) > 15
    for name in named:
        assert name in files or any(f"def {name}(" in source for source in files.values()), name
