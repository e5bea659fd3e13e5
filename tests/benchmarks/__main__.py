"""`make bench`: everything side by side in one run, as a table and as bench-results/bench.json."""

from __future__ import annotations

import json
import platform
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from claire.embedded import EmbeddedPostgres, EmbeddedRedis
from tests.benchmarks.bare_chain import measure_bare_chain
from tests.benchmarks.journal_chain import measure_journal_chain
from tests.benchmarks.journal_publish import measure_publish
from tests.benchmarks.latency import Latency
from tests.benchmarks.pipeline_chain import measure_pipeline, measure_throughput
from tests.benchmarks.replay import measure_replay
from tests.benchmarks.restart import measure_restart
from tests.benchmarks.writer_batches import measure_writer

RESULT = Path("bench-results/bench.json")
MESSAGE = b"x" * 550
"""As long as a market data event."""

RATES = ((100.0, 2_000), (1_000.0, 8_000))
ROUNDS = 3
SIDES: dict[str, Callable[..., Latency]] = {
    "pipeline": measure_pipeline,
    "together": partial(measure_pipeline, together=True),
    "journal": measure_journal_chain,
}
WHAT = {
    "pipeline": "market_data → order_result",
    "together": "the same, three entries at once",
    "journal": "four hops of the journal alone",
}


@contextmanager
def _redis() -> Iterator[Mapping[str, str]]:
    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis(Path(folder) / "redis", maxmemory="0") as server:
        yield server.environment


