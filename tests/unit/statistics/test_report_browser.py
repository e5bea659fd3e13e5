"""The report in a real browser: nothing runs over the edge of a phone, and the pointer reads values off."""

from __future__ import annotations

import shutil
import subprocess
from html import escape
from pathlib import Path

import pytest

from claire.report import render, report_data
from claire.statistics import StatisticsCollector
from tests.unit.writer.journal_story import tell

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.local_only,
    pytest.mark.skipif(BROWSER is None, reason="needs Chromium (Debian: apt-get install chromium)"),
]

PROBE = """<!doctype html><body><script>
const frame = document.createElement("iframe");
frame.style.cssText = "border:0;width:{width}px;height:3000px";
frame.srcdoc = document.currentScript.dataset.page;
frame.onload = () => {{
  const inner = frame.contentDocument, area = inner.querySelector("#equity .area"), box = area.getBoundingClientRect();
  area.dispatchEvent(new PointerEvent("pointermove", {{clientX: box.left + box.width / 2, clientY: box.top + 5}}));
  document.body.innerText = JSON.stringify({{
    overflow: inner.documentElement.scrollWidth - inner.documentElement.clientWidth,
    reading: inner.querySelector("#equity .reading").textContent,
    charts: inner.querySelectorAll("svg").length,
  }});
}};
document.body.append(frame);
</script></body>"""


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_and_its_charts_can_be_read(tmp_path: Path, width: int) -> None:
    """At the width of a phone and of a screen nothing overflows, and the pointer shows time and equity."""
    collector = StatisticsCollector()
    for entry in tell(4, 900).entries:
        collector.observe(entry)
    page = render(
        report_data(collector.result(), title="A day with a long title that has to wrap", chain_tip="ab" * 32)
    )
    probe = PROBE.format(width=width).replace("<script>", f'<script data-page="{escape(page)}">', 1)
    (tmp_path / "probe.html").write_text(probe, encoding="utf-8")
    assert BROWSER is not None

    done = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000", "--window-size=1400,3000",
            "--dump-dom", (tmp_path / "probe.html").as_uri(),
        ],
        capture_output=True, text=True, timeout=90, check=True,
    )  # fmt: skip

    assert '"overflow":0' in done.stdout, done.stdout[-400:]
    assert '"charts":6' in done.stdout
    assert '"reading":"2021-05-' in done.stdout
