"""cdb_ws: market data in, and the clock of the whole system.

`python -m services.cdb_ws.service`
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from services.cdb_ws.adapters.feed_journal import FeedJournal
from services.cdb_ws.adapters.feed_metrics import FeedMetrics
from services.cdb_ws.adapters.live_metrics import LiveMetrics
from services.cdb_ws.adapters.live_play import LivePlay
from services.cdb_ws.adapters.live_session import LiveSession, Stamp
from services.cdb_ws.adapters.neighbour import is_there
from services.cdb_ws.adapters.others import Others
from services.cdb_ws.adapters.pacing import Pace, WallFeedClock, wait_until
from services.cdb_ws.adapters.publishing import Publishing
from services.cdb_ws.adapters.raw_files import RawWriter
from services.cdb_ws.adapters.recording import Recording
from services.cdb_ws.clock import Clock
from services.cdb_ws.live.feed import LiveFeed
from services.cdb_ws.live.protocols import market_of
from services.cdb_ws.live_settings import LiveSettings
from services.cdb_ws.mint import Mint
from services.cdb_ws.recorded import Batch
from services.cdb_ws.settings import FeedSettings, PlaybackSettings
from services.cdb_ws.stand_in import choose_exchange
from services.common.channels import TURNSTILE_ORDER, WS
from services.common.codec import encode
from services.common.errors import FeedInputInvalid, FenceLost, SettingsInvalid, StateMismatch
from services.common.runtime.lifecycle import Lifecycle
from services.common.runtime.process import run_service
from services.common.runtime.publisher import Stopped
from services.common.settings import AUTO, canonical_settings
from services.common.timestamps import SECOND_US, format_timestamp

__all__ = ["FeedService", "main"]

FRUITLESS_STARTS: Final = 3
IDLE_SEC: Final = 0.5


class FeedService:
    """Plays the configured feed into the journal until the process shall stop."""

    def __init__(self, life: Lifecycle) -> None:
        """Look at the recordings.

        Raises:
            FeedInputInvalid: a recording cannot be used.
        """
        self._life = life
        self._playback = life.settings_of(PlaybackSettings)
        self._recording = Recording(life.settings_of(FeedSettings))
        self._settings = self._recording.settings
        self._live = self._given = life.settings_of(LiveSettings)
        self._notice = ""
        self._play = self._recording.play
        self._journal = FeedJournal(life)
        self._metrics = FeedMetrics(
            life,
            speed=self._playback.PLAYBACK_SPEED,
            tick_sec=self._recording.tick_us // SECOND_US,
            expected=[
                (self._settings.VENUE, symbol) for symbol in self._settings.SYMBOLS if self._settings.SYMBOLS != AUTO
            ],
        )
        self._live_metrics = LiveMetrics(life, self._metrics) if self._settings.live else None
        self._publishing = Publishing(life, self._journal, self._metrics)
        self._others = Others(life, self._journal, self._metrics)
        self._run_id = ""
        life.status.add("config", lambda: canonical_settings(self._settings))
        life.status.add("run_id", lambda: self._run_id)
        life.status.add("now", lambda: life.clock.now and format_timestamp(life.clock.now))

    # the frame

    def run(self) -> None:
        """Work until the process shall stop; what cannot be handled is raised after an alert."""
        fruitless = 0
        try:
            while not self._life.stop.is_set():
                before = self._journal.last
                try:
                    self._journal.start_over()
                    self._feed()
                except StateMismatch as lost:  # Redis lost its tail, and with it something that was published here
                    fruitless = fruitless + 1 if self._journal.last == before else 0
                    if fruitless >= FRUITLESS_STARTS:
                        raise
                    self._life.log.warning("starting_over", reason=str(lost))
                    self._life.new_client()
            self._journal.snapshot()
        except Stopped:
            self._life.log.info("stopped_while_waiting")
        except FenceLost:
            raise  # nothing may be published any more, not even an alert
        except Exception as fault:
            self._report(fault)
            raise
        finally:
            self._others.close()

    def _report(self, fault: Exception) -> None:
        code = "FEED_INPUT_INVALID" if isinstance(fault, FeedInputInvalid) else "SERVICE_FAULT"
        try:
            self._journal.alert(code, f"{WS} halts: {fault}", {"error": type(fault).__name__}, critical=True)
        except Exception as error:
            self._life.log.warning("fault_not_announced", reason=str(error))

    def _feed(self) -> None:
        self._metrics.ended = False
        self._publishing.start_over()
        self._others.start_over()
        if self._settings.live:
            self._listen()
        elif self._settings.FEED == "external":
            self._tick_by_wall_clock()
        else:
            self._play_recording()

    def _begin(self, start_us: int) -> Mint:
        """Join the journal's run, or begin a new one at this feed time.

        Raises:
            FeedInputInvalid: the recording begins before the time that the run has reached.
            SettingsInvalid: RUN_ID names an earlier run of this journal.
        """
        journal = self._journal
        current = journal.run.run_id
        self._run_id = self._choose_run(current, journal.fold.runs)
        now_us = start_us
        if self._run_id == current and journal.run.now is not None:
            if (
                self._settings.FEED in {"recorded", "raw"}
                and journal.fold.play != self._play
                and start_us <= journal.run.now
            ):
                raise FeedInputInvalid(
                    f"the recording plays from {format_timestamp(start_us)}, but run {current} has reached "
                    f"{format_timestamp(journal.run.now)} with another recording or other feed settings: begin a new "
                    "run (--new-run, RUN_ID), use another data folder, or set everything as it was"
                )
            now_us = journal.run.now
        details: dict[str, Any] = {"files": self._recording.provenance}
        if self._settings.live:
            details["live"] = canonical_settings(self._live)
        journal.announce(self._settings, self._play, self._run_id, now_us, details)
        return Mint(self._run_id, self._settings.VENUE, journal.fold.base)

    def _choose_run(self, current: str | None, runs: Sequence[str]) -> str:
        wanted = self._playback.RUN_ID
        if self._run_id:
            return self._run_id  # this process has chosen already
        if not wanted:
            return current if current is not None and not self._playback.NEW_RUN else uuid4().hex
        if wanted in runs and (wanted != current or self._playback.NEW_RUN):
            raise SettingsInvalid(f"RUN_ID={wanted}: this journal already has a run of that name; choose another")
        return wanted

    # a recording

    def _play_recording(self) -> None:
        reader = self._recording.reader()
        self._metrics.reading(reader.counts, [file.path.name for file in self._recording.files])
        feed = self._recording.open(reader)
        mint = self._begin(feed.start_us)
        if self._journal.last == self._journal.fold.base:
            self._others.await_all()
        pace = Pace(self._playback.PLAYBACK_SPEED, self._life.stop, self._life.beat)
        for batch in feed:
            if self._life.stop.is_set():
                return
            if mint.number(batch) <= self._journal.last:
                self._publishing.pass_over(batch, mint.number(batch))
                continue
            if not pace.wait(batch.timestamp_us) or not self._others.await_turn():
                return
            self._publishing.publish(batch, mint)
            self._journal.snapshot_if_due()
        self._life.log.info("feed_finished", batch=self._journal.last)
        self._metrics.ended = True
        self._stay()

    # the exchange

    def _listen(self) -> None:
        """Listen to the exchange; the clock ticks from the start, also when there is no way to it."""
        run, settings = self._journal.run, self._settings
        self._run_id = self._choose_run(run.run_id, self._journal.fold.runs)
        going_on = self._run_id == run.run_id
        live = self._choose_exchange(going_on=going_on)
        wall = WallFeedClock(Decimal(1), run.now if going_on else None)
        mint = self._begin(wall.start_us)
        market, fold = market_of(settings.VENUE, live), self._journal.fold
        resumed = going_on and fold.last_market > 0
        feed = LiveFeed(market, live, settings.SYMBOLS, resumed=resumed, chosen=fold.chosen, leaving=fold.leaving)
        folder = self._playback.FEED_RECORD_DIR
        writer = (
            RawWriter(Path(folder), settings, live, resumed=resumed, chosen=fold.chosen, leaving=fold.leaving)
            if folder
            else None
        )
        assert self._live_metrics is not None
        play = LivePlay(
            self._life,
            LiveSession(feed, market, Stamp(wall.now_us), writer),
            self._live_metrics,
            Clock(self._recording.tick_us, self._journal.run.now or wall.start_us),
            max_hz=settings.MARKET_DATA_MAX_HZ,
            publish=lambda batch: self._publish_next(batch, mint),
            tell=self._journal.tell,
            held=lambda: self._journal.fold.holdings.of(settings.VENUE),
        )
        self._life.log.info("listening", venue=settings.VENUE, rest=market.rest_url, websocket=market.socket_url)
        if self._notice:
            self._journal.alert("FEED_SANDBOX", self._notice, {"rest": market.rest_url})
        try:
            play.wait(lambda: self._journal.missing(TURNSTILE_ORDER))
            play.run()
        finally:
            if writer is not None:
                writer.close()

    def _choose_exchange(self, *, going_on: bool) -> LiveSettings:
        """Listen to MEXC, or to the sandbox that compose has started (see `stand_in`)."""
        fold, sandbox = self._journal.fold, self._playback.MEXC_SANDBOX
        exchange = choose_exchange(
            self._given,
            sandbox,
            paper=self._life.infra.TRADING_MODE == "paper",
            present=bool(sandbox) and is_there(sandbox),
            began_on=fold.heard if going_on else None,
        )
        self._live, self._notice = exchange
        self._play = sha256(encode({"play": self._recording.play, "live": canonical_settings(self._live)})).hexdigest()
        return self._live

    def _publish_next(self, batch: Batch, mint: Mint) -> None:
        """Publish a batch under the next number."""
        self._publishing.publish(batch._replace(number=self._journal.last + 1 - self._journal.fold.base), mint)
        self._journal.snapshot_if_due()

    # the clock alone

    def _tick_by_wall_clock(self) -> None:
        run = self._journal.run
        self._run_id = self._choose_run(run.run_id, self._journal.fold.runs)
        wall = WallFeedClock(self._playback.CLOCK_SPEED, run.now if self._run_id == run.run_id else None)
        mint = self._begin(wall.start_us)
        clock = Clock(self._recording.tick_us, self._journal.run.now or wall.start_us)
        while wait_until(wall.due(clock.next_us), self._life.stop, self._life.beat):
            tick_us = clock.latest(wall.now_us())
            if tick_us is None:
                continue
            number = self._journal.last + 1
            events = [mint.tick(tick_us, self._publishing.pressure)]
            result = self._journal.publish(number, events)
            assert result is not None, "a tick is not withheld"
            self._publishing.pressure = result.pressure
            self._metrics.published(Batch(number, tick_us, "tick"), events)
            self._journal.snapshot_if_due()

    def _stay(self) -> None:
        """After the end of a recording: stay up, and notice when Redis loses it."""
        self._journal.snapshot()
        while wait_until(time.monotonic() + IDLE_SEC, self._life.stop, self._life.beat):
            self._journal.check_lineage()


def main(environ: Mapping[str, str] | None = None) -> int:
    """Be the process of cdb_ws; returns the exit code."""

    def body(life: Lifecycle) -> None:
        FeedService(life).run()

    return run_service(WS, body, settings=(FeedSettings, PlaybackSettings, LiveSettings), environ=environ)


if __name__ == "__main__":
    sys.exit(main())
