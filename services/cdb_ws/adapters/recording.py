"""The recordings of a run: which files, under which settings, and the feed that plays them.

cdb_ws and `claire run-paper` open recordings here, so that both give the same batches.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final

from services.cdb_ws.adapters.raw_files import RawSession
from services.cdb_ws.adapters.recorded_files import Reader, RecordedFile
from services.cdb_ws.recorded import Note, RecordedFeed, Source
from services.cdb_ws.settings import FeedSettings
from services.common.codec import encode
from services.common.errors import FeedInputInvalid
from services.common.settings import AUTO, canonical_settings
from services.common.timestamps import SECOND_US

__all__ = ["Recording"]

CANDLE_TICK_SEC: Final = 60


class Recording:
    """What is to be played.

    Args:
        given: the settings as configured; the feed `external` has no files.

    Attributes:
        settings: as they are in force: the clock's tick decided, names instead of paths.
        files: in the order in which they were named.
        provenance: what proves which files they were.
        play: identity of the files and of the settings under which they play.

    Raises:
        FeedInputInvalid: a file cannot be used.
    """

    def __init__(self, given: FeedSettings) -> None:
        names = given.FEED_FILES if given.FEED in {"recorded", "raw"} else ()
        self.files = [RecordedFile.inspect(Path(name)) for name in names]
        candles = bool(self.files) and all(file.kind == "candles" for file in self.files)
        self.settings = given.model_copy(
            update={
                "CLOCK_TICK_SEC": given.CLOCK_TICK_SEC or (CANDLE_TICK_SEC if candles else 1),
                "FEED_FILES": tuple(file.path.name for file in self.files),
            }
        )
        self.provenance = [file.provenance() for file in self.files]
        self.play = sha256(
            encode({"settings": canonical_settings(self.settings), "files": self.provenance})
        ).hexdigest()

    @property
    def tick_us(self) -> int:
        """Distance of the clock's ticks, microseconds."""
        assert self.settings.CLOCK_TICK_SEC is not None
        return self.settings.CLOCK_TICK_SEC * SECOND_US

    def reader(self) -> Reader:
        """Return a new reader of the files."""
        settings = self.settings
        return Reader(settings.SYMBOLS, settings.RECORDED_SYMBOL_MAP, skip_bad_rows=settings.FEED_BAD_ROWS == "skip")

    def open(
        self,
        reader: Reader,
        *,
        play_from_us: int | None = None,
        alter: Callable[[Source], Source] | None = None,
    ) -> RecordedFeed:
        """Return the feed from its beginning.

        Args:
            reader: counts what is read.
            play_from_us: rows before it are warm-up; None: as the settings say.
            alter: what is done to each stream before it is played.

        Raises:
            FeedInputInvalid: there is nothing to play.
        """
        settings = self.settings
        if any(file.kind == "raw" for file in self.files):
            return self._open_raw(reader, play_from_us, alter)
        try:
            return RecordedFeed(
                reader.blocks(self.files)
                if alter is None
                else [alter(source) for source in reader.sources(self.files)],
                max_hz=settings.MARKET_DATA_MAX_HZ,
                tick_us=self.tick_us,
                warmup_min=settings.RECORDED_WARMUP_MIN,
                play_from_us=play_from_us,
            )
        except FeedInputInvalid as error:
            if reader.counts.rows or not reader.counts.ignored:
                raise
            there = ", ".join(sorted(reader.counts.ignored))
            raise FeedInputInvalid(
                f"{', '.join(settings.FEED_FILES)}: {error} ({', '.join(settings.SYMBOLS)}); it has {there}: change "
                f"SYMBOLS, or map them, as RECORDED_SYMBOL_MAP={min(reader.counts.ignored)}={settings.SYMBOLS[0]}"
            ) from error

    def _open_raw(
        self, reader: Reader, play_from_us: int | None, alter: Callable[[Source], Source] | None
    ) -> RecordedFeed:
        """Return the feed of a kept session: its frames go through the very state machine that they came through."""
        if any(file.kind != "raw" for file in self.files):
            raise FeedInputInvalid("raw sessions and other recordings do not mix: play one of them")
        session, settings = RawSession(file.path for file in self.files), self.settings
        if session.head["venue"] != settings.VENUE:
            raise FeedInputInvalid(f"the session is of {session.head['venue']}: set VENUE={session.head['venue']}")
        notes, begun_us = [], None
        for at_us, step in session.steps():
            begun_us = at_us if begun_us is None else begun_us
            bars = tuple((warmup.symbol, bar) for warmup in step.warmups for bar in warmup.bars)
            if step.facts or bars:
                notes.append(Note(at_us, tuple(step.facts), bars))

        def seen() -> Source:
            for _, step in session.steps():
                reader.counts.rejected += len(step.rejected)
                yield from step.rejected
                for row in step.observations:
                    if settings.SYMBOLS == AUTO or row.symbol in settings.SYMBOLS:
                        reader.counts.rows += 1
                        yield row
                    else:
                        reader.counts.ignored[row.symbol] += 1

        return RecordedFeed(
            [seen() if alter is None else alter(seen())],
            max_hz=settings.MARKET_DATA_MAX_HZ,
            tick_us=self.tick_us,
            play_from_us=play_from_us,
            begun_us=begun_us,
            notes=notes,
        )
