"""Look for secrets with detect-secrets, beside the forms of check_files.py: keys by their form or by their name.

In tests a word after `password=` is no secret; everywhere a line may be excused with `not a secret: <reason>`. What an
exchange has published as examples is allowed by the name of its file.

Usage: `python backoffice/scripts/check_secrets.py [FILE …]`; exit code 1 when something was found.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
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


def main(arguments: list[str]) -> int:
    """Look over the named files, or all of the repository."""
    paths = [Path(argument).resolve() for argument in arguments] or repository_files()
    count = 0
    for path in paths:
        name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.as_posix()
        for line, kind in find_secrets(path, name):
            sys.stdout.write(f"{name}:{line}: {kind}: secrets never stand in the repository\n")
            count += 1
    sys.stdout.write(f"secrets: {count} findings\n" if count else f"secrets: {len(paths)} files, none found\n")
    return 1 if count else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
