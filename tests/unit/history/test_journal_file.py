"""The journal as a file: nothing lost, equal entries give equal bytes, and whatever is wrong with a file is named."""

from __future__ import annotations

import errno
import gzip
import json
from collections.abc import Callable, Sequence
from functools import reduce
from pathlib import Path

import pytest
import zstandard

from claire.explain.lookup import lookup_of
from claire.explain.position import holding_of
from claire.explain.why_not import why_not
from claire.history.journal_file import JournalFile, JournalWriter
from claire.history.manifest import Footer, Manifest
from claire.history.record import HistoryUnusable, Record, read_line, write_line
from claire.history.source import ChainBroken, FileHistory, open_history
from claire.history.span import Span
from claire.history.transfer import export_history
from claire.lookahead import play_journal
from claire.replay.starting_point import find_start
from services.cdb_writer.chain import ChainHead, link
from services.common.errors import ContractViolation
from services.common.journal.entry import Entry, JournalId
from tests.unit.writer.journal_story import tell

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def entries() -> list[Entry]:
    """A day and a bit of a pipeline."""
    return tell(7, 600).entries


def write(path: Path, entries: Sequence[Entry], after: ChainHead | None = None) -> ChainHead:
    """Write a journal file; returns the chain after it."""
    with JournalWriter(path, after=after) as journal:
        for entry in entries:
            journal.write(entry)
    return journal.head


def lines_of(path: Path) -> list[bytes]:
    """Return the lines of a packed file."""
    with zstandard.open(path, "rb") as packed:
        return packed.read().splitlines(keepends=True)  # type: ignore[no-any-return]


def edited(path: Path, change: Callable[[list[bytes]], None], name: str = "edited.jsonl") -> FileHistory:
    """Return a plain copy of a packed file after somebody has been at its lines."""
    lines = lines_of(path)
    change(lines)
    copy = path.with_name(name)
    copy.write_bytes(b"".join(lines))
    return FileHistory(copy)


def test_what_is_written_is_read_back(tmp_path: Path, entries: list[Entry]) -> None:
    """Every field and byte of every entry, the chain at it, and the counts of the last line."""
    path = tmp_path / "journal.jsonl.zst"
    head = write(path, entries)
    history = FileHistory(path)
    read = list(history.links())
    assert [entry for entry, _ in read] == entries
    assert read[-1][1] == history.tip == head
    assert head.hash == reduce(link, entries, ChainHead().hash)
    *_, footer = JournalFile(path).records()
    assert isinstance(footer, Footer)
    assert footer.entries == sum(footer.events.values()) == len(entries)
    assert list(tmp_path.iterdir()) == [path]


def test_equal_entries_give_equal_bytes(tmp_path: Path, entries: list[Entry]) -> None:
    """A copy of a file, read and written again, is the same file."""
    write(tmp_path / "one.zst", entries)
    write(tmp_path / "two.zst", list(FileHistory(tmp_path / "one.zst").entries()))
    assert (tmp_path / "one.zst").read_bytes() == (tmp_path / "two.zst").read_bytes()


def test_the_first_line_says_what_it_is_about(tmp_path: Path, entries: list[Entry]) -> None:
    """Run, code, configuration with its hash, instruments, period and number of entries, before the first entry."""
    write(tmp_path / "journal.jsonl.zst", entries)
    manifest = FileHistory(tmp_path / "journal.jsonl.zst").manifest
    assert manifest is not None
    assert (manifest.entries, manifest.run_ids, manifest.schema_version) == (len(entries), ("run-1",), "1.0")
    assert manifest.instruments == ("mexc_spot:BTCUSDT", "mexc_spot:ETHUSDT")
    assert manifest.code_versions == ("test",)
    assert [(config["service"], config["settings_hash"]) for config in manifest.configs] == [("cdb_risk", "0" * 64)]
    assert manifest.first == "2021-05-19T23:40:00.000000Z"
    assert manifest.last is not None
    assert manifest.last > manifest.first
    assert Manifest.read(manifest.line()) == manifest


