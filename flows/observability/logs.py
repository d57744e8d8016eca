"""Logging to standard error: plain lines for a person, JSON lines for a machine.

A message may have fields: `_log.warning("..", extra={"event": "redis_away"})`. Secrets in environment
variables are removed from every message, also from those of libraries.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from state.printable import printable

if TYPE_CHECKING:
    from state.config_deployment import Log

ROOT_LOGGER = "penstock"
LOGGERS = (ROOT_LOGGER, "kafka")
"""The loggers that are shown: our own, and warnings of kafka-python."""

_SECRET_NAMES = ("PASSWORD", "SECRET", "TOKEN", "PRIVACY_KEY")
_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "taskName"}


class TextHandler(logging.Handler):
    """Prints messages as lines on the current standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message, after its traceback if it has one."""
        if record.exc_info:
            trace = printable(redact(_trace(record)), keep="\n\t")
            print(trace, file=sys.stderr, end="")
        text = " ".join(redact(record.getMessage()).split())
        print(f"penstock: {printable(text)}", file=sys.stderr, flush=True)


class JsonHandler(logging.Handler):
    """Prints messages as JSON objects, one a line; `fields` are added to all of them."""

    def __init__(self, **fields: object) -> None:
        super().__init__()
        self._fields = fields

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message as JSON."""
        at = datetime.fromtimestamp(record.created, UTC)
        entry: dict[str, Any] = {
            "ts": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self._fields,
            **{name: value for name, value in vars(record).items() if name not in _STANDARD_FIELDS},
        }
        if record.exc_info:
            entry["trace"] = _trace(record)
        redacted = {n: redact(v) if isinstance(v, str) else v for n, v in entry.items()}
        line = orjson.dumps(redacted, default=str).decode()
        print(printable(redact(line)), file=sys.stderr, flush=True)


def configure(log: Log | None = None, **fields: object) -> None:
    """Set level and format of logging; without `log`, warnings as plain lines."""
    is_json = log is not None and log.format == "json"
    handler = JsonHandler(**fields) if is_json else TextHandler()
    level = logging.getLevelName(log.level.upper()) if log else logging.WARNING
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        # Messages of libraries below a warning are shown at level debug only.
        minimum_level = (
            logging.NOTSET if name == ROOT_LOGGER or level == logging.DEBUG else logging.WARNING
        )
        logger.setLevel(max(level, minimum_level))


def redact(text: str) -> str:
    """Replace the values of environment variables with secrets in a text."""
    for name, value in os.environ.items():
        if value and name.startswith("PENSTOCK_") and name.endswith(_SECRET_NAMES):
            # JSON and URLs escape the value.
            for escaped in (value, orjson.dumps(value).decode()[1:-1], quote(value, safe="")):
                text = text.replace(escaped, "...")
    return text


def _trace(record: logging.LogRecord) -> str:
    return "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else ""