def _median(series: list[Latency]) -> Latency:
    return sorted(series, key=lambda latency: latency.p50)[len(series) // 2]


def _latencies(console: Console) -> list[dict[str, Any]]:
    rows = []
    for rate, count in RATES:
        measured: dict[str, list[Latency]] = {name: [] for name in ("bare", *SIDES)}
        for _ in range(ROUNDS):
            console.print(f"pipeline, journal and bare chain at {rate:.0f}/s …", style="dim")
            with _redis() as environment:
                measured["bare"].append(measure_bare_chain(environment, MESSAGE, rate=rate, count=count))
            for name, measure in SIDES.items():
                with _redis() as environment:
                    measured[name].append(measure(environment, rate=rate, count=count))
        row: dict[str, Any] = {"rate": rate, "bare": _median(measured["bare"]).as_dict()}
        for name in SIDES:
            ratios = [ours.p50 / bare.p50 for ours, bare in zip(measured[name], measured["bare"], strict=True)]
            row[name] = {**_median(measured[name]).as_dict(), "ratios_p50": ratios}
        rows.append(row)
    return rows


def _throughput() -> dict[str, float]:
    with _redis() as environment:
        bare = measure_bare_chain(environment, MESSAGE, rate=0, count=20_000)
    with _redis() as environment:
        ours = measure_throughput(environment, count=20_000)
    return {
        "bare_per_second": bare.achieved,
        "pipeline_per_second": ours["events_per_second"],
        "largest_service_mib": ours["largest_service_mib"],
        "ratio": ours["events_per_second"] / bare.achieved,
    }


def _measure(console: Console, results: dict[str, Any]) -> None:
    results["latency"] = _latencies(console)
    console.print("largest sustained rate …", style="dim")
    results["throughput"] = _throughput()
    console.print("publish …", style="dim")
    with _redis() as environment:
        results["publish"] = measure_publish(environment, count=20_000)
    console.print("restart …", style="dim")
    with _redis() as environment:
        results["restart"] = measure_restart(environment, history=5_000, missed=500)
    console.print("writer …", style="dim")
    with tempfile.TemporaryDirectory() as folder, EmbeddedPostgres(Path(folder) / "postgres") as server:
        results["writer"] = measure_writer(server.environment, count=50_000)
    results["memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _table(results: dict[str, Any]) -> Table:
    table = Table(title="side by side, in one run")
    for name in ("what", "ours", "yardstick", "ratio", "budget"):
        table.add_column(name, justify="left" if name == "what" else "right", no_wrap=True)
    for row in results["latency"]:
        for name, what in WHAT.items():
            for share in ("p50", "p99"):
                budget = share == "p50" and row["rate"] == 1_000 and name == "pipeline"
                table.add_row(
                    f"{what}, {row['rate']:.0f}/s, {share}",
                    f"{row[name][share]:,.0f} µs",
                    f"{row['bare'][share]:,.0f} µs bare chain",
                    f"{row[name][share] / row['bare'][share]:.2f}",
                    "≤ 1.50" if budget else "",
                )
    throughput, publish = results["throughput"], results["publish"]
    table.add_row(
        "largest sustained rate",
        f"{throughput['pipeline_per_second']:,.0f}/s",
        f"{throughput['bare_per_second']:,.0f}/s bare chain",
        f"{throughput['ratio']:.2f}",
    )
    table.add_row(
        "journal publish",
        f"{publish['journal_per_second']:,.0f}/s",
        f"{publish['plain_per_second']:,.0f}/s plain PUBLISH",
        f"{publish['ratio']:.2f}",
    )
    writer = results["writer"]
    for name, what in (
        ("store", "writer: batches"),
        ("fold_and_store", "writer: decoding, chain, batches"),
    ):
        table.add_row(
            what,
            f"{writer[f'{name}_per_second']:,.0f}/s",
            f"{writer['raw_copy_per_second']:,.0f}/s raw COPY",
            f"{writer[f'ratio_{name}']:.2f}",
            "≥ 0.50" if name == "store" else "",
        )
    restart = results["restart"]
    table.add_row(
        "restart after kill -9 to caught up",
        f"{restart['restart_to_caught_up_sec']:.2f} s",
        f"{restart['bare_import_sec']:.2f} s bare imports",
        f"{restart['restart_to_caught_up_sec'] / restart['bare_import_sec']:.2f}",
        "≤ 2 s",
    )
    table.add_row("memory: largest service", f"{throughput['largest_service_mib']:.0f} MiB", "", "", "")
    return table


def _replay_table(replay: dict[str, Any]) -> Table:
    table = Table(title=f"replay by CPU time; yardstick: {replay['yardstick'] or 'could not be installed'}")
    for name in ("what", "ours", "theirs", "ratio", "run alone", "budget", "MiB"):
        table.add_column(name, justify="left" if name == "what" else "right", no_wrap=True)
    for name, what, budget in (
        ("decoded", "decoded, 4 events/s", "≥ 10"),
        ("decoded_every_event", "decoded, 1000 events/s", ""),
        ("from_file", "from file, hashed", "≥ 2"),
    ):
        for suffix, how in (("", ""), ("_compiled", ", compiled")):
            if row := replay.get(name + suffix):
                table.add_row(
                    what + how,
                    f"{row['ours_per_second']:,.0f}/s",
                    f"{row['theirs_per_second']:,.0f}/s",
                    f"{row['ratio']:.2f}",
                    f"{row['ratio_run_alone']:.2f}" if name.startswith("decoded") else "",
                    budget,
                    f"{row['ours_mib']:.0f} / {row['theirs_mib']:.0f}",
                )
    how = ", compiled" if replay["compiled"] else ""
    for row in replay["growth"]:
        ours, theirs = row["ours"], row.get("theirs")
        mine, cells = ours["run_sec"] / ours["ticks"] * 1e6, ("", "", "")
        if theirs:
            alone = theirs["run_sec"] / theirs["ticks"] * 1e6
            whole = alone + theirs["add_sec"] / theirs["ticks"] * 1e6
            cells = (f"{whole:.2f} µs", f"{whole / mine:.2f}", f"{alone / mine:.2f}")
        peak = f"{ours['peak_mib']:.0f}" + (f" / {theirs['peak_mib']:.0f}" if theirs else "")
        table.add_row(f"decoded, {ours['ticks']:,}{how}", f"{mine:.2f} µs", *cells, "", peak)
    return table


def main(parts: Sequence[str]) -> int:
    """Measure, show, and write the JSON file; `replay` and `pipeline` name a part, nothing means both."""
    console = Console() if sys.stdout.isatty() else Console(width=140)  # a table in a log is not cut off
    results: dict[str, Any] = {"machine": {"python": platform.python_version(), "system": platform.platform()}}
    if not parts or "replay" in parts:
        console.print("replay against NautilusTrader …", style="dim")
        results["replay"] = measure_replay()
        console.print(_replay_table(results["replay"]))
    if not parts or "pipeline" in parts:
        _measure(console, results)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    if "latency" in results:
        console.print(_table(results))
    console.print(f"written: {RESULT}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