def test_odd_names_and_texts_are_kept(tmp_path: Path, entries: list[Entry]) -> None:
    """A producer and cause with quotes, line ends and other letters come back as they were."""
    odd = Entry(JournalId(1, 1), "alerts", 'a"\\\n,"event":é', 'x\t"y:1', tell(1, 5).alert().data)
    write(tmp_path / "journal.jsonl.zst", [odd])
    assert list(FileHistory(tmp_path / "journal.jsonl.zst").entries()) == [odd]
    with pytest.raises(HistoryUnusable, match="1-1"):
        write_line(Entry(JournalId(1, 1), "alerts", "x", "1", b'{"a":\n1}'), ChainHead())


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
def test_a_plain_file_is_read_as_well(tmp_path: Path, entries: list[Entry], suffix: str) -> None:
    """Unpacked, or packed otherwise, with or without first and last line, or written anew by another tool."""
    write(tmp_path / "j.zst", entries)
    lines = lines_of(tmp_path / "j.zst")
    anew = [json.dumps(json.loads(line), sort_keys=True).encode() + b"\n\n" for line in lines[1:-1]]
    for number, content in enumerate((lines, lines[1:-1], anew)):
        path = tmp_path / f"plain{number}.{suffix}"
        path.write_bytes(gzip.compress(b"".join(content)) if suffix.endswith("gz") else b"".join(content))
        if content is anew:  # 1.50 became 1.5 in that tool: numbers of this journal have no trailing zeros
            assert [e.id for e in FileHistory(path).entries(Span(last=2))] == [e.id for e in entries[:2]]
        else:
            assert list(FileHistory(path).entries()) == entries


