"""A headless Chromium to look at pages with, spoken to by the DevTools protocol."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from websockets.sync.client import connect

__all__ = ["BROWSER", "Chromium"]

BROWSER: Final = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
START_SEC: Final = 30.0
ANSWER_SEC: Final = 30.0
OPTIONS: Final = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
)  # fmt: skip


class Chromium:
    """One browser with one tab.

    Attributes:
        events: what the browser told of itself, by method: requests, messages of the console.
    """

    def __init__(self) -> None:
        """Start it.

        Raises:
            RuntimeError: there is none, or it does not start.
        """
        if BROWSER is None:
            raise RuntimeError("needs Chromium (Debian: apt-get install chromium)")
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._number = 0
        self._session: str | None = None
        self._folder = tempfile.mkdtemp(prefix="claire-chromium-")
        self._process = subprocess.Popen(
            [BROWSER, *OPTIONS, f"--user-data-dir={self._folder}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._wire: Any = None

    def __enter__(self) -> Self:
        port, path = self._address()
        self._wire = connect(f"ws://127.0.0.1:{port}{path}", max_size=None, compression=None).__enter__()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wire.close()
        self._process.terminate()
        self._process.wait(20)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _address(self) -> tuple[str, str]:
        file, deadline = Path(self._folder) / "DevToolsActivePort", time.monotonic() + START_SEC
        while time.monotonic() < deadline:
            words = file.read_text(encoding="ascii").split() if file.exists() else []
            if len(words) == 2:
                return words[0], words[1]
            time.sleep(0.05)
        raise RuntimeError(f"{BROWSER} does not start")

    def call(self, method: str, **parameters: Any) -> Any:
        """Return what a method of the protocol answers.

        Raises:
            RuntimeError: it refuses.
        """
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._wire.send(json.dumps(message))
        while True:
            answer = json.loads(self._wire.recv(timeout=ANSWER_SEC))
            if "method" in answer:
                self.events.append((answer["method"], answer.get("params", {})))
            elif answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def ask(self, expression: str) -> Any:
        """Return the value of an expression on the page; a promise is waited for.

        Raises:
            RuntimeError: it throws.
        """
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def open(self, url: str) -> None:
        """Go to a page and wait until it is there."""
        self.call("Page.navigate", url=url)
        self.wait(f"document.readyState === 'complete' && location.href.startsWith({json.dumps(url)})")

    def wait(self, condition: str, timeout_sec: float = 15.0) -> None:
        """Wait until an expression is true.

        Raises:
            RuntimeError: it is not in time.
        """
        deadline = time.monotonic() + timeout_sec
        while not self.ask(f"Boolean({condition})"):
            if time.monotonic() > deadline:
                raise RuntimeError(f"not within {timeout_sec:.0f} s: {condition}")
            time.sleep(0.05)

    def wear(self, width: int, height: int, scheme: str, *, scale: float = 1) -> None:
        """Be so large (in CSS pixels), and dark or light."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False
        )

    def picture(self) -> bytes:
        """Return what is to be seen, as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
