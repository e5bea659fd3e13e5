"""What the commands of `claire` share: reading options, and ending with the fix and an exit code.

Exit codes, where a command says nothing else of itself: 0 done, 1 it could not go on, or what was looked at does not
hold; 2 used wrongly, or what was given (option, setting, file, folder, address) cannot be used. `refusing` alone turns
errors into them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from claire.page import PORT_AFTER_FIRST
from services.common.errors import ClaireError, ContractViolation, InputUnusable, SettingsInvalid
from services.common.timestamps import parse_timestamp

__all__ = ["FIRST_PORT", "FirstPort", "RunningFolder", "parse_moment", "parse_settings", "refuse", "refusing"]

RunningFolder = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder of a running claire up (default: data/paper, then Docker).")
]
FIRST_PORT: Any = typer.Option(
    "--first-port", metavar="PORT", help="HTTP port of cdb_ws; the others follow.", min=1, max=65_535 - PORT_AFTER_FIRST
)
FirstPort = Annotated[int | None, FIRST_PORT]


def refuse(message: str, code: int = 2) -> NoReturn:
    """End the command with a message on standard error: 2 used wrongly or settings are wrong, 1 could not go on."""
    Console(stderr=True).print(message, style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code)


@contextmanager
def refusing() -> Iterator[None]:
    """Turn an error into its text and exit code: 2 when what was given cannot be used, 1 for any other."""
    try:
        yield
    except (InputUnusable, ContractViolation) as unusable:
        refuse(str(unusable))
    except ClaireError as error:
        refuse(str(error), 1)


def parse_settings(pairs: Iterable[str]) -> dict[str, str]:
    """Return the settings of `--set NAME=VALUE` options.

    Raises:
        SettingsInvalid: not NAME=VALUE, or a name that no service reads; with the nearest one.
    """
    from claire.stack import known_settings

    known = known_settings()
    settings = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise SettingsInvalid(f"--set {pair}: NAME=VALUE is meant, for example --set MAX_POSITION_PCT=0.05")
        if name not in known:
            near = difflib.get_close_matches(name.upper(), known, n=1)
            raise SettingsInvalid(
                f"--set {pair}: there is no setting {name}" + (f"; perhaps {near[0]}" if near else "")
            )
        settings[name] = value
    return settings


def parse_moment(option: str, text: str) -> int:
    """Return a moment given as a day (00:00 UTC) or in ISO 8601, in microseconds since the epoch.

    Raises:
        SettingsInvalid: it is neither.
    """
    try:
        moment = datetime.fromisoformat(text)
        return parse_timestamp(moment.replace(tzinfo=moment.tzinfo or UTC).isoformat())
    except ValueError:
        raise SettingsInvalid(
            f"{option} {text}: a day or a time in UTC is meant, as 2021-05-19 or 2021-05-19T13:00"
        ) from None