def test_bare_events_are_read(tmp_path: Path, entries: list[Entry]) -> None:
    """One event a line, nothing beside it: numbered by line, and its cause is the file."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"\n".join(entry.data for entry in entries[:9]))
    read = list(FileHistory(path).entries())
    assert [entry.data for entry in read] == [entry.data for entry in entries[:9]]
    assert [(entry.id.n, entry.channel, entry.producer) for entry in read] == [
        (number, entry.channel, entry.producer) for number, entry in enumerate(entries[:9], 1)
    ]
    assert read[3].cause == "file:4"


def test_a_part_is_a_part_of_the_same_chain(tmp_path: Path, entries: list[Entry]) -> None:
    """A file from the middle on says where it begins, and its chain goes on from there."""
    whole, part = tmp_path / "whole.zst", tmp_path / "part.zst"
    head = write(whole, entries)
    links = list(FileHistory(whole).links(Span(first=101)))
    before = next(at for _, at in FileHistory(whole).links(Span(100, 100)))
    assert write(part, [entry for entry, _ in links], before) == head
    assert list(FileHistory(part).links()) == links


def test_ranges_by_number_and_by_time(tmp_path: Path, entries: list[Entry]) -> None:
    """Bounds are included; a time is one of the clock."""
    write(tmp_path / "j.zst", entries)
    history = FileHistory(tmp_path / "j.zst")
    assert [entry.id.n for entry in history.entries(Span(20, 25))] == list(range(20, 26))
    clock = [(entry.id.n, entry.event.timestamp) for entry in entries if entry.producer == "cdb_ws"]
    (first, _), (after, _) = (
        next((n, t) for n, t in clock if t >= (1_621_467_900 + seconds) * 1_000_000) for seconds in (0, 61)
    )
    found = [
        entry.id.n for entry in history.entries(Span.parse("2021-05-19T23:45:00", "2021-05-19T23:46:00.999999+00:00"))
    ]
    assert (found[0], found[-1]) == (first, after - 1)
    assert list(history.entries(Span.parse("2031-01-01", ""))) == []
    midnight = [entry.id.n for entry in history.entries(Span.parse("", "2021-05-19"))]
    assert midnight[-1] + 1 == next(n for n, t in clock if t >= 1_621_468_800_000_000)


@pytest.mark.parametrize("text", ["noon", "2021-13-01", "12:00", "-3"])
def test_what_is_no_place_is_refused(text: str) -> None:
    """The option and what is meant are named."""
    with pytest.raises(ContractViolation, match=r"--from .* a journal number"):
        Span.parse(text)


def test_a_changed_byte_is_found_where_it_is(tmp_path: Path, entries: list[Entry]) -> None:
    """The event is named by number and id, with both hashes."""
    write(tmp_path / "j.zst", entries)

    def change(lines: list[bytes]) -> None:
        lines[50] = lines[50].replace(b'"timestamp":"2021', b'"timestamp":"2020')

    with pytest.raises(ChainBroken) as broken:
        list(edited(tmp_path / "j.zst", change).entries())
    assert (broken.value.n, broken.value.field, broken.value.event_id) == (50, "hash", entries[49].event.event_id)


@pytest.mark.parametrize(
    ("change", "n"),
    [
        (lambda lines: lines.pop(50), 50),
        (lambda lines: lines.insert(50, lines[50]), 50),
        (lambda lines: lines.insert(50, lines.pop(51)), 50),
    ],
    ids=["missing", "doubled", "swapped"],
)
def test_missing_doubled_and_swapped_lines_are_found(
    tmp_path: Path, entries: list[Entry], change: Callable[[list[bytes]], None], n: int
) -> None:
    """The first number that is not as it should be is named."""
    write(tmp_path / "j.zst", entries)
    with pytest.raises(ChainBroken) as broken:
        list(edited(tmp_path / "j.zst", change).entries())
    assert broken.value.n == n
    assert broken.value.field == "n"


def test_an_epoch_never_falls(tmp_path: Path, entries: list[Entry]) -> None:
    """An entry of an older epoch behind one of a newer is none of this journal."""
    write(tmp_path / "j.zst", [Entry(JournalId(2, 1), *_rest(entries[0]))])

    def add(lines: list[bytes]) -> None:
        lines.insert(2, write_line(entries[1], ChainHead()))

    with pytest.raises(ChainBroken, match="epoch"):
        list(edited(tmp_path / "j.zst", add).entries())


def _rest(entry: Entry) -> tuple[str, str, str, bytes]:
    return entry.channel, entry.producer, entry.cause, entry.data


def test_the_end_of_the_chain_counts(tmp_path: Path, entries: list[Entry]) -> None:
    """Hashes made anew line by line do not help: the last line says where the chain must end, and how many lines."""
    write(tmp_path / "j.zst", entries[:99])
    write(tmp_path / "k.zst", [*entries[:98], Entry(entries[98].id, *_rest(entries[97]))])
    last = lines_of(tmp_path / "j.zst")[-1]

    def other_end(lines: list[bytes]) -> None:
        lines[-1] = last

    with pytest.raises(ChainBroken) as broken:
        list(edited(tmp_path / "k.zst", other_end).entries())
    assert (broken.value.n, broken.value.field) == (99, "end of the chain")
    with pytest.raises(ChainBroken) as broken:
        list(edited(tmp_path / "j.zst", lambda lines: lines.pop(-2)).entries())
    assert (broken.value.n, broken.value.field) == (99, "end of the chain")


def test_a_cut_or_damaged_file_is_named(tmp_path: Path, entries: list[Entry]) -> None:
    """Cut between lines, cut in the middle of the packed bytes, a flipped packed byte, something behind the end."""
    path = tmp_path / "j.zst"
    write(path, entries)
    with pytest.raises(HistoryUnusable, match=r"edited.jsonl, line 601: the file was cut here, after 600 of \d+"):
        list(edited(path, lambda lines: lines.__delitem__(slice(601, None))).entries())
    with pytest.raises(HistoryUnusable, match="something follows the last line"):
        list(edited(path, lambda lines: lines.append(lines[5])).entries())
    packed = bytearray(path.read_bytes())
    (tmp_path / "cut.zst").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(HistoryUnusable, match=r"cut.zst, line \d+"):
        list(FileHistory(tmp_path / "cut.zst").entries())
    packed[len(packed) // 2] ^= 1
    (tmp_path / "flipped.zst").write_bytes(packed)
    with pytest.raises((HistoryUnusable, ChainBroken)):
        list(FileHistory(tmp_path / "flipped.zst").entries())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"not JSON at all", "not JSON"),
        (b"[1]", "an object is meant"),
        (b'{"type":"gossip"}', "type='gossip'"),
        (b'{"event":{},"epoch":1}', "'n' is missing"),
        (b'{"event":{},"epoch":1,"n":"1","channel":"alerts","producer":"x","cause":"1"}', "n='1'"),
        (b'{"event":{},"epoch":1,"n":1,"channel":"alerts","producer":"x","cause":"1","hash":"7"}', "hash='7'"),
        (b'{"event":7,"epoch":1,"n":1,"channel":"alerts","producer":"x","cause":"1"} ', "type=None"),
    ],
)
def test_a_line_that_is_no_entry_is_named(tmp_path: Path, entries: list[Entry], line: bytes, said: str) -> None:
    """File, line, what stands there, and what to do."""
    path = tmp_path / "odd.jsonl"
    path.write_bytes(write_line(entries[0], ChainHead(1, 1, link(ChainHead().hash, entries[0]))) + line + b"\n")
    with pytest.raises(HistoryUnusable, match=r"odd.jsonl, line 2: .*export it anew") as refused:
        list(FileHistory(path).entries())
    assert said in str(refused.value)


def test_what_is_no_journal_is_refused_at_once(tmp_path: Path) -> None:
    """No file, an unknown format, a broken manifest, one endless line."""
    with pytest.raises(HistoryUnusable, match="no such file"), open_history(tmp_path / "none", tmp_path):
        pass
    for content, said in (
        (b'{"claire_journal":{"format":2}}', "format 2"),
        (b'{"claire_journal":7}', "is an object"),
        (b'{"claire_journal":{"format":1}}', "not a manifest"),
    ):
        (tmp_path / "odd").write_bytes(content)
        with pytest.raises(HistoryUnusable, match=said):
            FileHistory(tmp_path / "odd")
    (tmp_path / "odd").write_bytes(b'{"claire_journal_end":{}}')
    with pytest.raises(HistoryUnusable, match="not a last line"):
        list(FileHistory(tmp_path / "odd").entries())
    (tmp_path / "odd").write_bytes(b"x" * ((1 << 24) + (1 << 19)))
    with pytest.raises(HistoryUnusable, match="no journal"):
        FileHistory(tmp_path / "odd")


def test_an_empty_file_has_no_entries(tmp_path: Path) -> None:
    """Neither is that an error, nor is a journal without an entry."""
    (tmp_path / "empty").write_bytes(b"")
    assert list(FileHistory(tmp_path / "empty").entries()) == []
    assert write(tmp_path / "none.zst", []) == ChainHead()
    assert list(FileHistory(tmp_path / "none.zst").entries()) == []


def test_a_file_is_whole_or_not_there(tmp_path: Path, entries: list[Entry]) -> None:
    """Whatever is raised meanwhile leaves nothing behind; entries that do not follow are refused."""
    path = tmp_path / "journal.jsonl.zst"
    with pytest.raises(HistoryUnusable, match="1-3 does not follow 1-1"):
        write(path, [entries[0], entries[2]])
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(HistoryUnusable, match="--output"):
        JournalWriter(tmp_path / "no" / "folder.zst")


def test_a_line_keeps_the_bytes_whatever_they_are(entries: list[Entry]) -> None:
    """The fast and the slow way of reading give the same record."""
    for entry in entries[:40]:
        head = ChainHead(entry.id.n, 1, link(b"", entry))
        line = write_line(entry, head)[:-1]
        assert read_line(line, 1) == read_line(b" " + line, 1) == Record(entry, head.hash[:8])


def test_a_full_disk_is_named_and_leaves_no_file(
    tmp_path: Path, entries: list[Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An export that cannot be written to its end says so, and leaves neither a file nor a draft of one."""
    write(tmp_path / "j.zst", entries)
    (tmp_path / "full").mkdir()

    def full(_: JournalWriter) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(JournalWriter, "finish", full)
    with pytest.raises(HistoryUnusable, match="cannot be written: No space left on device"):
        export_history(FileHistory(tmp_path / "j.zst"), tmp_path / "full" / "out.zst")
    assert list((tmp_path / "full").iterdir()) == []


