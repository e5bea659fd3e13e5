"""The file of a backup: a tar of `manifest.json` and `journal.jsonl.zst`, read as a stranger would read it.

The manifest says what the journal must be: its bytes, its checksum, where its chain ends, and the epochs and anchors of
the store it came from; its own checksum stands in it. A file that was cut, or in which a byte is another, is refused by
name. None of this is a signature: who can write the file can write another that holds, so note the tip elsewhere.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Final, Self

from services.cdb_writer.chain import ChainHead
from services.common.codec import decode, encode
from services.common.errors import ContractViolation, InputUnusable

__all__ = ["BackupUnusable", "Manifest", "extract_journal", "origin_of", "read_manifest", "write_archive"]

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
JOURNAL: Final = "journal.jsonl.zst"
CHUNK_BYTES: Final = 1 << 20
LARGEST_MANIFEST_BYTES: Final = 1 << 26
FIX: Final = "copy it again from where it was kept, or take an older backup"


class BackupUnusable(InputUnusable):
    """A backup cannot be read, was cut or changed; the text names the file, what is wrong, and the fix."""


@dataclass(frozen=True)
class Manifest:
    """What a backup says of itself.

    Attributes:
        created_at: the moment whose state it holds, ISO 8601, UTC.
        code_version: of the code that made it.
        revision: of the database's tables.
        tip: end of the chain of the journal inside.
        stored: what of it was in PostgreSQL; the rest was the tail in Redis.
        tail: how the tail came in, in words.
        epochs: epoch to the number of its first event, also of epochs without any.
        anchors: closed days: number to the chain's hash there (hexadecimal).
        journal_bytes, journal_sha256: of the journal file inside.
        origin: hash of the chain after its first event (hexadecimal): equal in all backups of one history; empty when
            the history begins later, or the backup was made before this was kept.
    """

    created_at: str
    code_version: str
    revision: str
    tip: ChainHead
    stored: ChainHead
    tail: str
    epochs: Mapping[int, int] = field(default_factory=dict)
    anchors: Mapping[int, str] = field(default_factory=dict)
    journal_bytes: int = 0
    journal_sha256: str = ""
    origin: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "claire_backup": FORMAT,
            "created_at": self.created_at,
            "code_version": self.code_version,
            "revision": self.revision,
            "tip": _head(self.tip),
            "stored": _head(self.stored),
            "tail": self.tail,
            "epochs": {str(epoch): first for epoch, first in self.epochs.items()},
            "anchors": {str(seq): digest for seq, digest in self.anchors.items()},
            "journal": {"name": JOURNAL, "bytes": self.journal_bytes, "sha256": self.journal_sha256},
            "origin": self.origin,
        }

    def to_bytes(self) -> bytes:
        """Return the manifest as it stands in the archive."""
        value = self.as_dict()
        return json.dumps({**value, "manifest_sha256": _checksum(value)}, indent=1).encode() + b"\n"

    @classmethod
    def of_bytes(cls, raw: bytes) -> Self:
        """Read a manifest.

        Raises:
            ContractViolation: it is none, or is not what was written.
        """
        value = decode(raw)
        if not isinstance(value, dict) or value.get("claire_backup") != FORMAT:
            raise ContractViolation(f"no manifest of format {FORMAT}")
        said = value.pop("manifest_sha256", None)
        if said != _checksum(value):
            raise ContractViolation("the manifest is not what was written")
        try:
            journal = value["journal"]
            return cls(
                value["created_at"],
                value["code_version"],
                value["revision"],
                _read_head(value["tip"]),
                _read_head(value["stored"]),
                value["tail"],
                {int(epoch): int(first) for epoch, first in value["epochs"].items()},
                {int(seq): str(digest) for seq, digest in value["anchors"].items()},
                int(journal["bytes"]),
                str(journal["sha256"]),
                str(value.get("origin", "")),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ContractViolation(f"not a manifest: {type(error).__name__}: {error}") from error


def _head(head: ChainHead) -> dict[str, Any]:
    return {"epoch": head.epoch, "n": head.seq, "hash": head.hash.hex()}


def _read_head(value: Mapping[str, Any]) -> ChainHead:
    return ChainHead(int(value["n"]), int(value["epoch"]), bytes.fromhex(value["hash"]))


def _checksum(value: Mapping[str, Any]) -> str:
    return sha256(encode(dict(value))).hexdigest()


def write_archive(path: Path, manifest: Manifest, journal: Path) -> Manifest:
    """Put manifest and journal into one file and bring it to the disk; returns the manifest with the journal's sums.

    Args:
        path: where; written in place, so name a draft.
        manifest: what to say; the sums of the journal are taken here.
        journal: a finished journal file.
    """
    digest = sha256()
    with journal.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    size = journal.stat().st_size
    whole = replace(manifest, journal_bytes=size, journal_sha256=digest.hexdigest())
    with path.open("wb") as raw:
        with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
            text = whole.to_bytes()
            archive.addfile(_member(MANIFEST, len(text)), io.BytesIO(text))
            with journal.open("rb") as file:
                archive.addfile(_member(JOURNAL, size), file)
        raw.flush()
        os.fsync(raw.fileno())
    return whole


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    return member


def read_manifest(path: Path) -> Manifest:
    """Return what a backup says of itself; its journal is not looked at.

    Raises:
        BackupUnusable: there is no such file, or it is no backup.
    """
    with _open(path) as archive:
        return _manifest(path, archive)


def origin_of(path: Path) -> str | None:
    """Return which history a backup is of (`Manifest.origin`); None when it cannot be read."""
    try:
        return read_manifest(path).origin
    except BackupUnusable:
        return None


def extract_journal(path: Path, target: Path) -> Manifest:
    """Write the journal of a backup to a file and return the manifest; nothing of it is believed before it is whole.

    Raises:
        BackupUnusable: the file was cut or changed; no journal is left then.
    """
    try:
        with _open(path) as archive:
            manifest = _manifest(path, archive)
            member = archive.next()
            source = None if member is None or member.name != JOURNAL else archive.extractfile(member)
            if source is None:
                raise _unusable(path, f"it ends before {JOURNAL}: it was cut")
            size, digest = _copy(source, target)
        if (size, digest) != (manifest.journal_bytes, manifest.journal_sha256):
            raise _unusable(
                path,
                f"{JOURNAL} was changed: {size} bytes with sha256 {digest[:16]}…, {manifest.journal_bytes} bytes with "
                f"{manifest.journal_sha256[:16]}… were written",
            )
    except BackupUnusable:
        target.unlink(missing_ok=True)
        raise
    return manifest


@contextmanager
def _open(path: Path) -> Iterator[tarfile.TarFile]:
    if not path.is_file():
        raise BackupUnusable(f"{path}: there is no such file; claire backup writes claire-….backup")
    try:
        with tarfile.open(path, mode="r:") as archive:
            yield archive
    except (tarfile.TarError, EOFError) as error:
        raise _unusable(path, f"it cannot be read, it was cut or is no backup ({error})") from error


def _manifest(path: Path, archive: tarfile.TarFile) -> Manifest:
    member = archive.next()
    source = None
    if member is not None and member.name == MANIFEST and member.size <= LARGEST_MANIFEST_BYTES:
        source = archive.extractfile(member)
    if source is None:
        raise _unusable(path, f"this is no backup: it does not begin with {MANIFEST}")
    try:
        return Manifest.of_bytes(source.read())
    except ContractViolation as error:
        raise _unusable(path, f"{MANIFEST}: {error}") from error


def _copy(source: IO[bytes], target: Path) -> tuple[int, str]:
    digest, size = sha256(), 0
    with target.open("wb") as file:
        while chunk := source.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
            file.write(chunk)
    return size, digest.hexdigest()


def _unusable(path: Path, what: str) -> BackupUnusable:
    return BackupUnusable(f"{path.name}: {what}; {FIX}")
