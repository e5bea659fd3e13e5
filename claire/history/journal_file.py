"""The event store as a file, `journal.jsonl.zst`: one line an entry, without loss, in constant memory.

First comes the manifest, last the number of entries and the end of the hash chain, so a file that was cut has no last
line. The file gets its name only when it is whole. Plain `.jsonl` and `.jsonl.gz` are read as well.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self, cast

import zstandard

from claire.history.manifest import Footer, Manifest, ManifestMaker
from claire.history.record import HistoryUnusable, Record, read_line, write_line
from services.cdb_writer.chain import ChainHead, link
from services.common.errors import ContractViolation
from services.common.journal.entry import Entry

__all__ = ["JournalFile", "JournalWriter"]

LEVEL: Final = 6
CHUNK_BYTES: Final = 1 << 18
LONGEST_LINE_BYTES: Final = 1 << 24
_MAGIC_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_MAGIC_GZIP: Final = b"\x1f\x8b"


class JournalWriter:
    """Writes a journal file; as a context it finishes the file, or leaves none when something was raised.

    Equal entries give equal bytes (of one version of the compression).

    Attributes:
        head: the chain after the last entry.
    """

    def __init__(self, path: Path, *, after: ChainHead | None = None) -> None:
        """Begin a file.

        Args:
            path: what it shall be called when it is whole; a file of that name is replaced then.
            after: the chain before the first entry; the genesis unless the file begins in the middle.

        Raises:
            HistoryUnusable: there is no such folder, or nothing may be written there.
        """
        self.path = path
        self.head = after or ChainHead()
        self._maker = ManifestMaker(self.head)
        self._draft = path.with_name(f".{path.name}.draft")
        self._body_path = path.with_name(f".{path.name}.body")
        try:
            self._body = self._body_path.open("wb")
        except OSError as error:
            raise HistoryUnusable(f"{path} cannot be written: {error.strerror}; choose another --output") from error
        self._packer = _compressor().stream_writer(self._body, closefd=False)
        self._pending: list[bytes] = []
        self._pending_bytes = 0

    def write(self, entry: Entry) -> ChainHead:
        """Append the next entry and return the chain after it.

        Raises:
            HistoryUnusable: it does not follow the one before it, or its bytes are not those of an event.
        """
        n, epoch = entry.id.n, entry.id.epoch
        if n != self.head.seq + 1 or epoch < self.head.epoch:
            raise HistoryUnusable(f"entry {entry.id} does not follow {self.head.epoch}-{self.head.seq}")
        self.head = ChainHead(n, epoch, link(self.head.hash, entry))
        self._maker.fold(entry)
        line = write_line(entry, self.head)
        self._pending.append(line)
        self._pending_bytes += len(line)
        if self._pending_bytes >= CHUNK_BYTES:
            self._flush()
        return self.head

    def _flush(self) -> None:
        self._packer.write(b"".join(self._pending))
        self._pending.clear()
        self._pending_bytes = 0

    def finish(self) -> Footer:
        """Complete the file and give it its name."""
        self._flush()
        self._packer.close()  # type: ignore[no-untyped-call]
        self._body.close()
        footer = self._maker.footer(self.head)
        with self._draft.open("wb") as file:
            file.write(_compressor().compress(self._maker.manifest().line()))
            with self._body_path.open("rb") as body:
                shutil.copyfileobj(body, file, CHUNK_BYTES)
            file.write(_compressor().compress(footer.line()))
        self._draft.replace(self.path)
        self._body_path.unlink()
        return footer

    def abandon(self) -> None:
        """Leave no file."""
        self._body.close()
        for path in (self._body_path, self._draft):
            path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
        else:
            self.abandon()


def _compressor() -> zstandard.ZstdCompressor:
    return zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)


class JournalFile:
    """Reads a journal file; each reading begins at the first line.

    Attributes:
        manifest: what the first line says; None for a plain file without one.
        first_line: its bytes; empty when there is none.
    """

    def __init__(self, path: Path) -> None:
        """Look at the first line.

        Raises:
            HistoryUnusable: there is no such file, or it is no journal.
        """
        self.path = path
        if not path.is_file():
            raise HistoryUnusable(f"{path}: there is no such file; give a journal.jsonl.zst (claire export writes one)")
        self.manifest: Manifest | None = None
        self.first_line = b""
        found = next(self._lines(), None)
        if found is not None:
            self.first_line = found[1]
            self.manifest = self._manifest(self.first_line)
        elif self._magic() == _MAGIC_ZSTD:
            raise self._unusable(1, "the file was cut before the end of its first line")

    def _manifest(self, raw: bytes) -> Manifest | None:
        try:
            return Manifest.read(raw)
        except ContractViolation as error:
            raise self._unusable(1, str(error)) from error

    def _unusable(self, line: int, what: str) -> HistoryUnusable:
        return HistoryUnusable(f"{self.path.name}, line {line}: {what}; copy the file again, or export it anew")

    @property
    def after(self) -> ChainHead:
        """The chain before the first entry."""
        return ChainHead() if self.manifest is None else self.manifest.after

    def records(self) -> Iterator[Record | Footer]:
        """Yield what each line says, in order; last the footer, when there is a manifest.

        Raises:
            HistoryUnusable: a line is no entry, the file is damaged or was cut; it is named.
        """
        entries, number, footer = 0, 0, None
        for number, raw in self._lines():
            if number == 1 and self.manifest is not None:
                continue
            if footer is not None:
                raise self._unusable(number, "something follows the last line")
            try:
                footer = Footer.read(raw)
                if footer is None:
                    entries += 1
                    yield read_line(raw, entries)
            except ContractViolation as error:
                raise self._unusable(number, str(error)) from error
        if footer is not None:
            yield footer
        elif self.manifest is not None:
            raise self._unusable(number, f"the file was cut here, after {entries} of {self.manifest.entries} entries")

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        number, rest = 0, b""
        try:
            with self._open() as stream:
                while chunk := stream.read(CHUNK_BYTES):
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        number += 1
                        if line.strip():
                            yield number, line
                    if len(rest) > LONGEST_LINE_BYTES:
                        raise self._unusable(number + 1, "no end of line within 16 MiB: this is no journal")
        except (zstandard.ZstdError, EOFError, OSError) as error:
            raise self._unusable(number + 1, f"the file is damaged from here on ({error})") from error
        if rest.strip():
            yield number + 1, rest

    def _magic(self) -> bytes:
        with self.path.open("rb") as raw:
            return raw.read(4)

    def _open(self) -> IO[bytes]:
        magic, raw = self._magic(), self.path.open("rb")
        if magic == _MAGIC_ZSTD:
            stream: Any = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True, closefd=True)
            return cast("IO[bytes]", stream)
        if magic[:2] == _MAGIC_GZIP:
            raw.close()
            return cast("IO[bytes]", gzip.open(self.path, "rb"))
        return raw
