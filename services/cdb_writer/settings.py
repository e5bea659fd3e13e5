"""Settings of the writer."""

from __future__ import annotations

from decimal import Decimal

from pydantic import BaseModel, ConfigDict, Field

from services.common.settings import Fraction, MachineSettings

__all__ = ["WriterSettings", "WriterShellSettings"]


class WriterSettings(MachineSettings):
    """How the writer works; nothing here changes what stands in the tables."""

    WRITER_BATCH_EVENTS: int = Field(1_000, ge=1, le=10_000, description="most events in one transaction")
    WRITER_BATCH_WAIT_MS: int = Field(50, ge=0, le=1_000, description="wait for more events before a transaction")
    JOURNAL_TRIM_MARGIN: int = Field(10_000, ge=0, le=10_000_000, description="entries kept in Redis beyond need")
    JOURNAL_TRIM_EVERY_SEC: int = Field(5, ge=1, le=3_600, description="seconds between trims of the stream")
    EVENT_RETENTION_DAYS: int = Field(30, ge=1, le=36_500, description="days of market data kept in the database")


class WriterShellSettings(BaseModel):
    """Where the writer puts files; not journalled, since it is a place on one machine."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    EVENT_EXPORT_DIR: str = Field(
        "", description="folder for market data past retention; empty: they stay in the database"
    )
    BACKUP_DIR: str = Field("", description="folder that claire backup writes to; the age of the newest is shown")
    DISK_WARN_FREE_PCT: Fraction = Field(Decimal("0.15"), description="free share of a disk under which DISK_LOW warns")
    DISK_CRITICAL_FREE_PCT: Fraction = Field(Decimal("0.05"), description="... and under which it is critical")
