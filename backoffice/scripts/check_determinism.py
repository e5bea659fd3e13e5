"""Find what would make a state machine answer differently the second time.

A state machine folds events and nothing else (design: "Determinism"). So its module may not import anything that
knows the time, chance, the environment, a file, a thread or a server (of libraries only those that are known to give
the same answer each time are allowed), may not call such a thing, may not write a float literal or divide past the
one rounding division, and may not let the order of a set reach its outputs (str hashes differ from process to process).

Checked is every module of `services/` and the kernel, except the places where the outside is allowed (of cdb_sandbox,
which is an outside itself, its `core/` alone is checked):
`adapters/`, `runtime/`, `migrations/`, `service.py`, generated messages, the settings and log of the ground floor, and
the journal's modules that talk to a server. A line may be excused by a comment that gives the reason:
`# deterministic: <reason>`.

Usage: `python backoffice/scripts/check_determinism.py [ROOT]`; exit code 1 when something was found.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Finding", "check_source", "check_tree", "is_pure", "main"]

OUTSIDE_FOLDERS: Final = frozenset({"adapters", "runtime", "migrations", "__pycache__"})
OUTSIDE_FILES: Final = frozenset({"services/common/settings.py", "services/common/log.py"})
PURE_JOURNAL_MODULES: Final = frozenset({"admission", "entry", "foreign", "keys", "lineage", "recovery"})
FLOATS_FOR_USERS: Final = frozenset({"services/cdb_risk/dict_api.py"})
"""The library interface answers in the plain dicts of its users: it computes in Decimal and converts at the end."""
PURE_ELSEWHERE: Final = ("claire/kernel.py", "services/common/runtime/announcement.py")

FORBIDDEN_MODULES: Final = {
    "the clock": ("time", "sched", "timeit", "zoneinfo", "locale"),
    "chance": ("random", "secrets", "uuid"),
    "the environment": ("os", "platform", "getpass", "pwd", "importlib", "ctypes", "builtins"),
    "files": ("pathlib", "io", "tempfile", "shutil", "glob", "fileinput", "sqlite3", "pickle", "gzip", "csv", "mmap"),
    "processes and threads": (
        "threading",
        "asyncio",
        "subprocess",
        "multiprocessing",
        "concurrent",
        "signal",
        "queue",
        "contextvars",
        "weakref",
        "gc",
        "atexit",
    ),
    "the network": ("socket", "select", "selectors", "ssl", "http", "urllib", "ftplib", "smtplib", "requests"),
    "servers": ("redis", "valkey", "psycopg2", "sqlalchemy", "alembic", "flask", "waitress", "prometheus_client"),
    "the shell's libraries": ("logging", "structlog", "stamina", "rich", "typer", "click", "warnings"),
    "floats": ("json", "math", "cmath", "statistics", "numpy", "pandas", "scipy"),
}
ALLOWED_MODULES: Final = frozenset(
    {
        "__future__",
        "abc",
        "bisect",
        "collections",
        "copy",
        "dataclasses",
        "datetime",
        "decimal",
        "enum",
        "functools",
        "google",  # protobuf
        "hashlib",
        "heapq",
        "html",
        "hmac",
        "itertools",
        "operator",
        "pydantic",
        "pydantic_core",
        "re",
        "string",
        "types",
        "typing",
        "services",
        "claire",
    }
)
"""Roots of all that a state machine may import: what they do is a function of their arguments."""
_REASON_BY_MODULE: Final = {name: reason for reason, names in FORBIDDEN_MODULES.items() for name in names}

OUTSIDE_IMPORTS: Final = re.compile(
    r"^(services\.[a-z_]+\.(adapters|service)|services\.common\.(runtime(?!\.announcement\b)|log)"
    rf"|services\.common\.journal\.(?!(?:{'|'.join(sorted(PURE_JOURNAL_MODULES))})\b)\w+|claire\.(?!kernel\b)\w+)(\.|$)"
)

READS_THE_ENVIRONMENT: Final = "services.common.settings.read_environment"
BORROWED: Final = frozenset(
    {"Path", "builtins", "codecs", "environ", "getenv", "inspect", "io", "os", "read_environment", "sys"}
)
"""Ways to the outside that hang on modules which are allowed themselves (`settings.os`, `typing.sys`)."""

FORBIDDEN_CALLS: Final = {
    "open": "opens a file",
    "print": "writes to the terminal",
    "input": "reads from the terminal",
    "id": "differs from process to process",
    "hash": "of text differs from process to process",
    "eval": "runs text",
    "exec": "runs text",
    "compile": "runs text",
    "__import__": "imports past this check",
    "__builtins__": "reaches past this check",
    "float": "leaves exact arithmetic",
    "globals": "reaches around the state",
    "breakpoint": "stops the process",
}
CLOCK_METHODS: Final = frozenset({"now", "utcnow", "today"})
BY_NAME: Final = frozenset({"getattr", "attrgetter", "methodcaller"})
ORDER_SENSITIVE: Final = frozenset(
    {"list", "tuple", "enumerate", "iter", "next", "map", "filter", "zip", "dict", "reversed"}
)

_EXCUSE: Final = re.compile(r"#\s*deterministic:\s*\S")


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that may not stand in a state machine."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


def is_pure(relative: str) -> bool:
    """Tell whether a file (path relative to the repository, with `/`) has to keep the rule."""
    if relative in PURE_ELSEWHERE:
        return True
    parts = relative.split("/")
    if parts[0] != "services" or not relative.endswith(".py") or OUTSIDE_FOLDERS.intersection(parts):
        return False
    if parts[1] == "cdb_sandbox" and "core" not in parts:
        return False
    if parts[-1] == "service.py" or relative in OUTSIDE_FILES or relative.endswith("_pb2.py"):
        return False
    if parts[1:3] == ["common", "journal"]:
        return len(parts) == 4 and Path(parts[-1]).stem in PURE_JOURNAL_MODULES
    return True


def check_source(source: str, path: str) -> list[Finding]:
    """Return what is wrong in one module's text.

    Raises:
        SyntaxError: the text is not Python.
    """
    excused = {n for n, line in enumerate(source.splitlines(), 1) if _EXCUSE.search(line)}
    found = {Finding(path, line, message) for line, message in _walk(ast.parse(source, path))}
    if path in FLOATS_FOR_USERS:
        found = {finding for finding in found if not finding.message.startswith("float():")}
    return sorted(finding for finding in found if finding.line not in excused)


def check_tree(root: Path) -> list[Finding]:
    """Return what is wrong in all pure modules under a repository's root."""
    findings: list[Finding] = []
    for folder in ("services", "claire"):
        for path in sorted((root / folder).rglob("*.py")):
            relative = path.relative_to(root).as_posix()
            if is_pure(relative):
                findings += check_source(path.read_text(encoding="utf-8"), relative)
    return findings