def test_a_packed_file_that_ends_within_its_first_line_was_cut(tmp_path: Path, entries: list[Entry]) -> None:
    """What is left of it unpacks to nothing, which is not the same as a journal without events."""
    write(tmp_path / "journal.jsonl.zst", entries[:50])
    packed = (tmp_path / "journal.jsonl.zst").read_bytes()
    for size in (4, 40):
        (tmp_path / "cut.zst").write_bytes(packed[:size])
        with pytest.raises(HistoryUnusable, match="line 1: the file was cut before the end of its first line"):
            FileHistory(tmp_path / "cut.zst")


def test_machines_cannot_be_followed_from_the_middle(tmp_path: Path, entries: list[Entry]) -> None:
    """A part answers no question about what machines knew or held, unless they know it already."""
    head = write(tmp_path / "begin.zst", entries[:40])
    write(tmp_path / "part.zst", entries[40:80], after=head)
    part = FileHistory(tmp_path / "part.zst")
    for ask in (
        part.require_beginning,
        lambda: find_start(part, Span()),
        lambda: holding_of(lookup_of(part), None, "BTCUSDT"),
        lambda: play_journal(part),
        lambda: why_not(lookup_of(part), None, "BTCUSDT", entries[60].event.timestamp),
    ):
        with pytest.raises(HistoryUnusable, match="begins after event 40, and machines can only be followed from the"):
            ask()
    part.require_beginning(known=40)
