"""Write the stack's passwords into their volumes the first time; the one-shot container cdb_secrets runs this.

Each consumer has a folder of its own (redis, postgres, grafana, page), so that no container sees more than it needs. A
password that exists is never changed behind the back of a database that knows it; a value given in `.env` is taken
the first time and must stay the same afterwards.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["SECRETS", "Secret", "main", "write_secrets"]

ROOT: Final = Path("/run/claire")
SHORTEST: Final = 12


@dataclass(frozen=True)
class Secret:
    """One password.

    Attributes:
        variable: the name under which `.env` may give it.
        files: where it is written, relative to the folder of all secrets.
        fixed: the server keeps the first password it was started with (PostgreSQL, Grafana); Redis reads it anew.
    """

    variable: str
    files: tuple[str, ...]
    fixed: bool = True


SECRETS: Final = (
    Secret("REDIS_PASSWORD", ("redis/service_password",), fixed=False),
    Secret("REDIS_OPERATOR_PASSWORD", ("redis/operator_password",), fixed=False),
    Secret("REDIS_READONLY_PASSWORD", ("redis/readonly_password",), fixed=False),
    Secret("POSTGRES_SUPERUSER_PASSWORD", ("postgres_server/superuser_password",)),
    Secret("POSTGRES_PASSWORD", ("postgres_server/password", "postgres_writer/password")),
    Secret("POSTGRES_SERVICE_PASSWORD", ("postgres_server/service_password", "postgres/service_password")),
    Secret(
        "POSTGRES_READER_PASSWORD",
        ("postgres_server/reader_password", "grafana/reader_password", "page/reader_password"),
    ),
    Secret("GRAFANA_PASSWORD", ("grafana/admin_password",)),
)


def write_secrets(root: Path, environ: Mapping[str, str]) -> list[str]:
    """Write what is missing; return one line for each mistake (then nothing was written)."""
    wanted: dict[Path, str] = {}
    mistakes: list[str] = []
    for secret in SECRETS:
        given, old = environ.get(secret.variable, ""), _read(root / secret.files[0])
        if given and len(given) < SHORTEST:
            mistakes.append(f"{secret.variable}: at least {SHORTEST} characters are meant, or leave it out")
        elif given and any(character.isspace() or character in "\"'\\" for character in given):
            mistakes.append(f"{secret.variable}: without blanks, quotes and backslashes, please")
        elif given and old and given != old and secret.fixed:
            mistakes.append(
                f"{secret.variable}: the server was set up with another password and keeps it; leave the variable out, "
                "or change the password in the server first (backoffice/docs/security.md)"
            )
        value = given or old or secrets.token_hex(24)
        wanted |= {root / name: value for name in secret.files}
    if not mistakes:
        for path, value in wanted.items():
            _write(path, value)
    return mistakes


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""


def _write(path: Path, value: str) -> None:
    if _read(path) == value:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(value)
        file.flush()
        os.fsync(file.fileno())
    fresh.chmod(0o444)  # servers read it under their own users; only their containers mount the volume
    fresh.replace(path)


def main() -> int:
    """Write the secrets; exit code 2 and one line for each mistake when `.env` gives a bad one."""
    mistakes = write_secrets(ROOT, os.environ)
    sys.stderr.writelines(f"{mistake}\n" for mistake in mistakes)
    return 2 if mistakes else 0


if __name__ == "__main__":
    raise SystemExit(main())