def _walk(tree: ast.Module) -> Iterator[tuple[int, str]]:
    clocks, sets = _names_of_clocks(tree), _names_of_sets(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _check_import(node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            yield from _check_import_from(node)
        elif isinstance(node, ast.Call):
            yield from _check_call(node, sets)
        elif isinstance(node, ast.Name | ast.Attribute):
            yield from _check_name(node, clocks)
        elif isinstance(node, ast.For | ast.comprehension):
            if _is_set(node.iter, sets):
                yield node.iter.lineno, _SET_MESSAGE
        elif isinstance(node, ast.Starred) and _is_set(node.value, sets):
            yield node.lineno, _SET_MESSAGE
        else:
            yield from _check_arithmetic(node)
            yield from _check_shape(node)


def _check_name(node: ast.Name | ast.Attribute, clocks: set[str]) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.Name):
        if node.id in FORBIDDEN_CALLS and node.id != "float" and isinstance(node.ctx, ast.Load):
            yield node.lineno, f"{node.id}: {FORBIDDEN_CALLS[node.id]}"
    elif node.attr in CLOCK_METHODS and _last_name(node.value) in clocks:
        yield node.lineno, f"{ast.unparse(node)}: the clock is an event"
    elif node.attr in BORROWED:
        yield node.lineno, f"{ast.unparse(node)}: reaches the outside through another module"


def _check_arithmetic(node: ast.AST) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
        yield node.lineno, f"float literal {node.value!r}: money is Decimal"
    elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
        yield node.lineno, _DIVISION_MESSAGE


def _check_shape(node: ast.AST) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
        yield node.lineno, "asynchronous code: what runs first would depend on the outside"
    elif isinstance(node, ast.Global):
        yield node.lineno, f"global {', '.join(node.names)}: state lives in the machine"


def _names_of_clocks(tree: ast.Module) -> set[str]:
    """Return the names under which a module has the classes that can tell the time."""
    aliases = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "datetime"
        for alias in node.names
    }
    return aliases | {"datetime", "date"}


def _check_import(line: int, name: str) -> Iterator[tuple[int, str]]:
    root = name.partition(".")[0]
    reason = _REASON_BY_MODULE.get(root)
    if reason is not None:
        yield line, f"import of {name}: a state machine does not know {reason}"
    elif root not in ALLOWED_MODULES:
        yield line, f"import of {name}: not among the libraries that give the same answer each time"
    elif name == READS_THE_ENVIRONMENT:
        yield line, f"import of {name}: a state machine does not know the environment"
    elif OUTSIDE_IMPORTS.match(name):
        yield line, f"import of {name}: a state machine does not talk to the outside"


