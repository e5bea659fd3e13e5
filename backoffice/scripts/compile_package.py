"""Compile the machines, the feed and the kernel: the same code, the same bytes, less time.

What comes out is a folder with the two packages as they stand, and an extension module beside every source file that is
named below. Python takes the extension where there is one, so `PYTHONPATH=build/compiled claire run-paper …` runs
compiled and everything else goes on as before. Nothing changes in the sources: who does not compile misses speed alone.

Native classes forget two things that restoring a state needs, so the copy that is compiled says them aloud: the types
of a dataclass's fields as text, and the names of its fields. The extension modules need a C compiler (`cc`), and the
mypy of requirements-dev.txt, whose compiler this is.

Usage: `python backoffice/scripts/compile_package.py [FOLDER]` (build/compiled); what is of this code is left alone.
"""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

from services.common.runtime.build import source_fingerprint

__all__ = ["FOLDER", "ROOT", "compile_package", "modules", "prepared"]

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = ("services", "claire")
DATA: Final = "backoffice/data"
FOLDER: Final = Path("build/compiled")
STAMP: Final = "compiled-from"

WHOLE: Final = ("services/cdb_core", "services/cdb_execution", "services/cdb_execution/live", "services/cdb_risk")
"""Folders of which everything is compiled: a class cannot be compiled without those that it inherits from."""

NOT_COMPILED: Final = frozenset(
    {
        "__init__.py",
        "settings.py",  # pydantic's classes
        "account.py of services/cdb_execution/live",  # the same
        "service.py",  # a shell
        "given.py",  # descriptors that look at the class of their owner
        "dict_api.py",  # built on those
        "dict_sizing.py",
    }
)
MODULES: Final = {
    "claire": "kernel",
    "services/cdb_risk/layers": (
        "circuit_breaker daily_drawdown data_quality live_ramp perpetual_limits position_limits spread_check "
        "timeout_check total_exposure"
    ),
    "services/cdb_ws": "clock conflation merging mint observation recorded stretches",
    "services/common": (
        "book channels decimals fixed_point identity machine perpetual_facts perpetuals portfolio price_band "
        "timestamps warmup"
    ),
}
"""What else is compiled, since a replay spends its time in it. Decoding is not: it waits for C code anyway."""

_SETUP: Final = """
from mypyc.build import mypycify
from setuptools import setup

setup(packages=[], ext_modules=mypycify(["--config-file", "mypy.ini", *{modules!r}], opt_level="1", debug_level="0"))
"""
_MYPY: Final = """
[mypy]
plugins = pydantic.mypy
follow_imports = silent
ignore_missing_imports = True
"""
_SAYING: Final = '''
from dataclasses import fields as _fields_of
from typing import Any


def _types_of(cls: Any, types: dict[str, str]) -> None:
    """Let pydantic see the types that the source gives the fields, and that there is no `__dict__`."""
    fields: Any = _fields_of(cls)
    for field in fields:
        field.type = types.get(field.name, field.type)
    setattr(cls, "__slots__", tuple(field.name for field in fields))
'''


def modules() -> Iterator[str]:
    """Yield what is compiled, as paths below the root."""
    for folder in WHOLE:
        for path in sorted((ROOT / folder).glob("*.py")):
            if not {path.name, f"{path.name} of {folder}"} & NOT_COMPILED:
                yield f"{folder}/{path.name}"
    for folder, names in MODULES.items():
        yield from (f"{folder}/{name}.py" for name in names.split())


def prepared(source: str) -> str:
    """Return a module as it is compiled: its top-level dataclasses say the types and the names of their fields."""
    said = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and any("dataclass" in ast.unparse(one) for one in node.decorator_list):
            fields = {
                ast.unparse(line.target): ast.unparse(line.annotation)
                for line in node.body
                if isinstance(line, ast.AnnAssign) and "ClassVar" not in ast.unparse(line.annotation)
            }
            said.append(f"_types_of({node.name}, {fields!r})")
    return "\n".join([source, _SAYING, *said, ""]) if said else source


def compile_package(folder: Path) -> bool:
    """Make or renew the compiled package; return whether there was anything to do.

    Raises:
        subprocess.CalledProcessError: the compiler has found fault; it has said with what.
    """
    sources = [source_fingerprint(ROOT / package) for package in PACKAGES]
    how = sha256(Path(__file__).read_bytes()).hexdigest()
    stamp, wanted = folder / STAMP, " ".join([*sources, how, sys.version])
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return False
    shutil.rmtree(folder, ignore_errors=True)
    for part in (*PACKAGES, DATA):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    compiled = list(modules())
    for module in compiled:
        source = (folder / module).read_text(encoding="utf-8")
        (folder / module).write_text(prepared(source), encoding="utf-8")
    (folder / "setup.py").write_text(_SETUP.format(modules=compiled), encoding="utf-8")
    (folder / "mypy.ini").write_text(_MYPY, encoding="utf-8")
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    for module in compiled:  # what the package says that it is made of is what stands in the repository
        shutil.copyfile(ROOT / module, folder / module)
    for leftover in ("build", ".mypy_cache"):
        shutil.rmtree(folder / leftover, ignore_errors=True)
    stamp.write_text(wanted, encoding="utf-8")
    return True


def main(arguments: Sequence[str]) -> int:
    """Compile into the folder that is named, and say so."""
    folder = Path(arguments[0]) if arguments else FOLDER
    try:
        made = compile_package(folder)
    except (subprocess.CalledProcessError, OSError) as error:
        sys.stderr.write(f"not compiled: {error}; a C compiler (cc) and requirements-dev.txt are needed\n")
        return 1
    done = "compiled into" if made else "compiled already:"
    sys.stdout.write(f"{done} {folder}; use it: PYTHONPATH={folder.absolute()} claire …\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
