"""Raw sessions: what is no session of `claire record` is refused with file and reason, a torn end is left out."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import zstandard

from services.cdb_ws.adapters.live_wire import Came
from services.cdb_ws.adapters.raw_files import SUFFIX, RawSession, RawWriter
from services.cdb_ws.live.words import Answer, Ask
from services.cdb_ws.live_settings import LiveSettings
from services.cdb_ws.settings import FeedSettings
from services.common.errors import FeedInputInvalid
from tests.unit.ws.live_desk import spot_row

pytestmark = pytest.mark.unit

SETTINGS = FeedSettings.model_validate({"FEED": "mexc_spot", "SYMBOLS": "BTCUSDT"})


def packed(path: Path, *lines: dict[str, Any] | bytes) -> Path:
    """Write lines as a file of a session."""
    text = b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
    path.write_bytes(zstandard.ZstdCompressor().compress(text))
    return path


def head(part: int = 1, session: str = "s") -> dict[str, Any]:
    """Return the first line of a file."""
    return {
        "k": "head",
        "version": 1,
        "session": session,
        "part": part,
        "venue": "mexc_spot",
        "symbols": ["BTCUSDT"],
    } | {
        "resumed": False,
        "chosen": None,
        "leaving": [],
        "live": {},
    }


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([[{"k": "tick", "t": 1}]], "not a recording of claire record"),
        ([[b"{\n"]], "a0"),
        ([[head(2)]], "parts of the session are missing"),
        ([[head(1)], [head(3)]], "parts of the session are missing"),
        ([[head(1)], [head(1, "other")]], "several sessions"),
    ],
)
def test_what_is_no_session_is_refused(tmp_path: Path, files: list[list[Any]], said: str) -> None:
    """No head, broken JSON, a missing part, another session: an error that says which."""
    paths = [packed(tmp_path / f"a{place}{SUFFIX}", *lines) for place, lines in enumerate(files)]
    with pytest.raises(FeedInputInvalid, match=said):
        RawSession(paths)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """The path and the reason of the system."""
    with pytest.raises(FeedInputInvalid, match="cannot be read"):
        RawSession([tmp_path / f"nothing{SUFFIX}"])


@pytest.mark.parametrize("line", [{"k": "tick"}, {"t": 1}, {"k": "answer", "t": 1, "c": 0, "ask": 3}])
def test_a_line_that_is_none_is_named_with_its_place(tmp_path: Path, line: dict[str, Any]) -> None:
    """File and line number stand in the error."""
    session = RawSession([packed(tmp_path / f"a{SUFFIX}", head(), line)])
    with pytest.raises(FeedInputInvalid, match=rf"a{SUFFIX}:2: "):
        list(session.steps())


def test_a_torn_end_is_left_out(tmp_path: Path) -> None:
    """Neither half a line nor half a frame of zstd is an error: what came before is played."""
    half_line = packed(tmp_path / f"a{SUFFIX}", head(), {"k": "begin", "t": 1}, b'{"k": "ti')
    assert RawSession([half_line]).symbols == ("BTCUSDT",)
    assert list(RawSession([half_line]).steps()) is not None
    whole = half_line.read_bytes()
    torn = tmp_path / f"b{SUFFIX}"
    torn.write_bytes(whole + zstandard.ZstdCompressor().compress(b'{"k": "tick", "t": 2}\n' * 50)[:-9])
    assert RawSession([torn]).head["session"] == "s"
    list(RawSession([torn]).steps())


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    """A session of a beginning and two ticks has one file, and its head says what was listened to."""
    writer = RawWriter(tmp_path / "new", SETTINGS, LiveSettings(), resumed=False)
    writer.began(1_000_000)
    writer.ticked(2_000_000)
    writer.close()
    session = RawSession(writer.paths)
    assert session.symbols == ("BTCUSDT",)
    assert [at_us for at_us, _ in session.steps()][:1] == [1_000_000]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"FEED": "raw"}, "FEED=raw needs FEED_FILES"),
        ({"FEED": "mexc_perpetual", "VENUE": "mexc_spot"}, "VENUE=mexc_spot is another market"),
    ],
)
def test_settings_that_contradict_each_other_name_the_fix(given: dict[str, str], said: str) -> None:
    """A feed without files and one of another market are refused at the start."""
    with pytest.raises(ValueError, match=said):
        FeedSettings.model_validate(given)


def test_what_was_held_is_kept_with_the_session(tmp_path: Path) -> None:
    """A change of holdings is an input like a frame: the session that is played again watches the same symbols."""
    writer = RawWriter(tmp_path, SETTINGS, LiveSettings(FEED_WARMUP_MIN=0), resumed=False)
    writer.began(1)
    writer.held(2, {"ETHUSDT": Decimal("0.5"), "SOLUSDT": None})
    listed = {"symbols": [spot_row(), spot_row("ETHUSDT"), spot_row("SOLUSDT")]}
    answer = Answer(Ask("instruments", "", "/api/v3/exchangeInfo"), 3, 200, json.dumps(listed).encode())
    writer.came(Came("answer", 3, 0, answer))
    writer.close()

    (facts,) = [step.facts for _, step in RawSession(writer.paths).steps() if step.facts]
    told = [news.code for _, step in RawSession(writer.paths).steps() for news in step.news]
    assert [action for action, _ in facts] == ["instruments", "instruments"]
    assert told == ["SYMBOL_HELD", "SYMBOL_HELD"]
