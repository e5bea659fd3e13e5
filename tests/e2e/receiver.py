"""A web server in a container: takes messages to people, refuses them when told so, and shows them to the tests.

| request | |
|---|---|
| `POST /hook` | a message, as apprise sends it |
| `GET /messages` | every message so far in order, `{"title", "message", "taken"}` |
| `POST /refuse`, `POST /take` | answer 503 from now on, or 200 again |
| `GET /health` | for the health check of the image |
"""

from __future__ import annotations

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

messages: list[dict[str, Any]] = []
refuses = threading.Event()


class Handler(BaseHTTPRequestHandler):
    """Answers."""

    def do_GET(self) -> None:
        """Show what came."""
        self._answer(200, messages if self.path == "/messages" else {"status": "ok"})

    def do_POST(self) -> None:
        """Take or refuse a message, or change to the other."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/hook":
            came = json.loads(body)
            messages.append({"title": came["title"], "message": came["message"], "taken": not refuses.is_set()})
            self._answer(503 if refuses.is_set() else 200, {})
            return
        if self.path == "/refuse":
            refuses.set()
        else:
            refuses.clear()
        self._answer(200, {})

    def _answer(self, status: int, value: object) -> None:
        text = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


if __name__ == "__main__":
    ThreadingHTTPServer(("0.0.0.0", int(os.environ["HTTP_PORT"])), Handler).serve_forever()
