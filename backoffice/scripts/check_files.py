"""Look over the files that no compiler reads: YAML, TOML, JSON and Dockerfile are well formed, and nothing is secret.

Every file that git knows (or would add) is looked at for

* text that has the form of a key, a token or a private key (a line may be excused with `not a secret: <reason>`),
* paths of one person's machine, conflict markers, CRLF line ends, a missing newline at the end,
* YAML, TOML and JSON that do not parse; a workflow job without `runs-on`, a time limit or pinned actions;
* what the image build of every engine must understand: no `# syntax=` line and no here-document in a Dockerfile.

Usage: `python backoffice/scripts/check_files.py [FILE …]`; exit code 1 when something was found.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import yaml

__all__ = ["check_text", "main", "repository_files"]

ROOT: Final = Path(__file__).resolve().parents[2]
BINARY_SUFFIXES: Final = frozenset({".gz", ".zst", ".png", ".jpg", ".ico", ".whl", ".woff2"})
LARGEST_BYTES: Final = 2_000_000

SECRET_FORMS: Final = (
    ("a private key", re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")),
    ("a MEXC access key", re.compile(r"\bmx0[A-Za-z0-9]{12,}\b")),
    ("an AWS access key", re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b")),
    ("a GitHub token", re.compile(r"\b(gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,})\b")),
    ("a chat token", re.compile(r"\b(xox[abprs]-[A-Za-z0-9-]{10,}|\d{8,10}:AA[A-Za-z0-9_-]{30,})\b")),
    ("a Grafana token", re.compile(r"\bgl(c|sa)_[A-Za-z0-9+/=_]{20,}")),
    (
        "a value that looks secret",
        re.compile(
            r"""(?ix) \b[a-z_]*(secret|password|passwd|token|api_?key|access_?key)[a-z_]*["']? \s*[:=]\s*
                ["']? (?=[A-Za-z0-9+/_-]*[0-9]) (?=[A-Za-z0-9+/_-]*[A-Za-z]) [A-Za-z0-9+/_-]{24,} ["']?"""
        ),
    ),
)
_EXCUSE: Final = re.compile(r"not a secret: \S")
_HOME: Final = re.compile(r"(?<![\w.])/(home|Users)/(?!runner\b)[a-z][\w.-]*/")
_CONFLICT: Final = re.compile(r"^(<{7} |>{7} |={7}$)")


def repository_files() -> list[Path]:
    """Return every file that is in the repository or would come in with `git add`."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout.decode()
    return [path for name in sorted(filter(None, listed.split("\0"))) if (path := ROOT / name).is_file()]


def check_text(name: str, text: str) -> Iterator[tuple[int, str]]:
    """Yield line number and message of everything that is wrong in one text file."""
    for number, line in enumerate(text.split("\n"), 1):
        if not _EXCUSE.search(line):
            yield from ((number, f"{what}: secrets never stand in the repository") for what in _secrets(line))
        if _CONFLICT.match(line):
            yield number, "conflict marker"
        if _HOME.search(line):
            yield number, "a path of one person's machine"
        if line.endswith("\r"):
            yield number, "CRLF line end; LF is meant"
    if text and not text.endswith("\n"):
        yield text.count("\n") + 1, "the last line has no newline"
    yield from _check_form(name, text)


def _secrets(line: str) -> list[str]:
    return [what for what, form in SECRET_FORMS if form.search(line)]


def _check_form(name: str, text: str) -> Iterator[tuple[int, str]]:
    try:
        if name.endswith((".yml", ".yaml")):
            documents = list(yaml.safe_load_all(text))
            if ".github/workflows/" in name:
                yield from _check_workflow(documents[0])
        elif name.endswith(".toml"):
            tomllib.loads(text)
        elif name.endswith(".json"):
            json.loads(text)
        elif Path(name).name.startswith("Dockerfile"):
            yield from _check_dockerfile(text)
    except (yaml.YAMLError, ValueError) as error:
        yield 1, f"does not parse: {' '.join(str(error).split())}"


def _check_workflow(workflow: object) -> Iterator[tuple[int, str]]:
    jobs = workflow.get("jobs") if isinstance(workflow, dict) else None
    if not isinstance(jobs, dict) or not jobs:
        yield 1, "a workflow without jobs"
        return
    if "permissions" not in workflow:  # type: ignore[operator]  # it is a dict: jobs came from it
        yield 1, "a workflow without `permissions`: it would get a token that may write"
    for name, job in jobs.items():
        for key in ("runs-on", "timeout-minutes", "steps"):
            if key not in job:
                yield 1, f"job {name} has no `{key}`"
        for step in job.get("steps", ()):
            if "uses" in step and not re.search(r"@(v\d|[0-9a-f]{40})", step["uses"]):
                yield 1, f"job {name}: {step['uses']} is not pinned to a version"
            if ("uses" in step) == ("run" in step):
                yield 1, f"job {name}: a step either uses an action or runs a command"


def _check_dockerfile(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(r"#\s*syntax\s*=", line):
            yield number, "`# syntax` makes the build pull a frontend from a registry"
        if re.match(r"\s*(RUN|COPY)\b.*<<-?\s*['\"]?[A-Z]", line):
            yield number, "here-documents are not understood by every engine"


def main(arguments: list[str]) -> int:
    """Check the named files, or all of the repository."""
    paths = [Path(argument).resolve() for argument in arguments] or repository_files()
    found = 0
    for path in paths:
        name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.as_posix()
        if path.stat().st_size > LARGEST_BYTES:
            sys.stdout.write(f"{name}: over {LARGEST_BYTES // 1_000_000} MB; large files do not belong here\n")
            found += 1
        if path.suffix in BINARY_SUFFIXES:
            continue
        try:
            text = path.read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            sys.stdout.write(f"{name}: not UTF-8 text, and no known binary form\n")
            found += 1
            continue
        for line, message in check_text(name, text):
            sys.stdout.write(f"{name}:{line}: {message}\n")
            found += 1
    sys.stdout.write(f"files: {found} findings\n" if found else f"files: {len(paths)} looked over, nothing found\n")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
