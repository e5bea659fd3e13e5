"""Raw sessions on disk: every frame both ways, every answer and every lost connection, in order and with its time.

One line of JSON each, packed with zstd. A frame of zstd ends every second, so a crash costs the last second; what
comes after a torn end is not read. `FEED=raw` plays such files through the very same state machine, so that a fault in
reading a frame repeats exactly.
"""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import zstandard

from services.cdb_ws.adapters.live_session import apply
from services.cdb_ws.adapters.live_wire import Came
from services.cdb_ws.live.feed import LiveFeed
from services.cdb_ws.live.protocols import market_of
from services.cdb_ws.live.words import Answer, Ask, Step
from services.cdb_ws.live_settings import LiveSettings
from services.cdb_ws.settings import FeedSettings
from services.common.errors import FeedInputInvalid
from services.common.settings import canonical_settings

__all__ = ["SUFFIX", "RawSession", "RawWriter", "is_raw"]

SUFFIX: Final = ".raw.jsonl.zst"
FLUSH_SEC: Final = 1.0
ROTATE_SEC: Final = 3_600.0


def is_raw(path: Path) -> bool:
    """Whether a file is named as a raw recording."""
    return path.name.endswith(SUFFIX)


class RawWriter:
    """Keeps a session; a new file begins every hour.

    Args:
        folder: is made when it is not there.
        settings: what was listened to.
        live: and how.
        resumed: as the feed was told.

    Attributes:
        paths: the files written so far.
        lines: lines written so far.
    """

    def __init__(
        self,
        folder: Path,
        settings: FeedSettings,
        live: LiveSettings,
        *,
        resumed: bool,
        chosen: Sequence[str] | None = None,
        leaving: Sequence[str] = (),
    ) -> None:
        self._folder = folder
        self._head = {
            "k": "head",
            "version": 1,
            "session": uuid4().hex,
            "venue": settings.VENUE,
            "symbols": list(settings.SYMBOLS),
            "resumed": resumed,
            "chosen": None if chosen is None else list(chosen),
            "leaving": list(leaving),
            "live": {name: str(value) for name, value in canonical_settings(live).items()},
        }
        self.paths: list[Path] = []
        self.lines = 0
        self._file: Any = None
        self._packer: Any = None
        self._opened = self._flushed = 0.0
        folder.mkdir(parents=True, exist_ok=True)

    def began(self, at_us: int) -> None:
        """Keep that the session began."""
        self._write({"k": "begin", "t": at_us})

    def ticked(self, at_us: int) -> None:
        """Keep that time passed, with consequences."""
        self._write({"k": "tick", "t": at_us})

    def held(self, at_us: int, held: Mapping[str, Decimal | None]) -> None:
        """Keep that what is held has changed."""
        texts = {symbol: None if quantity is None else str(quantity) for symbol, quantity in held.items()}
        self._write({"k": "held", "t": at_us, "held": texts})

    def came(self, came: Came) -> None:
        """Keep an input."""
        line: dict[str, Any] = {"k": came.kind, "t": came.at_us, "c": came.connection}
        value = came.value
        if isinstance(value, Answer):
            ask = value.ask
            line["ask"] = [ask.kind, ask.symbol, ask.path, list(map(list, ask.params)), ask.after_ms, ask.attempt]
            line["sent"], line["status"] = value.sent_us, value.status
            value = value.body
        self._write(line | _packed(value))

    def sent(self, at_us: int, connection: int, text: str) -> None:
        """Keep a frame of ours."""
        self._write({"k": "sent", "t": at_us, "c": connection, "x": text})

    def _write(self, line: dict[str, Any]) -> None:
        now = time.monotonic()
        if self._file is None or now - self._opened >= ROTATE_SEC:
            self.close()
            self._open(now)
        self._line({**line, "m": time.monotonic_ns(), "w": time.time_ns() // 1_000})
        if now - self._flushed >= FLUSH_SEC:
            self._flushed = now
            self._packer.flush(zstandard.FLUSH_FRAME)
            self._file.flush()

    def _line(self, line: dict[str, Any]) -> None:
        self._packer.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
        self.lines += 1

    def _open(self, now: float) -> None:
        part = len(self.paths) + 1
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        name = f"{self._head['venue']}-{moment}-{str(self._head['session'])[:8]}-{part:04}{SUFFIX}"
        path = self._folder / name
        self._file = path.open("xb")
        self._packer = zstandard.ZstdCompressor(level=3).stream_writer(self._file, closefd=False)
        self.paths.append(path)
        self._opened = self._flushed = now
        self._line({**self._head, "part": part})

    def close(self) -> None:
        """End the file in hand."""
        if self._file is not None:
            self._packer.close()
            self._file.close()
            self._file = None


def _packed(value: str | bytes | None) -> dict[str, str]:
    if value is None:
        return {}
    if isinstance(value, str):
        return {"x": value}
    return {"b": base64.b64encode(value).decode()}


class RawSession:
    """Plays a kept session into a new state machine.

    Args:
        paths: its files; they are played in the order of their parts.

    Raises:
        FeedInputInvalid: they are no parts of one session.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        heads = sorted(((_head(path), path) for path in paths), key=lambda found: int(found[0]["part"]))
        sessions = {head["session"] for head, _ in heads}
        if len(sessions) != 1:
            raise FeedInputInvalid("files of several sessions of claire record: play one session at a time")
        if [head["part"] for head, _ in heads] != list(range(1, len(heads) + 1)):
            raise FeedInputInvalid(
                "parts of the session are missing: it is played from its first part on, without a hole"
            )
        self.head = heads[0][0]
        self._paths = [path for _, path in heads]

    @property
    def symbols(self) -> tuple[str, ...]:
        """What was listened to."""
        return tuple(self.head["symbols"])

    def feed(self) -> LiveFeed:
        """Return the state machine as it was at the beginning."""
        head = self.head
        live = LiveSettings.model_validate(head["live"])
        return LiveFeed(
            market_of(head["venue"], live),
            live,
            self.symbols,
            resumed=bool(head["resumed"]),
            chosen=head["chosen"],
            leaving=head["leaving"],
        )

    def steps(self) -> Iterator[tuple[int, Step]]:
        """Yield what followed from each input, and when.

        Raises:
            FeedInputInvalid: a line is none of a session.
        """
        feed = self.feed()
        for path in self._paths:
            for number, line in enumerate(_lines(path), 1):
                try:
                    step = self._step(feed, line)
                    at_us = int(line.get("t", 0))
                except (KeyError, TypeError, ValueError, ArithmeticError) as error:
                    raise FeedInputInvalid(f"{path}:{number}: {type(error).__name__}: {error}") from error
                if step is not None and step:
                    yield at_us, step

    @staticmethod
    def _step(feed: LiveFeed, line: dict[str, Any]) -> Step | None:
        kind = line["k"]
        if kind == "begin":
            return feed.begin(line["t"])
        if kind == "tick":
            return feed.tick(line["t"])
        if kind == "held":
            held = {symbol: None if text is None else Decimal(text) for symbol, text in line["held"].items()}
            return feed.hold(held, line["t"])
        if kind in {"head", "sent"}:
            return None
        value: Any = base64.b64decode(line["b"]) if "b" in line else line.get("x")
        if kind == "answer":
            what, symbol, path, params, after_ms, attempt = line["ask"]
            ask = Ask(what, symbol, path, tuple((name, text) for name, text in params), after_ms, attempt)
            value = Answer(ask, line["sent"], line["status"], value)
        return apply(feed, Came(kind, line["t"], line["c"], value))


def _head(path: Path) -> dict[str, Any]:
    line = next(_lines(path), None)
    if line is None or line.get("k") != "head" or line.get("version") != 1:
        raise FeedInputInvalid(f"{path}: not a recording of claire record (its first line says what was recorded)")
    return line


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the whole lines; a torn end is left out."""
    try:
        with path.open("rb") as file:
            reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            for text in io.BufferedReader(_Torn(reader), 1 << 16):
                if not text.endswith(b"\n"):
                    return
                yield json.loads(text)
    except OSError as error:
        raise FeedInputInvalid(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise FeedInputInvalid(f"{path}: {error}") from error


class _Torn(io.RawIOBase):
    """A packed stream that simply ends where it is torn."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read on; nothing after the tear."""
        try:
            data = self._reader.read(len(buffer))
        except zstandard.ZstdError:
            return 0
        buffer[: len(data)] = data
        return len(data)