def _check_import_from(node: ast.ImportFrom) -> Iterator[tuple[int, str]]:
    module = node.module or ""
    found = list(_check_import(node.lineno, module))
    for alias in node.names:
        found += list(_check_import(node.lineno, f"{module}.{alias.name}")) if not found else []
        if not found and (alias.name in BORROWED or alias.name == "*"):
            found.append((node.lineno, f"import of {alias.name} from {module}: reaches the outside through it"))
        if not found and (module, alias.name) == ("operator", "truediv"):
            found.append((node.lineno, _DIVISION_MESSAGE))
    yield from found


def _check_call(node: ast.Call, sets: set[str]) -> Iterator[tuple[int, str]]:
    function, name = node.func, _last_name(node.func)
    if isinstance(function, ast.Name):
        if name == "float" or (name == "map" and node.args and _last_name(node.args[0]) == "float"):
            yield node.lineno, f"float(): {FORBIDDEN_CALLS['float']}"
        elif name in ORDER_SENSITIVE and any(_is_set(argument, sets) for argument in node.args):
            yield node.lineno, _SET_MESSAGE
    elif isinstance(function, ast.Attribute):
        taken = node.args if name in {"join", "extend", "fromkeys"} else []
        popped = name == "pop" and not node.args and _is_set(function.value, sets)
        if popped or any(_is_set(argument, sets) for argument in taken):
            yield node.lineno, _SET_MESSAGE
        elif name == "truediv":
            yield node.lineno, _DIVISION_MESSAGE
    yield from _check_time(node, name)


def _check_time(node: ast.Call, name: str) -> Iterator[tuple[int, str]]:
    if name in CLOCK_METHODS and isinstance(node.func, ast.Attribute):
        yield node.lineno, f"{ast.unparse(node.func)}(): the clock is an event"
    elif name in BY_NAME and any(isinstance(a, ast.Constant) and a.value in CLOCK_METHODS for a in node.args):
        yield node.lineno, f"{ast.unparse(node)}: the clock is an event"
    elif len(node.args) + len(node.keywords) < {"astimezone": 1, "fromtimestamp": 2}.get(name, 0):
        yield node.lineno, f"{ast.unparse(node)}: takes the time zone of the computer"


def _names_of_sets(tree: ast.Module) -> set[str]:
    """Return the names (of variables, arguments and attributes) that a module annotates or assigns as sets."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and _annotates_set(node.annotation):
            names.add(_last_name(node.target))
        elif isinstance(node, ast.arg) and node.annotation is not None and _annotates_set(node.annotation):
            names.add(node.arg)
        elif isinstance(node, ast.Assign) and _is_set(node.value, set()):
            names |= {_last_name(target) for target in node.targets}
    return names - {""}


def _annotates_set(annotation: ast.expr) -> bool:
    if isinstance(annotation, ast.BinOp):
        return _annotates_set(annotation.left) or _annotates_set(annotation.right)
    kind = annotation.value if isinstance(annotation, ast.Subscript) else annotation
    return _last_name(kind) in {"set", "frozenset", "Set", "MutableSet", "AbstractSet"}


def _is_set(node: ast.expr, names: set[str]) -> bool:
    """Tell whether an expression is a set by its form, or has one of the `names` of sets."""
    if isinstance(node, ast.Name | ast.Attribute):
        return _last_name(node) in names
    if isinstance(node, ast.Set | ast.SetComp):
        return True
    if isinstance(node, ast.Call):
        return _last_name(node.func) in {
            "set",
            "frozenset",
            "intersection",
            "union",
            "difference",
            "symmetric_difference",
        }
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd | ast.BitOr | ast.Sub | ast.BitXor):
        return _is_set(node.left, names) or _is_set(node.right, names)
    if isinstance(node, ast.BoolOp):
        return any(_is_set(value, names) for value in node.values)
    return False


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


_DIVISION_MESSAGE: Final = "division with /: services.common.decimals.divide rounds to digits that fit the wire"
_SET_MESSAGE: Final = "order of a set: it differs from process to process; write sorted(…)"


def main(arguments: list[str]) -> int:
    """Check the repository and tell what was found."""
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parents[2]
    findings = check_tree(root)
    for finding in findings:
        sys.stdout.write(f"{finding}\n")
    sys.stdout.write(f"determinism: {len(findings)} findings\n" if findings else "determinism: nothing found\n")
    return 1 if findings else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
