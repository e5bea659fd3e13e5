"""`claire doctor`: what is wrong, in plain words, and the command that mends it.

Exit codes: 0 all is well, 1 there are warnings, 2 there are problems; what could not be checked counts for nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from claire.options import FirstPort

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(
    *,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="Data folder of claire up (default: Docker's, then data/paper).")
    ] = None,
    redis: Annotated[str, typer.Option("--redis", help="HOST:PORT (or path of the socket) of another Redis.")] = "",
    password_file: Annotated[
        Path | None, typer.Option("--password-file", help="File with the password of the Redis user operator.")
    ] = None,
    dsn: Annotated[str, typer.Option("--dsn", help="Connection string of a database; `env` takes POSTGRES_*.")] = "",
    first_port: FirstPort = None,
    as_json: Annotated[bool, typer.Option("--json", help="The findings as JSON on standard output.")] = False,
) -> None:
    """Say what is wrong with settings, machine, servers, journal, clock and exchange, and the command that mends it."""
    from claire.doctor.examination import Examination, Patient
    from claire.doctor.finding import exit_code
    from claire.doctor.screen import render_findings
    from claire.up import print_json

    patient = Patient(data_dir, redis, password_file, dsn, first_port, os.environ)
    findings = list(Examination(patient).findings())
    code = exit_code(findings)
    if as_json:
        print_json({"exit_code": code, "findings": [finding.as_dict() for finding in findings]})
    else:
        Console().print(render_findings(findings), crop=False)
    raise typer.Exit(code)
