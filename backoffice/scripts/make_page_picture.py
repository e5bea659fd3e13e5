"""Draw the picture of the status page that the README shows: dark on a screen, light on a phone beside it.

Usage: while `claire up` trades, `python backoffice/scripts/make_page_picture.py http://127.0.0.1:8006 FILE.png`.
Needs Chromium.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image

from backoffice.scripts.chromium import Chromium

__all__ = ["main"]

SCREEN = (1280, 1240)
PHONE = (390, 1240)
GAP = 24
BACKGROUND = "#dfe3ea"
STEP = 4
"""Colours are rounded to multiples of it: nobody sees the difference, and the file is much smaller."""


def main(arguments: list[str]) -> int:
    """Take the pictures of the page at `arguments[0]` and put them side by side into `arguments[1]`."""
    address, target = arguments[0], Path(arguments[1])
    pictures = []
    with Chromium() as browser:
        for (width, height), scheme in ((SCREEN, "dark"), (PHONE, "light")):
            browser.wear(width, height, scheme)
            browser.open(address)
            pictures.append(Image.open(io.BytesIO(browser.picture())).convert("RGB"))
    whole = Image.new("RGB", (sum(picture.width for picture in pictures) + GAP, SCREEN[1]), BACKGROUND)
    at = 0
    for picture in pictures:
        whole.paste(picture, (at, 0))
        at += picture.width + GAP
    whole.point([min(255, round(value / STEP) * STEP) for value in range(256)] * 3).save(target, optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
