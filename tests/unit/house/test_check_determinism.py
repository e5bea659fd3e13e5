"""The determinism check finds each thing that may not stand in a state machine, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from backoffice.scripts import check_determinism as check

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "line",
    [
        "import time",
        "import os.path",
        "import random as chance",
        "from uuid import uuid4",
        "from secrets import token_hex",
        "import socket",
        "import requests",
        "from redis import Redis",
        "import psycopg2.extras",
        "import threading",
        "import asyncio",
        "import subprocess",
        "from pathlib import Path",
        "import structlog",
        "import importlib",
        "import numpy as np",
        "from concurrent.futures import ThreadPoolExecutor",
        "from services.common.runtime.shell import MachineShell",
        "from services.common import runtime",
        "from services.cdb_ws.adapters.recorded_files import rows",
        "from services.cdb_ws import adapters",
        "import claire.up",
        "moment = datetime.now(UTC)",
        "moment = datetime.datetime.utcnow()",
        "moment = date.today()",
        "moment = datetime.today()",
        "from datetime import datetime as moment\nnow = moment.now(UTC)",
        "import datetime as calendar\nnow = calendar.datetime.now(calendar.UTC)",
        "clock = datetime.now",
        "import sys",
        "import inspect",
        "import httpx",
        "from services.common.settings import MachineSettings, read_environment",
        "share = part / whole",
        "share /= whole",
        "text = open('x').read()",
        "print('here')",
        "name = input()",
        "key = id(state)",
        "key = hash('text')",
        "eval('1')",
        "exec('1')",
        "module = __import__('os')",
        "price = 0.5",
        "price = float(text)",
        "for name in {'a', 'b'}: emit(name)",
        "for name in set(names): emit(name)",
        "for name in set(names) - {'a'}: emit(name)",
        "for name in names.intersection(others): emit(name)",
        "out = [name for name in {n for n in names}]",
        "out = list(set(names))",
        "out = ','.join(frozenset(names))",
        "out = [*set(names)]",
        "from datetime import datetime\nclock = datetime\nmoment = clock.now()",
        "moment = type(event.time).now()",
        "class Moment(datetime): ...\nmoment = Moment.utcnow()",
        "from datetime import datetime\nmoment = getattr(datetime, 'now')()",
        "import operator\nread = operator.methodcaller('now')",
        "moment = given.astimezone()",
        "moment = datetime.fromtimestamp(0)",
        "from services.common import settings\nvalues = settings.read_environment()",
        "from services.common.settings import os",
        "from services.common.settings import *",
        "import services.common.settings as names\nhome = names.os.environ",
        "import typing\nword = typing.sys.argv",
        "read = open",
        "def load(reader=open): ...",
        "first = sorted(states, key=id)",
        "prices = list(map(float, texts))",
        "module = __builtins__['open']",
        "import json\nvalue = json.loads(text)",
        "from math import sqrt",
        "from operator import truediv",
        "import operator\nshare = operator.truediv(part, whole)",
        "from services.common.journal.client import JournalClient",
        "from services.common.journal import bus",
        "import services.common.journal.subscriber",
        "names = {'a', 'b'}\nfor name in names: emit(name)",
        "def f(names: set[str]) -> list[str]:\n    return list(names)",
        "class M:\n    seen: set[str]\n    def f(self) -> str:\n        return ','.join(self.seen)",
        "def f(names: frozenset[str] | None) -> list[str]:\n    return [name for name in names or ()]",
        "seen = set(names)\nlast = seen.pop()",
        "async def handle(): ...",
        "def f():\n    global counter\n    counter = 1",
    ],
)
def test_each_forbidden_thing_is_found(line: str) -> None:
    """A module with one forbidden line has exactly this finding, with its line number."""
    source = f'"""A machine."""\n{line}\n'

    findings = check.check_source(source, "services/cdb_core/machine.py")

    assert findings, line
    assert findings[0].line >= 2
    assert str(findings[0]).startswith("services/cdb_core/machine.py:")


@pytest.mark.parametrize(
    "line",
    [
        "from datetime import UTC, datetime\nmoment = datetime.fromtimestamp(0, UTC)",
        "from services.common.decimals import divide",
        "from services.common import channels",
        "from services.common.settings import MachineSettings",
        "from services.common.runtime.announcement import announcement",
        "for name in sorted(set(names)): emit(name)",
        "known = 'a' in {'a', 'b'}",
        "count = len(set(names))",
        "allowed = frozenset({'a', 'b'})",
        "price = Decimal('0.5')",
        "fold.now = event.timestamp",
        "from datetime import datetime\nmoment = self.now",
        "bars = minutes // 5",
        "def f(value: object) -> bool:\n    return isinstance(value, float)",
        "value = getattr(row, 'price')",
        "from services.common.journal.entry import Cause",
        "names: set[str] = set()\nnames.add('a')\nout = sorted(names)",
        "def f(names: set[str]) -> int:\n    return len(names) if 'a' in names else 0",
        "from datetime import time\nnoon = time(12)",
        "from collections.abc import Mapping\nimport heapq",
        "import time  # deterministic: only its constants are named in a docstring test",
    ],
)
def test_what_a_machine_needs_is_left_alone(line: str) -> None:
    """Exact arithmetic, conversions of given times, membership and sorted sets are no findings."""
    assert check.check_source(line, "services/cdb_core/machine.py") == []


def test_an_excuse_without_a_reason_does_not_count() -> None:
    """The comment that excuses a line has to say why."""
    assert check.check_source("import time  # deterministic:\n", "services/cdb_core/bars.py")


def test_only_the_library_interface_may_answer_in_floats() -> None:
    """Conversion to float is a finding in a machine and none in the interface for users; a literal is one in both."""
    source = "size = float(quantity)\nlimit = 0.5\n"

    machine = check.check_source(source, "services/cdb_risk/machine.py")
    interface = check.check_source(source, "services/cdb_risk/dict_api.py")

    assert [finding.line for finding in machine] == [1, 2]
    assert [finding.line for finding in interface] == [2]


@pytest.mark.parametrize(
    ("path", "pure"),
    [
        ("services/cdb_core/machine.py", True),
        ("services/cdb_core/settings.py", True),
        ("services/cdb_core/service.py", False),
        ("services/cdb_ws/adapters/recorded_files.py", False),
        ("services/cdb_ws/conflation.py", True),
        ("services/common/events.py", True),
        ("services/common/settings.py", False),
        ("services/common/runtime/shell.py", False),
        ("services/common/journal/entry.py", True),
        ("services/common/journal/bus.py", False),
        ("services/common/journal/recovery.py", True),
        ("services/common/journal/scripts/__init__.py", False),
        ("services/common/runtime/announcement.py", True),
        ("services/cdb_writer/migrations/env.py", False),
        ("services/cdb_writer/projection.py", True),
        ("claire/kernel.py", True),
        ("claire/up.py", False),
        ("services/common/journal/publish.lua", False),
    ],
)
def test_the_rule_holds_where_it_should(path: str, pure: bool) -> None:
    """State machines, contracts and the kernel are checked; shells, adapters and the command line are not."""
    assert check.is_pure(path) is pure


def test_the_tree_is_walked_and_the_exit_code_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One clock in one machine of a tree gives exit code 1 and names file and line; mended, it gives 0."""
    machine = tmp_path / "services" / "cdb_core" / "machine.py"
    machine.parent.mkdir(parents=True)
    (tmp_path / "claire").mkdir()
    machine.write_text("import time\n", encoding="utf-8")

    broken = check.main([str(tmp_path)])
    told = capsys.readouterr().out
    machine.write_text("from decimal import Decimal\n", encoding="utf-8")
    mended = check.main([str(tmp_path)])

    assert (broken, mended) == (1, 0)
    assert "services/cdb_core/machine.py:1: import of time" in told


def test_this_repository_keeps_the_rule() -> None:
    """No state machine of this repository knows the time, chance or the outside."""
    assert check.check_tree(ROOT) == []
