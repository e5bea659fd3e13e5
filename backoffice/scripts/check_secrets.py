"""Look for secrets with detect-secrets, beside the forms of check_files.py: keys by their form or by their name.

In tests a word after `password=` is no secret; everywhere a line may be excused with `not a secret: <reason>`. What an
exchange has published as examples is allowed by the name of its file.

The work is shared among the processors. A file in which nothing was found is not read again until its bytes, its name
or the scanner change: `.secrets_cache` keeps a fingerprint of all three (a finding is never kept).

Usage: `python backoffice/scripts/check_secrets.py [FILE …]`; exit code 1 when something was found.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from detect_secrets.core.secrets_collection import SecretsCollection
from detect_secrets.settings import transient_settings

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from backoffice.scripts.check_files import (
    BINARY_SUFFIXES,
    ROOT,
    repository_files,
)

__all__ = ["PUBLISHED", "find_secrets", "main"]

PUBLISHED: Final = {"tests/unit/mexc/published.py": "examples of signatures that MEXC publishes in its documentation"}
KEYWORD: Final = "Secret Keyword"
CACHE: Final = ROOT / ".secrets_cache"
ALONE: Final = 20
"""So few files are not worth another process."""
LEFT_OUT: Final = ("backoffice/data/", "backoffice/docs/schema/")
DETECTORS: Final = (
    *("ArtifactoryDetector", "AWSKeyDetector", "AzureStorageKeyDetector", "BasicAuthDetector", "CloudantDetector"),
    *(
        "DiscordBotTokenDetector",
        "GitHubTokenDetector",
        "GitLabTokenDetector",
        "IbmCloudIamDetector",
        "JwtTokenDetector",
    ),
    *(
        "KeywordDetector",
        "MailchimpDetector",
        "NpmDetector",
        "OpenAIDetector",
        "PrivateKeyDetector",
        "PypiTokenDetector",
    ),
    *("SendGridDetector", "SlackDetector", "SquareOAuthDetector", "StripeDetector", "TelegramBotTokenDetector"),
    *("TwilioKeyDetector",),
)
SETTINGS: Final[dict[str, Any]] = {
    "plugins_used": [{"name": name} for name in DETECTORS],
    "filters_used": [
        {"path": "detect_secrets.filters.allowlist.is_line_allowlisted"},
        {"path": "detect_secrets.filters.heuristic.is_indirect_reference"},
        {"path": "detect_secrets.filters.heuristic.is_likely_id_string"},
        {"path": "detect_secrets.filters.heuristic.is_not_alphanumeric_string"},
        {"path": "detect_secrets.filters.heuristic.is_prefixed_with_dollar_sign"},
        {"path": "detect_secrets.filters.heuristic.is_templated_secret"},
        {
            "path": "detect_secrets.filters.regex.should_exclude_line",
            "pattern": ["not a secret: ", "the name of a variable"],
        },
    ],
}

_SCANNER: Final = hashlib.sha256(Path(__file__).read_bytes() + version("detect-secrets").encode()).digest()
"""The scanner itself: another version of it, or of this file, finds other things."""


def find_secrets(path: Path, name: str) -> Iterator[tuple[int, str]]:
    """Yield line number and kind of everything in a file that looks like a secret."""
    if name in PUBLISHED or name.startswith(LEFT_OUT) or path.suffix in BINARY_SUFFIXES:
        return
    found = SecretsCollection()
    with transient_settings(SETTINGS):
        found.scan_file(str(path))
    for _, secret in found:
        if not (secret.type == KEYWORD and name.startswith("tests/")):
            yield secret.line_number, secret.type


def main(arguments: list[str], cache: Path = CACHE) -> int:
    """Look over the named files, or all of the repository."""
    paths = [Path(argument).resolve() for argument in arguments] or repository_files()
    names = [path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.as_posix() for path in paths]
    prints = [_fingerprint(path, name) for path, name in zip(paths, names, strict=True)]
    clean = _read(cache)
    unknown = [place for place, mark in enumerate(prints) if mark not in clean]
    count = 0
    for place, found in zip(unknown, _scan([(paths[i], names[i]) for i in unknown]), strict=True):
        for line, kind in found:
            sys.stdout.write(f"{names[place]}:{line}: {kind}: secrets never stand in the repository\n")
        count += len(found)
        if not found:
            clean.add(prints[place])
    _write(cache, clean if arguments else clean.intersection(prints))
    sys.stdout.write(f"secrets: {count} findings\n" if count else f"secrets: {len(paths)} files, none found\n")
    return 1 if count else 0


def _scan(files: list[tuple[Path, str]]) -> Iterator[list[tuple[int, str]]]:
    if len(files) < ALONE:
        yield from map(_scan_one, files)
        return
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(_scan_one, files, chunksize=8)


def _scan_one(file: tuple[Path, str]) -> list[tuple[int, str]]:
    return list(find_secrets(*file))


def _fingerprint(path: Path, name: str) -> str:
    digest = hashlib.sha256(_SCANNER)
    digest.update(name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _read(cache: Path) -> set[str]:
    with suppress(OSError, ValueError):
        return set(json.loads(cache.read_text(encoding="utf-8")))
    return set()


def _write(cache: Path, clean: set[str]) -> None:
    with suppress(OSError):
        cache.write_text(json.dumps(sorted(clean)), encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
