"""Our side of the replay benchmark: decoded ticks, or files, through the whole loop in this process.

A program of its own, so that its memory is its own. It reads one JSON object of options from standard input and writes
one with its measurements to standard output. Times are of the CPU: the machine may have other things to do.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from claire.kernel import deciding_machines
from claire.paper.feed import PaperFeed
from claire.paper.run import ClosedLoop, run_paper, seldom_collected, service_settings
from claire.paper.spec import PaperSpec
from services.cdb_ws.adapters.recording import Recording
from services.cdb_ws.observation import Observation, RejectedRow
from services.cdb_ws.recorded import RecordedFeed
from services.cdb_ws.settings import FeedSettings
from services.cdb_ws.stretches import TickBlock
from services.common.channels import ORDERS
from services.common.decimals import use_fixed_context
from services.common.runtime.build import code_version
from services.common.settings import load_settings

US_PER_NS = 1_000


class _Stream:
    """Decoded ticks, played again and again later in time; making the later copies is not part of the time.

    They are decoded as a reader of recordings does it: in columns, where they are plain.
    """

    def __init__(self, base: list[Observation | RejectedRow | TickBlock], repeats: int, shift_us: int) -> None:
        self._base = base
        self._repeats = repeats
        self._shift_us = shift_us
        self.making_sec = 0.0
        self.played = 0

    def __iter__(self) -> Iterator[Observation | RejectedRow | TickBlock]:
        for repeat in range(self._repeats):
            began = time.process_time()
            part = [_later(item, repeat * self._shift_us) for item in self._base]
            self.played += sum(sum(map(len, item)) if isinstance(item, tuple) else 1 for item in part)
            self.making_sec += time.process_time() - began
            yield from part


def _later(item: Observation | RejectedRow | TickBlock, by_us: int) -> Observation | RejectedRow | TickBlock:
    if isinstance(item, tuple):
        return tuple(replace(ticks, times=[time_us + by_us for time_us in ticks.times]) for ticks in item)
    return replace(item, timestamp_us=item.timestamp_us + by_us)


def _replay(options: dict[str, Any]) -> dict[str, Any]:
    """Decoded ticks through conflation, signal, seven layers, paper fill and ledger; no bytes."""
    began = time.process_time()
    given: dict[str, Any] = {**options["settings"], "FEED_FILES": tuple(options["files"])}
    recording = Recording(load_settings(FeedSettings, given))
    shift_us = options["shift_ns"] // US_PER_NS
    streams = [
        _Stream(list(source), options["repeats"], shift_us) for source in recording.reader().blocks(recording.files)
    ]
    load_sec = time.process_time() - began
    sources = [iter(stream) for stream in streams]
    # as on the other side, making machines and settings is not part of the run; nor is finding out which code this is
    configured, machines, _ = service_settings(options["settings"]), deciding_machines(), code_version()
    began = time.process_time()
    feed = RecordedFeed(sources, max_hz=recording.settings.MARKET_DATA_MAX_HZ, tick_us=recording.tick_us)
    paper = PaperFeed(recording.settings, feed.start_us, None, recording.play, {}, iter(feed))
    loop = ClosedLoop(paper, configured, "benchmark", machines)
    entries = orders = 0
    with seldom_collected():
        for entry in loop.entries():
            entries += 1
            orders += entry.channel == ORDERS
    run_sec = time.process_time() - began - sum(stream.making_sec for stream in streams)
    played = sum(stream.played for stream in streams)
    return {"ticks": played, "load_sec": load_sec, "run_sec": run_sec, "orders": orders, "entries": entries}


def _from_file(options: dict[str, Any]) -> dict[str, Any]:
    """Files through everything, each event encoded and hashed into the chain."""
    # as on the other side, loading code is not part of the run; nor is finding out which code this is
    deciding_machines(), code_version()
    began = time.process_time()
    run = run_paper(PaperSpec(tuple(map(Path, options["files"])), options["settings"]))
    return {
        "run_sec": time.process_time() - began,
        "orders": run.events.get("order", 0),
        "entries": sum(run.events.values()),
        "chain_tip": run.chain_tip,
    }


def main() -> None:
    """Measure what the options ask for."""
    use_fixed_context()
    options = json.load(sys.stdin)
    result = _replay(options) if options["what"] == "replay" else _from_file(options)
    result["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
