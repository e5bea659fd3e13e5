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
    if words[:2] == ["docker", "compose"]:
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
