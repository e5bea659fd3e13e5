"""Replay against NautilusTrader: the same ticks, the same rule, equal order counts, one run, in turns.

Both sides are programs of their own. NautilusTrader lives in an environment that is made here on first use. Ours runs
as it stands, and compiled where there is a C compiler: NautilusTrader is compiled, too. Larger inputs than the bundled
six minutes are those minutes again and again, later in time and without a hole between them.

Decoded ticks are in memory when the clock starts, as objects there and in columns here. What it takes to hand them over
(`add_data` there, merging the streams here) and to run counts on both sides; `ratio_run_alone` leaves it out there.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, Final

from claire.paper.scenarios import SCENARIOS

__all__ = ["measure_replay"]

NAUTILUS: Final = "nautilus_trader==1.221.0"
ENVIRONMENT: Final = Path("build/nautilus")
COMPILED: Final = Path("build/compiled").absolute()
HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
FILES: Final = SCENARIOS["ticks-2024-08-08"].inputs
SPAN_MS: Final = 345_000
"""From the first row of the bundled ticks to just after the last."""

SETTINGS: Final = {
    "SIGNAL_LOOKBACK_MIN": "1",
    "SIGNAL_VOL_MULT": "0",
    "SIGNAL_THRESHOLD_PCT": "0.0005",
    "SIGNAL_REARM_FRACTION": "1",
    "SIGNAL_COOLDOWN_MIN": "0",
    "SIGNAL_STOP_COOLDOWN_MIN": "0",
    "ENTRY_SPACING_SEC": "0",
    # about 100 USDT an order, so that each fills at once on both sides and no remainder makes another order
    "RISK_PER_TRADE_PCT": "0.00002",
}
THEIR_SETTINGS: Final = {
    "threshold": 0.0005,
    "rearm": 1.0,
    "stop": 0.02,
    "max_hold_min": 240,
    "min_volume": 100_000,
    "notional": 100.0,
}
GROWTH: Final = (1, 7, 64)
"""Repetitions: about 10^5, 10^6 and 10^7 ticks."""
REPEATS: Final = 7
ROUNDS: Final = 3
EVERY_EVENT_HZ: Final = "1000"

Options = dict[str, Any]


def _yardstick() -> Path | None:
    """Return the Python that has NautilusTrader, making its environment if need be; None where it cannot be had."""
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        venv.create(ENVIRONMENT, with_pip=True)
    wanted = NAUTILUS.partition("==")[2]
    probe = [str(python), "-c", f"import nautilus_trader as n; assert n.__version__ == '{wanted}'"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        install = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check", NAUTILUS]
        if subprocess.run(install, check=False).returncode:
            return None
    return python


def _compile() -> bool:
    """Compile our side unless it is compiled already; whether that can be had here."""
    return not subprocess.run(
        [sys.executable, "backoffice/scripts/compile_package.py", str(COMPILED)], check=False
    ).returncode


def _ours(*, compiled: bool = False, **options: Any) -> Options:
    # -P: what stands in the working directory does not come before what the path says
    path = os.pathsep.join(map(str, [COMPILED, ROOT] if compiled else [ROOT]))
    return _run([sys.executable, "-P", "-m", "tests.benchmarks.claire_side"], options, PYTHONPATH=path)


def _theirs(python: Path, **options: Any) -> Options:
    return _run([str(python), str(HERE / "nautilus_side.py")], {**THEIR_SETTINGS, **options})


def _run(command: list[str], options: Options, **environment: str) -> Options:
    given = {**os.environ, **environment}
    done = subprocess.run(command, input=json.dumps(options), capture_output=True, text=True, check=False, env=given)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    result: Options = json.loads(done.stdout)
    return result


def measure_replay() -> Options:
    """Return what both sides need, by CPU time, and their ratios: theirs over ours."""
    python, compiled = _yardstick(), _compile()
    paths = [str(path) for path in FILES]
    shift = {"shift_ns": SPAN_MS * 1_000_000}
    results: Options = {"yardstick": NAUTILUS if python else None, "compiled": compiled, "growth": []}
    decoded = {"what": "replay", "files": paths, "settings": SETTINGS, **shift}
    for repeats in GROWTH:
        row: Options = {"ours": _ours(**decoded, repeats=repeats, compiled=compiled)}
        if python is not None and repeats <= REPEATS:
            row["theirs"] = _theirs(python, files=paths, repeats=repeats, **shift)
        results["growth"].append(row)
    if python is None:
        return results
    sides = {"": False, "_compiled": True} if compiled else {"": False}
    every_event = {**decoded, "settings": {**SETTINGS, "MARKET_DATA_MAX_HZ": EVERY_EVENT_HZ}}
    handed_over = ("add_sec", "run_sec")
    rounds: dict[str, list[tuple[Options, Options]]] = {}
    for _ in range(ROUNDS):
        theirs = _theirs(python, files=paths, repeats=REPEATS, **shift)
        for name, native in sides.items():
            for what, options in (("decoded", decoded), ("decoded_every_event", every_event)):
                ours = _ours(**options, repeats=REPEATS, compiled=native)
                rounds.setdefault(what + name, []).append((ours, theirs))
    results |= {what: _compare(pairs, handed_over) for what, pairs in rounds.items()}
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "ticks.csv.gz"
        _write_repeated(whole, REPEATS)
        from_file = {"what": "file", "files": [str(whole)], "settings": SETTINGS}
        files: dict[str, list[tuple[Options, Options]]] = {}
        for _ in range(ROUNDS):
            theirs = _theirs(python, files=[str(whole)], repeats=1, **shift)
            for name, native in sides.items():
                files.setdefault("from_file" + name, []).append((_ours(**from_file, compiled=native), theirs))
    results |= {what: _compare(pairs, ("load_sec", *handed_over)) for what, pairs in files.items()}
    tips = {ours["chain_tip"] for pairs in files.values() for ours, _ in pairs}
    if len(tips) > 1:
        raise RuntimeError(f"runs of one recording ended in different chains: {tips}")
    return results


def _compare(pairs: list[tuple[Options, Options]], parts: tuple[str, ...]) -> Options:
    """Return medians and the ratio of each round; an unequal number of orders would make the comparison worthless."""
    for ours, theirs in pairs:
        if ours["orders"] != theirs["orders"] or theirs["filled"] != theirs["orders"]:
            raise RuntimeError(f"the sides do not trade the same: {ours} and {theirs}")
    ticks = pairs[0][1]["ticks"]
    ratios = [sum(theirs[part] for part in parts) / ours["run_sec"] for ours, theirs in pairs]
    return {
        "ticks": ticks,
        "orders": pairs[0][0]["orders"],
        "ours_per_second": ticks / median(ours["run_sec"] for ours, _ in pairs),
        "theirs_per_second": ticks / median(sum(theirs[part] for part in parts) for _, theirs in pairs),
        "ratio": median(ratios),
        "ratio_run_alone": median(theirs["run_sec"] / ours["run_sec"] for ours, theirs in pairs),
        "ratios": ratios,
        "ours_mib": max(ours["peak_mib"] for ours, _ in pairs),
        "theirs_mib": max(theirs["peak_mib"] for _, theirs in pairs),
    }


def _write_repeated(path: Path, repeats: int) -> None:
    """Write the bundled ticks of both instruments into one file, in order of time, again and again."""
    rows = sorted((row for file in FILES for row in _rows(file)), key=lambda row: int(row[0]))
    with gzip.open(path, "wt", newline="", compresslevel=1) as file:
        writer = csv.writer(file)
        writer.writerow(["ts_ms", "symbol", "price", "qty", "side", "bid", "ask", "bid_size", "ask_size"])
        for repeat in range(repeats):
            later = repeat * SPAN_MS
            writer.writerows([str(int(ts_ms) + later), *rest] for ts_ms, *rest in rows)


def _rows(path: Path) -> Iterator[list[str]]:
    with gzip.open(path, "rt", newline="") as file:
        rows = csv.reader(file)
        next(rows)
        yield from rows
