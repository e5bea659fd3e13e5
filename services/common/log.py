"""Logging: JSON lines unless a person watches, one configuration for our own and for library loggers, no secrets."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

__all__ = ["SecretMask", "configure_logging"]

MASK = "********"
_SECRET_NAME = re.compile(r"pass(word|wd)?$|secret|token|api_?key|signature", re.IGNORECASE)


class SecretMask:
    """Replaces secrets in log lines: whole values by the name of their key, and known secrets anywhere in a text."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        """Take the values that must never be shown."""
        self._secrets = sorted({secret for secret in secrets if secret}, key=len, reverse=True)

    def __call__(self, _logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
        """Mask one log line (a structlog processor)."""
        return {key: self.mask(key, value) for key, value in line.items()}

    def mask(self, name: str, value: Any) -> Any:
        """Return `value`, which stands under `name`, without secrets."""
        if value and _SECRET_NAME.search(name):
            return MASK
        if isinstance(value, str):
            for secret in self._secrets:
                value = value.replace(secret, MASK)
        elif isinstance(value, dict):
            return {key: self.mask(str(key), inner) for key, inner in value.items()}
        elif isinstance(value, list | tuple):
            return [self.mask(name, inner) for inner in value]
        return value


def configure_logging(
    service: str,
    *,
    level: str = "INFO",
    style: Literal["auto", "json", "console"] = "auto",
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
) -> None:
    """Send the logs of this process to `stream` (stderr), each line marked with the service.

    Args:
        service: name that stands on every line.
        level: least level that is written.
        style: `auto` is console on a terminal and JSON otherwise.
        secrets: values that must never appear.
        stream: where to write; stderr by default.
    """
    out = sys.stderr if stream is None else stream
    console = style == "console" or (style == "auto" and out.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        lambda _logger, _method, line: {**line, "service": service},
    ]
    mask = SecretMask(secrets)
    # exceptions become text before the mask sees the line, and never with the values of local variables
    last: list[Processor] = (
        [structlog.processors.format_exc_info, mask, structlog.dev.ConsoleRenderer(colors=out.isatty())]
        if console
        else [
            structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
            mask,
            structlog.processors.JSONRenderer(default=str),
        ]
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("waitress").setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
