"""Generate `services/common/mexc/push_pb2.py` and its types from `push.proto`.

Usage: `python backoffice/scripts/make_protobuf.py [--check]`; with `--check` nothing is written and the exit code is 1
when the generated files are not those of the description.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Final

from grpc_tools import protoc

__all__ = ["FOLDER", "generated", "main"]

FOLDER: Final = Path(__file__).resolve().parents[2] / "services" / "common" / "mexc"


def generated() -> dict[str, str]:
    """Return the text of each generated file by its name.

    Raises:
        SystemExit: the description does not compile; protoc has said why.
    """
    with tempfile.TemporaryDirectory() as folder:
        code = protoc.main(
            ["protoc", f"-I{FOLDER}", f"--python_out={folder}", f"--pyi_out={folder}", str(FOLDER / "push.proto")]
        )
        if code:
            raise SystemExit(code)
        return {path.name: path.read_text(encoding="utf-8") for path in sorted(Path(folder).iterdir())}


def main(arguments: list[str]) -> int:
    """Write the files, or with `--check` tell whether they are up to date."""
    stale = []
    for name, text in generated().items():
        path = FOLDER / name
        if "--check" not in arguments:
            path.write_text(text, encoding="utf-8", newline="\n")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
    if stale:
        sys.stdout.write(f"{', '.join(stale)}: out of date; run python backoffice/scripts/make_protobuf.py\n")
        return 1
    sys.stdout.write("protobuf: up to date\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
