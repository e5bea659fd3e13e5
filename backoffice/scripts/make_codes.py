"""Write the handbook's table of codes to `backoffice/docs/codes.md`, from the enums that the services decide with.

Usage: `python backoffice/scripts/make_codes.py [--check]`; with `--check` nothing is written and the exit code is 1
when the page is out of date.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from services.cdb_execution.codes import (  # noqa: E402 - runs without an installation
    CancelCode,
    ExpiryCode,
    RejectCode,
    UnknownCode,
    ValidationCode,
)
from services.cdb_risk.codes import MEANINGS  # noqa: E402

__all__ = ["PAGE", "main", "page"]

PAGE: Final = ROOT / "backoffice" / "docs" / "codes.md"

_INTRODUCTION: Final = """# Codes

Erzeugt aus `services/cdb_risk/codes.py` und `services/cdb_execution/codes.py` (`make schemas`), nicht von Hand ändern.
Die Namen sind fest, die Bedeutung steht auf Englisch, wie im Code.
"""


def page() -> str:
    """Return the text of the page."""
    tables = (
        ("Was eine Risikoschicht findet (`risk_decision.layers[].code`)", MEANINGS.items()),
        ("Warum execution eine Order ablehnt (REJECTED)", ((code, code.meaning) for code in RejectCode)),
        ("Warum eine Order ohne Ausführung endet (EXPIRED)", ((code, code.meaning) for code in ExpiryCode)),
        ("Warum der Rest einer Order aufgegeben wird (CANCELED)", ((code, code.meaning) for code in CancelCode)),
        ("Wie eine Order im Schattenbetrieb geprüft wurde (NEW)", ((code, code.meaning) for code in ValidationCode)),
        ("Warum niemand weiß, was aus einer Order wurde (UNKNOWN)", ((code, code.meaning) for code in UnknownCode)),
    )
    return _INTRODUCTION + "".join(_table(title, rows) for title, rows in tables)


def _table(title: str, rows: Iterable[tuple[str, str]]) -> str:
    lines = [f"| `{code}` | {meaning} |" for code, meaning in rows]
    return "\n".join(["", f"## {title}", "", "| Code | Bedeutung |", "|---|---|", *lines, ""])


def main(arguments: list[str]) -> int:
    """Write the page, or with `--check` tell whether it is up to date."""
    current = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    if "--check" not in arguments:
        PAGE.write_text(page(), encoding="utf-8", newline="\n")
    elif current != page():
        sys.stdout.write("backoffice/docs/codes.md: out of date; run `make schemas`\n")
        return 1
    sys.stdout.write("codes: up to date\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
