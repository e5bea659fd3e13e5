"""Ask the public databases whether a pinned package has a known hole: pip-audit over requirements.txt.

Usage: `python backoffice/scripts/audit.py`; exit code 0: none is known, 1: at least one (they are listed), 3: no
database can be reached from here, so nothing was audited.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

__all__ = ["NOT_AUDITED", "main"]

ROOT: Final = Path(__file__).resolve().parents[2]
NOT_AUDITED: Final = 3
SERVICES: Final = ("pypi", "osv")
Run = Callable[[list[str]], "subprocess.CompletedProcess[str]"]


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def main(run: Run = _run) -> int:
    """Audit with the first database that answers."""
    for service in SERVICES:
        done = run(
            [
                *(sys.executable, "-m", "pip_audit", "--requirement", "requirements.txt", "--no-deps", "--disable-pip"),
                *("--vulnerability-service", service, "--progress-spinner", "off", "--timeout", "20", "--strict"),
            ]
        )
        said = done.stdout + done.stderr
        # a package that the database does not know (a mirror without its data) was not audited, whatever the exit code
        if "could not be audited" not in said and (done.returncode == 0 or "Found " in said):
            sys.stdout.write(said)
            return done.returncode
        reason = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        sys.stderr.write(f"audit: {service} cannot be asked: {reason[:200]}\n")
    sys.stderr.write("audit: no database of known holes can be reached from here; nothing was audited\n")
    return NOT_AUDITED


if __name__ == "__main__":
    raise SystemExit(main())
