"""`claire validate`: a free-running day holds; whatever is changed in it is found and named, also under a new chain."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import zstandard
from typer.testing import CliRunner

from claire.audit.difference import Difference, differing_field
from claire.audit.validate import NothingToValidate, Verdict, validate
from claire.cli import app
from claire.history.journal_file import JournalWriter
from claire.history.record import HistoryUnusable
from claire.history.source import FileHistory
from services.common import channels
from services.common.codec import decode, encode
from services.common.events import Control, MarketData, Order, OrderResult, RiskDecision, parse_event
from services.common.journal.entry import Entry, JournalId
from services.common.runtime.build import code_version
from tests.unit.audit.recorded_day import Day, busy_day

pytestmark = pytest.mark.unit

Change = Callable[[list[Entry]], None]
RUNNER = CliRunner()


@pytest.fixture(scope="module")
def day() -> Day:
    """One day with everything in it."""
    return busy_day(1, 300)


def write(path: Path, entries: Sequence[Entry]) -> Path:
    """Write a journal file with a chain of its own over whatever these entries are."""
    with JournalWriter(path) as journal:
        for entry in entries:
            journal.write(entry)
    return path


def unpacked(path: Path) -> list[bytes]:
    """Return the lines of a packed file."""
    with zstandard.open(path, "rb") as packed:
        return packed.read().splitlines(keepends=True)  # type: ignore[no-any-return]


def judged(folder: Path, entries: Sequence[Entry], **options: Any) -> Verdict:
    """Validate entries, chained anew."""
    return validate(FileHistory(write(folder / "journal.jsonl.zst", entries)), **options)


def renumbered(entries: Sequence[Entry], removed: int | None = None, added: int | None = None) -> list[Entry]:
    """Number entries anew, as a careful forger would: causes follow the entries that they name."""

    def moved(n: int) -> int:
        if removed is not None and n >= removed:
            return n - 1
        return n + 1 if added is not None and n >= added else n

    result = []
    for number, entry in enumerate(entries, 1):
        cause = str(moved(int(entry.cause))) if entry.cause.isdigit() else entry.cause
        result.append(replace(entry, id=JournalId(entry.id.epoch, number), cause=cause))
    return result


def first(entries: Sequence[Entry], model: type[Any], **fields: Any) -> Entry:
    """Return the first derived entry of a type with these fields."""
    for entry in entries:
        event = entry.event
        derived = entry.cause.isdigit() or model in {MarketData, Control}
        if isinstance(event, model) and derived and all(getattr(event, k) == v for k, v in fields.items()):
            return entry
    raise AssertionError(f"no {model.__name__} with {fields}")


def edited(entry: Entry, **fields: Any) -> Entry:
    """Return an entry whose event says something else, in canonical bytes."""
    value = {**decode(entry.data), **fields}
    return replace(entry, data=parse_event(entry.channel, encode_as(entry, value)).data)


def encode_as(entry: Entry, value: dict[str, Any]) -> bytes:
    """Return bytes that `parse_event` reads."""
    return encode(value)


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_a_free_running_day_holds(tmp_path: Path, seed: int) -> None:
    """Restarts, changed settings, foreign signals, commands, alerts, a new epoch and a second run: all of it holds."""
    day = busy_day(seed, 200)
    verdict = judged(tmp_path, day.entries)
    assert verdict.differences == []
    assert verdict.entries == len(day.entries)
    checked = verdict.checked
    assert checked["orders"] > 0
    assert checked["fills"] > 0
    assert checked["decisions_with_books"] >= checked["orders"]
    assert checked["configurations"] == {"cdb_core": 2, "cdb_risk": 3, "cdb_execution": 1}
    derived = sum(count for kinds in checked["derived_events"].values() for count in kinds.values())
    assert derived + sum(verdict.not_derivable.values()) == len(day.entries)


def test_what_is_still_to_be_said_is_told(tmp_path: Path) -> None:
    """A record may end before everybody has got there: that is said, and counts as missing only of a complete run."""
    day = Day(5)
    day.second()
    day.foreign_signal()
    verdict = judged(tmp_path, day.entries)
    assert verdict.ok
    assert [due["type"] for due in verdict.outstanding][-2:] == ["risk_decision", "order"]
    complete = judged(tmp_path, day.entries, complete=True)
    assert (complete.differences[0].event_id, complete.differences[0].recorded) == (
        verdict.outstanding[0]["event_id"],
        "missing",
    )
    day.settle()
    assert judged(tmp_path, day.entries, complete=True).ok


@pytest.mark.parametrize("kind", ["risk_decision", "order", "order_result", "signal", "control", "alert"])
def test_a_changed_byte_of_a_derived_event_is_named_under_a_new_chain(tmp_path: Path, day: Day, kind: str) -> None:
    """Each digit of such an event counts: number, id and field are named, with what is recorded and what follows."""
    entries = list(day.entries)
    place = next(i for i, e in enumerate(entries) if e.event.type == kind and e.cause.isdigit())
    data = entries[place].data
    digits = [match.start() for match in re.finditer(rb"[1-8](?=\d*[,}])", data)][-1:] or [data.rindex(b"e")]
    for digit in digits:
        changed = data[:digit] + bytes([data[digit] + 1]) + data[digit + 1 :]
        entries[place] = replace(entries[place], data=changed)
        difference = judged(tmp_path, entries).differences[0]
        assert difference.n == place + 1
        assert difference.event_id == day.entries[place].event.event_id
        assert difference.recorded != difference.derived


def test_a_changed_input_is_found_by_what_was_made_of_it(tmp_path: Path, day: Day) -> None:
    """A price is an input; the first decision that it moves is named with the field that moved."""
    entries = list(day.entries)
    fill = first(entries, OrderResult, status="FILLED")
    place = int(fill.cause) - 1
    event = entries[place].event
    assert isinstance(event, MarketData)
    entries[place] = edited(entries[place], ask=event.ask + 1, bid=event.bid + 1)
    difference = judged(tmp_path, entries).differences[0]
    assert difference.check == "derivation"
    assert (difference.n, difference.event_id) == (fill.id.n, fill.event.event_id)
    assert difference.field in {"last_price", "average_price", "filled_quantity", "status"}


def test_a_changed_limit_is_found(tmp_path: Path, day: Day) -> None:
    """By the hash of the settings; with that forged as well, by the first decision that was taken under the limit."""
    entries = list(day.entries)
    place = next(
        i for i, e in enumerate(entries)
        if isinstance(e.event, Control) and e.event.action == "config" and e.producer == channels.RISK
    )  # fmt: skip
    details = decode(entries[place].data)["details"]
    details["settings"]["MAX_POSITION_PCT"] = decode("0.09")
    entries[place] = edited(day.entries[place], details=details)
    difference = judged(tmp_path, entries).differences[0]
    assert (difference.n, difference.field) == (place + 1, "details.settings_hash")
    details["settings_hash"] = sha256(encode(details["settings"])).hexdigest()
    entries[place] = edited(day.entries[place], details=details)
    difference = judged(tmp_path, entries).differences[0]
    decision = first(entries, RiskDecision)
    assert (difference.n, difference.event_id) == (decision.id.n, decision.event.event_id)
    assert difference.field.startswith("layers.1.")
    assert (difference.recorded, difference.derived) != (difference.derived, difference.recorded)


def test_a_missing_event_is_named(tmp_path: Path, day: Day) -> None:
    """Removed, numbers and causes made to fit, chained anew: what should be there is named by its id."""
    for model in (RiskDecision, Order, OrderResult):
        gone = first(day.entries, model)
        entries = renumbered([e for e in day.entries if e is not gone], removed=gone.id.n)
        difference = judged(tmp_path, entries).differences[0]
        assert difference.event_id == gone.event.event_id, model
        assert difference.n >= gone.id.n


def test_a_missing_end_is_named(tmp_path: Path, day: Day) -> None:
    """The last line of a file tells that events are missing before it; what was due is named."""
    place = next(e.id.n for e in day.entries if isinstance(e.event, Order))
    lines = unpacked(write(tmp_path / "journal.jsonl.zst", day.entries[:place]))
    (tmp_path / "cut.jsonl").write_bytes(b"".join([*lines[:-2], lines[-1]]))
    differences = validate(FileHistory(tmp_path / "cut.jsonl")).differences
    assert (differences[0].n, differences[0].field) == (place, "end of the chain")
    assert day.entries[place - 1].event.event_id in {difference.event_id for difference in differences}


def test_an_event_without_sense_is_named(tmp_path: Path, day: Day) -> None:
    """A configuration without settings, made to fit everywhere else."""
    place = next(i for i, e in enumerate(day.entries) if e.producer == channels.RISK and b'"config"' in e.data)
    entries = list(day.entries)
    entries[place] = edited(entries[place], details={"settings_hash": sha256(b"null").hexdigest()})
    difference = judged(tmp_path, entries).differences[0]
    assert (difference.n, difference.field) == (place + 1, "details")


def test_what_no_machine_can_handle_is_named(tmp_path: Path, day: Day) -> None:
    """Settings out of bounds, with a hash that fits: the machine that refuses them says so."""
    place = next(i for i, e in enumerate(day.entries) if e.producer == channels.CORE and b'"config"' in e.data)
    details = decode(day.entries[place].data)["details"]
    details["settings"]["SIGNAL_LOOKBACK_MIN"] = -1
    details["settings_hash"] = sha256(encode(details["settings"])).hexdigest()
    entries = list(day.entries)
    entries[place] = edited(entries[place], details=details)
    difference = judged(tmp_path, entries).differences[0]
    assert (difference.n, difference.check) == (place + 1, "derivation")
    assert "cdb_core cannot handle this entry" in difference.meaning


def test_a_doubled_event_is_named(tmp_path: Path, day: Day) -> None:
    """Of a machine, of the feed, and of a foreign message."""
    doubled = [first(day.entries, Order), first(day.entries, MarketData), first(day.entries, OrderResult)]
    doubled.append(next(e for e in day.entries if e.cause.startswith("foreign:")))
    for twice in doubled:
        place = twice.id.n
        entries = renumbered([*day.entries[:place], twice, *day.entries[place:]], added=place + 1)
        difference = judged(tmp_path, entries).differences[0]
        assert (difference.n, difference.event_id) == (place + 1, twice.event.event_id)
        assert "doubled" in difference.meaning or difference.check in {"origin", "derivation"}


def test_a_swapped_pair_is_named(tmp_path: Path, day: Day) -> None:
    """A decision and its order, and two batches of the feed, in the other order."""
    order = first(day.entries, Order)
    tick = next(
        e for e in day.entries[100:]
        if e.producer == channels.WS and day.entries[e.id.n].producer == channels.WS
        and e.cause != day.entries[e.id.n].cause
    )  # fmt: skip
    for place in (order.id.n - 1, tick.id.n):
        entries = list(day.entries)
        entries[place - 1], entries[place] = (
            replace(entries[place], id=entries[place - 1].id),
            replace(entries[place - 1], id=entries[place].id),
        )
        difference = judged(tmp_path, entries).differences[0]
        assert difference.n in {place, place + 1}
        assert difference.event_id in {day.entries[place - 1].event.event_id, day.entries[place].event.event_id}


def test_an_added_order_is_named(tmp_path: Path, day: Day) -> None:
    """Neither a decision behind it helps, nor another cause, nor another producer."""
    order = first(day.entries, Order)
    event = order.event
    assert isinstance(event, Order)
    for producer, cause in (("cdb_risk", order.cause), ("cdb_risk", "foreign:99"), ("cdb_core", "7"), ("cdb_ws", "9")):
        forged = edited(order, event_id="f" * 32, order_id="ord-forged", producer=producer)
        place = len(day.entries)
        entries = [*day.entries, replace(forged, id=JournalId(2, place + 1), producer=producer, cause=cause)]
        difference = judged(tmp_path, entries).differences[0]
        assert (difference.n, difference.event_id) == (place + 1, "f" * 32)


def test_more_than_was_approved_is_found_on_its_own(tmp_path: Path, day: Day) -> None:
    """The check of orders does not lean on the machines: it says so itself."""
    entries = list(day.entries)
    order = first(entries, Order)
    event = order.event
    assert isinstance(event, Order)
    for name, value in (("quantity", event.quantity * 2), ("side", "SELL"), ("decision_id", "nobody")):
        entries[order.id.n - 1] = edited(order, **{name: value})
        checks = {d.check: d for d in judged(tmp_path, entries).differences}
        assert checks["mandate"].field == name
        assert checks["derivation"].n == order.id.n


def test_more_filled_than_ordered_is_found_on_its_own(tmp_path: Path, day: Day) -> None:
    """So does the check of results."""
    entries = list(day.entries)
    result = first(entries, OrderResult, status="FILLED")
    event = result.event
    assert isinstance(event, OrderResult)
    for name, value, field in (
        ("filled_quantity", event.quantity * 2, "filled_quantity"),
        ("last_quantity", event.quantity * 2, "last_quantity"),
        ("order_id", "nobody", "order_id"),
        ("symbol", "XRPUSDT", "symbol"),
    ):
        entries[result.id.n - 1] = edited(result, **{name: value})
        checks = {d.check: d for d in judged(tmp_path, entries).differences}
        assert checks["mandate"].field == field


def test_books_are_counted_on_their_own(tmp_path: Path, day: Day) -> None:
    """What risk believed of cash and position at a decision is compared with the fills before it."""
    entries = list(day.entries)
    fill = first(entries, OrderResult, status="FILLED")
    later = next(e for e in entries[fill.id.n + 50 :] if isinstance(e.event, RiskDecision))
    for name in ("cash", "position"):
        portfolio = decode(later.data)["portfolio"]
        portfolio[name] += 1
        entries[later.id.n - 1] = edited(later, portfolio=portfolio)
        checks = {d.check: d for d in judged(tmp_path, entries).differences}
        assert checks["books"].field == f"portfolio.{name}"


def test_broken_references_are_found_on_their_own(tmp_path: Path, day: Day) -> None:
    """A cause or a chain that never was."""
    signal = first(day.entries, RiskDecision)
    for name in ("causation_id", "correlation_id"):
        entries = list(day.entries)
        entries[signal.id.n - 1] = edited(signal, **{name: "nobody"})
        checks = {d.check: d for d in judged(tmp_path, entries).differences}
        assert checks["links"].field == name
    entries[signal.id.n - 1] = edited(signal, causation_id=day.entries[0].event.event_id)
    assert "links" in {d.check for d in judged(tmp_path, entries).differences}


def test_who_may_say_what_without_a_cause(tmp_path: Path, day: Day) -> None:
    """A decision is no foreign message, an alert is none of an announcement, and only an operator has no cause."""
    decision = first(day.entries, RiskDecision)
    announced = next(e for e in day.entries if e.cause.startswith("announce:") and e.producer == channels.CORE)
    market = first(day.entries, MarketData)
    for entry, changes in (
        (decision, {"cause": "foreign:99"}),
        (decision, {"cause": ""}),
        (decision, {"cause": "alert:99"}),
        (decision, {"cause": "announce:99"}),
        (decision, {"cause": "mystery:1"}),
        (market, {"cause": "3"}),
        (announced, {"cause": "announce:77"}),
        (announced, {"cause": "soon"}),
    ):
        entries = list(day.entries)
        entries[entry.id.n - 1] = replace(entry, **changes)
        difference = judged(tmp_path, entries).differences[0]
        assert difference.n == entry.id.n, changes
        assert difference.check in {"origin", "contract"}


def test_bytes_that_are_no_canonical_event_are_named(tmp_path: Path, day: Day) -> None:
    """Another order of keys, a trailing zero, another producer, another channel."""
    market = first(day.entries, MarketData)
    for changes in (
        {"data": market.data.replace(b'"volume":9.0', b'"volume":9.00')},
        {"data": json.dumps(json.loads(market.data)).encode()},
        {"data": market.data.replace(b'"type":"market_data"', b'"type":"marketdata"')},
        {"producer": "cdb_core"},
        {"channel": "signals"},
    ):
        entries = list(day.entries)
        entries[market.id.n - 1] = replace(market, **changes)  # type: ignore[arg-type]
        difference = judged(tmp_path, entries).differences[0]
        assert (difference.n, difference.check) == (market.id.n, "contract")


def test_nothing_is_not_right(tmp_path: Path, day: Day) -> None:
    """No events, or only inputs: there is nothing to validate. A part has no beginning to follow the machines from."""
    with pytest.raises(NothingToValidate, match="it has no events"):
        judged(tmp_path, [])
    with pytest.raises(NothingToValidate, match="nothing to validate: of 1 events none was derived"):
        judged(tmp_path, day.entries[:1])
    links = list(FileHistory(write(tmp_path / "whole.zst", day.entries)).links())
    with JournalWriter(tmp_path / "part.zst", after=links[9][1]) as journal:
        for entry, _ in links[10:]:
            journal.write(entry)
    with pytest.raises(HistoryUnusable, match="begins after event 10"):
        validate(FileHistory(tmp_path / "part.zst"))


def test_a_tip_written_down_elsewhere_holds_the_inputs_too(tmp_path: Path, day: Day) -> None:
    """An input that moved no decision can be changed under a new chain, but not to the same end."""
    entries = list(day.entries)
    links = list(FileHistory(write(tmp_path / "journal.jsonl.zst", entries)).links())
    tip = links[-1][1].hash.hex()
    assert judged(tmp_path, entries, tip=tip.upper()).ok
    market = first(entries, MarketData)
    entries[market.id.n - 1] = edited(market, exchange_timestamp="2024-08-08T23:58:00.000000Z")
    assert judged(tmp_path, entries).ok
    difference = judged(tmp_path, entries, tip=tip).differences[0]
    assert (difference.check, difference.field, difference.derived) == ("chain", "chain tip", tip)


def test_other_code_is_named_when_it_decides_otherwise(tmp_path: Path, day: Day) -> None:
    """A difference may come of another version of the machines; the versions are said."""
    entries = list(day.entries)
    order = first(entries, Order)
    event = order.event
    assert isinstance(event, Order)
    entries[order.id.n - 1] = edited(order, quantity=event.quantity * 2)
    assert f"recorded by code test+1, derived by {code_version()}" in judged(tmp_path, entries).notes[0]


def test_fields_are_named_by_their_path() -> None:
    """Nested fields, list places, missing keys, types, and bytes that mean the same."""
    for recorded, derived, expected in (
        (b'{"a":{"b":[1,2]}}', b'{"a":{"b":[1,3]}}', ("a.b.1", 2, 3)),
        (b'{"a":1}', b'{"a":1,"b":2}', ("b", "nothing", 2)),
        (b'{"a":1}', b'{"a":"1"}', ("a", 1, "1")),
        (b'{"a":[1]}', b'{"a":[1,2]}', ("a", [1], [1, 2])),
        (b'{"a": 1}', b'{"a":1}', ("byte 5", "b' 1}'", "b'1}'")),
        (b'{"a":1', b'{"a":1}', ("bytes", differing_field(b'{"a":1', b"{}")[1], "an event")),
    ):
        assert differing_field(recorded, derived) == expected
    long = Difference.at("x", Entry(JournalId(1, 1), "alerts", "x", "1", b"no"), "f", "y" * 500, object(), meaning="m")
    assert len(long.recorded) == 121
    assert long.event_id is None
    assert long.derived.startswith("<object")


def test_the_command_says_what_it_found(tmp_path: Path, day: Day) -> None:
    """Exit code 0 and what was compared; 1 and the first difference; 2 when there is nothing, or nothing readable."""
    good = write(tmp_path / "good.zst", day.entries)
    done = RUNNER.invoke(app, ["validate", "--journal", str(good)])
    assert done.exit_code == 0, done.output
    assert "all" in done.stdout
    assert "not derivable" in done.stdout
    entries = list(day.entries)
    order = first(entries, Order)
    event = order.event
    assert isinstance(event, Order)
    entries[order.id.n - 1] = edited(order, quantity=event.quantity * 2)
    bad = write(tmp_path / "bad.zst", entries)
    done = RUNNER.invoke(app, ["validate", "--journal", str(bad), "--json"])
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert found["ok"] is False
    assert found["first_difference"]["field"] == "quantity"
    assert found["first_difference"]["event_id"] == event.event_id
    shown = RUNNER.invoke(app, ["validate", "--journal", str(bad)], env={"COLUMNS": "60"})
    assert event.event_id in shown.stdout
    tip = next(line for line in shown.stdout.splitlines() if line.startswith("chain tip"))
    assert len(tip) == len("chain tip ") + 64, "in one line, to be copied"
    ahead = Day(5)
    ahead.foreign_signal()
    told = RUNNER.invoke(app, ["validate", "--journal", str(write(tmp_path / "ahead.zst", ahead.entries))])
    assert "the record ends before this was said: risk_decision" in told.stdout.replace("\n", " ")
    for path in (write(tmp_path / "empty.zst", []), tmp_path / "none.zst", Path(__file__)):
        done = RUNNER.invoke(app, ["validate", "--journal", str(path)])
        assert done.exit_code == 2, path


def test_a_changed_byte_under_the_old_chain_is_named_by_both(tmp_path: Path, day: Day) -> None:
    """The chain names the event, and the machines what it should say."""
    lines = unpacked(write(tmp_path / "journal.jsonl.zst", day.entries))
    order = first(day.entries, Order)
    event = order.event
    assert isinstance(event, Order)
    quantity = f'"quantity":{event.quantity.normalize():f}'.encode()
    lines[order.id.n] = lines[order.id.n].replace(quantity, quantity + b"1")
    (tmp_path / "edited.jsonl").write_bytes(b"".join(lines))
    verdict = validate(FileHistory(tmp_path / "edited.jsonl"))
    assert [d.check for d in verdict.differences] == ["chain", "derivation", "mandate"]
    assert {d.event_id for d in verdict.differences} == {event.event_id}
    assert verdict.entries == order.id.n - 1


@pytest.mark.parametrize(
    ("line", "path", "field"),
    [
        (0, ("code_versions", 0), "code_versions.0"),
        (0, ("run_ids", 0), "run_ids.0"),
        (0, ("instruments", 0), "instruments.0"),
        (0, ("configs", 0, "settings_hash"), "configs.0.settings_hash"),
        (0, ("schema_version",), "schema_version"),
        (0, ("entries",), "entries"),
        (-1, ("entries",), "entries"),
        (-1, ("events", "control"), "events.control"),
    ],
)
def test_a_file_that_says_of_itself_what_its_events_do_not_say_is_refused(
    tmp_path: Path, day: Day, line: int, path: tuple[str | int, ...], field: str
) -> None:
    """Another code, run, instrument, configuration or count in the first or last line, over an untouched chain."""
    lines = unpacked(write(tmp_path / "journal.jsonl.zst", day.entries[:60]))
    said = json.loads(lines[line])
    (key,) = said
    place = said[key]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = "forged" if isinstance(place[path[-1]], str) else 7
    lines[line] = json.dumps(said).encode() + b"\n"
    (tmp_path / "forged.jsonl").write_bytes(b"".join(lines))
    (difference,) = validate(FileHistory(tmp_path / "forged.jsonl")).differences
    assert (difference.check, difference.n) == ("manifest", 0 if line == 0 else 60)
    assert difference.field.endswith(f".{field}")
    assert difference.recorded in {"forged", "7"}
    assert difference.derived not in {"forged", "7"}


def test_lines_written_anew_by_a_tool_say_the_same(tmp_path: Path, day: Day) -> None:
    """Other spaces in the first and the last line change nothing of what they say."""
    lines = unpacked(write(tmp_path / "journal.jsonl.zst", day.entries[:60]))
    for place in (0, -1):
        lines[place] = lines[place].replace(b'"entries":', b'"entries" : ')
    (tmp_path / "spaced.jsonl").write_bytes(b"".join(lines))
    assert validate(FileHistory(tmp_path / "spaced.jsonl")).ok
