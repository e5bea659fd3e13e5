"""A web server that takes messages, refuses them, or holds its answer back, as a test wants it."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver:
    """Listens on 127.0.0.1.

    Attributes:
        got: messages in the order in which they came (also those that were refused).
        status: what it answers.
        may_answer: cleared, it takes a message and says nothing.
    """

    def __init__(self) -> None:
        """Choose a port; `start` listens on it."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.got: list[dict[str, Any]] = []
        self.status = 200
        self.may_answer = threading.Event()
        self.may_answer.set()
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """Its address for apprise, with a password that must never show."""
        return f"json://user:hunter2@127.0.0.1:{self.port}/hook"  # not a secret: made up

    @property
    def titles(self) -> list[str]:
        """Titles of what came."""
        return [message["title"] for message in self.got]

    def start(self) -> Receiver:
        """Begin to listen."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append(json.loads(body))
                receiver.may_answer.wait(30)
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def stop(self) -> None:
        """Listen no longer."""
        self.may_answer.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
