"""Where the journal's tail is when a backup is made, and what Redis still holds when one is put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from redis.exceptions import RedisError

from claire.backup.archive import Manifest
from claire.backup.restore import RestoreFailed
from claire.backup.tail import Tail, read_tail
from claire.data_folder import DataFolder
from services.cdb_writer.chain import ChainHead
from services.common.journal.attachment import look
from services.common.journal.link import Link
from services.common.settings import Infrastructure, load_settings, read_environment

__all__ = ["backup_folder", "redis_of_environment", "redis_of_folder", "tail_of", "went_on_elsewhere"]

DEFAULT_FOLDER = Path("data/backups")


def backup_folder(given: Path | None, environ: Mapping[str, str]) -> Path:
    """Return where backups are kept: what was given, else `BACKUP_DIR`, else `data/backups`."""
    return given or Path(environ.get("BACKUP_DIR") or DEFAULT_FOLDER)


def redis_of_environment(environ: Mapping[str, str]) -> Infrastructure | None:
    """Return the way to the Redis that REDIS_* name; None when they name none.

    Raises:
        SettingsInvalid: they are wrong.
    """
    if not (environ.get("REDIS_HOST") or environ.get("REDIS_SOCKET")):
        return None
    values = read_environment(environ)
    return load_settings(Infrastructure, {name: values[name] for name in values if name.startswith("REDIS_")})


@contextmanager
def redis_of_folder(folder: Path, *, running: bool) -> Iterator[Infrastructure | None]:
    """Give the way to the Redis of a data folder; None: there is none.

    Args:
        folder: data folder of `claire up`.
        running: whether a pipeline runs on it: then its server is used; otherwise one is started for the moment, so
            hold the folder.
    """
    data = DataFolder(folder)
    if running:
        port = data.noted().get("redis_port") or None
        yield load_settings(Infrastructure, data.redis(port=port).environment)
    elif data.traces_of_a_run() == "a journal in Redis":
        server = data.redis()
        try:
            server.start()
            yield load_settings(Infrastructure, server.environment)
        finally:
            server.stop()
    else:
        yield None


def tail_of(infra: Infrastructure | None) -> Callable[[ChainHead], Tail]:
    """Return what reads the tail beyond a place."""
    if infra is None:
        return lambda _: Tail(words="not looked for: no Redis was named")
    return lambda stored: read_tail(infra, stored)


def went_on_elsewhere(infra: Infrastructure | None, manifest: Manifest) -> bool:
    """Whether the journal that follows the backup is lost, so that epochs must be left out; False: Redis still has it.

    Raises:
        RestoreFailed: Redis cannot be looked at, or holds a journal that does not follow the backup.
    """
    if infra is None:
        return True
    link = Link(infra, name="claire-restore")
    try:
        found = look(link)
    except (RedisError, OSError) as error:
        raise RestoreFailed(
            f"Redis must run while a backup is put back, to see whether it still holds what followed: {error}"
        ) from error
    finally:
        link.close()
    if found.head <= manifest.tip.seq:
        return True
    if found.epochs.id_of(manifest.tip.seq).epoch != manifest.tip.epoch:
        raise RestoreFailed(
            f"Redis holds another journal ({found.epochs.id_of(manifest.tip.seq)} where the backup ends with "
            f"{manifest.tip.epoch}-{manifest.tip.seq}); empty it first: docker volume rm claire_de_binare_redis_data"
        )
    return False
