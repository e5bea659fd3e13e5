"""Pages where data were asked for: what proxies, captive portals, firewalls and tired servers answer with."""

from __future__ import annotations

import html
import re
from typing import Final

__all__ = ["IN_BETWEEN", "describe", "is_page"]

IN_BETWEEN: Final = "is a proxy or a captive portal in between?"

_TITLE: Final = re.compile(rb"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_START: Final = re.compile(rb"\s*(\xef\xbb\xbf)?\s*<(!doctype|html|head|body|!--|\?xml)", re.IGNORECASE)
_SHOWN: Final = 200


def is_page(body: bytes) -> bool:
    """Whether a body is a page for people."""
    return _START.match(body) is not None


def describe(status: int, body: bytes) -> str:
    """Return in words what came instead of data.

    Args:
        status: of HTTP; 0 when there was no answer and the body is the cause.
        body: as it came.
    """
    text = body[:_SHOWN].decode(errors="replace").strip()
    if not status:
        return text
    if not is_page(body):
        return f"HTTP {status}: {text}" if text else f"HTTP {status}"
    found = _TITLE.search(body)
    title = html.unescape(" ".join(found.group(1).decode(errors="replace").split()))[:_SHOWN] if found else ""
    named = f"HTTP {status} with a page ({title!r})" if title else f"HTTP {status} with a page"
    return f"{named} instead of data: {IN_BETWEEN}" if status < 500 else named
