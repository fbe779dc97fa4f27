"""Logging: one event name and fields a line, as `key=value` for humans or JSON for collectors
(docs/logging.md).

Whatever a caller hands over, nothing that could be a credential leaves through here.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from enum import StrEnum
from typing import Any, TextIO

import structlog

SECRET_WORDS = (
    "password",
    "passwd",
    "secret",
    "authorization",
    "ha1",
    "token",
    "credential",
    "stored_key",
    "server_key",
)
"A field whose name contains one of these is shown as stars."
MASK = "***"


class LogFormat(StrEnum):
    """How a line is written."""

    TEXT = "text"
    JSON = "json"


def is_secret(name: str) -> bool:
    """The name alone says that the value must not be shown."""
    lowered = name.lower().replace("-", "_")
    return any(word in lowered for word in SECRET_WORDS)


def redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Stars instead of secrets, in dictionaries inside fields too."""
    for name, value in event.items():
        if is_secret(name):
            event[name] = MASK
        elif isinstance(value, dict):
            event[name] = {k: MASK if is_secret(str(k)) else v for k, v in value.items()}
    return event


def configure(level: str, log_format: LogFormat, *, node: str = "", stream: TextIO | None = None) -> None:
    """Set up structlog and, for libraries that use it, the standard library's logging: one stream, one
    format."""
    stream = stream or sys.stderr
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redact,
    ]
    renderer = _renderer(log_format)
    printer = structlog.PrintLogger(stream)
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: printer,
        cache_logger_on_first_use=False,  # a reload may change level and stream
    )
    structlog.contextvars.clear_contextvars()
    if node:
        structlog.contextvars.bind_contextvars(node=node)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
            foreign_pre_chain=shared,
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(number, logging.WARNING))


def _renderer(log_format: LogFormat) -> list[structlog.typing.Processor]:
    if log_format is LogFormat.JSON:
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    return [
        structlog.processors.format_exc_info,
        structlog.processors.LogfmtRenderer(
            key_order=["timestamp", "level", "node", "event"], bool_as_flag=False
        ),
    ]
