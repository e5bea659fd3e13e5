"""Write what can be measured into `backoffice/PROJECT_STATUS.md`, between its two marks; the words around are people's.

Measured are: tests by kind (collected now), coverage by package (of the last `make test`, `.coverage.json`), what the
product has (commands, settings, metrics, alert rules, dashboards, reject codes) and how large it is.

Usage: `python backoffice/scripts/make_status.py` (`make status`).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import typer
import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from backoffice.scripts.check_coverage import judge  # noqa: E402 - runs without an installation
from claire.cli import app  # noqa: E402

__all__ = ["BEGIN", "END", "PAGE", "main", "measured", "replace"]

PAGE: Final = ROOT / "backoffice" / "PROJECT_STATUS.md"
BEGIN: Final = "<!-- gemessen: Anfang (make status) -->"
END: Final = "<!-- gemessen: Ende -->"

KINDS: Final = (
    ("`make test`", "not e2e and not local_only and not slow"),
    ("`make test-local`", "(slow or local_only) and not e2e"),
    ("`make test-e2e`", "e2e"),
)


def replace(page: str, facts: str) -> str:
    """Return the page with other facts between its marks.

    Raises:
        ValueError: a mark is missing.
    """
    if BEGIN not in page or END not in page:
        raise ValueError(f"{PAGE.name} needs the lines {BEGIN!r} and {END!r}")
    head, rest = page.split(BEGIN, 1)
    return f"{head}{BEGIN}\n\n{facts}\n{END}{rest.split(END, 1)[1]}"


def measured() -> str:
    """Return the tables of facts as Markdown."""
    return "\n".join([*_table("Tests", _tests()), *_table("Abdeckung", _coverage()), *_table("Umfang", _extent())])


def _table(title: str, rows: Iterator[tuple[str, str]]) -> list[str]:
    return [f"**{title}**", "", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows), ""]


def _tests() -> Iterator[tuple[str, str]]:
    for name, marker in KINDS:
        command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-m", marker]
        told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
        counted = re.search(r"(\d+)(?:/\d+)? tests? collected", told)
        yield name, f"{counted[1]} Tests" if counted else "nicht zu zählen"


def _coverage() -> Iterator[tuple[str, str]]:
    report = ROOT / ".coverage.json"
    if not report.exists():
        yield "nicht gemessen", "erst `make test`"
        return
    with (ROOT / "pyproject.toml").open("rb") as file:
        minimums = tomllib.load(file)["tool"]["claire"]["coverage"]
    for package in judge(json.loads(report.read_text(encoding="utf-8")), minimums):
        if package.wanted:
            yield f"`{package.folder}`", f"{package.percentage:.1f} % (mindestens {package.minimum:g} %)"


def _extent() -> Iterator[tuple[str, str]]:
    commands: Any = typer.main.get_command(app)
    yield "Befehle von `claire`", str(len(commands.commands))
    settings = re.findall(
        r"^#?\s?([A-Z][A-Z0-9_]+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE
    )
    yield "Einstellungen in `.env.example`", str(len(set(settings)))
    metrics = (ROOT / "backoffice" / "docs" / "metriken.md").read_text(encoding="utf-8")
    yield "Kennzahlen", str(len(set(re.findall(r"^\| `(cdb_\w+)`", metrics, re.MULTILINE))))
    rules = [
        rule
        for path in sorted((ROOT / "backoffice" / "monitoring" / "prometheus" / "rules").glob("*.yml"))
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]
    yield "Alarme", str(len(rules))
    yield (
        "Grafana-Bilder",
        str(len(list((ROOT / "backoffice" / "monitoring" / "grafana" / "dashboards").glob("*.json")))),
    )
    yield "Abläufe für den Ernstfall", str(len(list((ROOT / "backoffice" / "docs" / "runbooks").glob("*.md"))) - 1)
    for folder in ("services", "claire", "tests"):
        files = [path for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts]
        lines = sum(path.read_bytes().count(b"\n") for path in files)
        yield f"Zeilen in `{folder}/`", f"{lines:,} in {len(files)} Dateien".replace(",", ".")


def main() -> int:
    """Write the page."""
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(replace(page, measured()), encoding="utf-8", newline="\n")
    sys.stdout.write(f"{PAGE.relative_to(ROOT).as_posix()}: written\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
