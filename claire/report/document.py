"""The frame of every page that Claire draws: one file with its style and script in it, that loads and sends nothing."""

from __future__ import annotations

from html import escape
from importlib.resources import files

__all__ = ["asset", "document"]

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{title} · Claire de Binare</title>
<style>
{style}</style>
</head>
<body>
<main>
{body}
</main>
<script>
{script}</script>
</body>
</html>
"""  # noqa: E501 -- the policy is one attribute


def document(title: str, body: str, *, style: str = "", script: str = "") -> str:
    """Return a whole page.

    Args:
        title: as text.
        body: as HTML.
        style: what this page has besides the common one.
        script: likewise.
    """
    return _PAGE.format(
        title=escape(title),
        style=asset("style.css") + style,
        script=asset("script.js") + script,
        body=body,
    )


def asset(name: str, package: str = "claire.report") -> str:
    """Return a text file that lies beside the code of a package."""
    return files(package).joinpath(name).read_text(encoding="utf-8")
