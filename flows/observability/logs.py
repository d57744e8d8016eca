"""What a command says on standard error: plain lines for a person, JSON lines for a machine.

A message may carry fields: `_log.warning("..", extra={"event": "redis_away"})`. Secrets of the
environment never come out, whoever wrote the message.
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
    from state.config import Log

ROOT_LOGGER = "penstock"
LOGGERS = (ROOT_LOGGER, "kafka")
"""What is logged: our own, and what kafka-python has to say from a warning on."""

_SECRET_NAMES = ("PASSWORD", "SECRET", "TOKEN", "PRIVACY_KEY")
_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "taskName"}


class TextHandler(logging.Handler):
    """Messages as lines on standard error, wherever that is at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print it."""
        if record.exc_info:
            trace = printable(redact(_trace(record)), keep="\n\t")
            print(trace, file=sys.stderr, end="")
        text = " ".join(redact(record.getMessage()).split())
        print(f"penstock: {printable(text)}", file=sys.stderr, flush=True)


class JsonHandler(logging.Handler):
    """Messages as JSON objects, one a line, with `fields` that all of them have."""

    def __init__(self, **fields: object) -> None:
        super().__init__()
        self._fields = fields

    def emit(self, record: logging.LogRecord) -> None:
        """Print it."""
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
    """Say from now on what `log` wants, as it wants it; without one, warnings as plain lines."""
    is_json = log is not None and log.format == "json"
    handler = JsonHandler(**fields) if is_json else TextHandler()
    level = logging.getLevelName(log.level.upper()) if log else logging.WARNING
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        # What a library does in peace is for who asked to see everything.
        minimum_level = (
            logging.NOTSET if name == ROOT_LOGGER or level == logging.DEBUG else logging.WARNING
        )
        logger.setLevel(max(level, minimum_level))


def redact(text: str) -> str:
    """A text without the values of variables that hold secrets."""
    for name, value in os.environ.items():
        if value and name.startswith("PENSTOCK_") and name.endswith(_SECRET_NAMES):
            # In a line of JSON and in a URL it is written in other ways.
            for escaped in (value, orjson.dumps(value).decode()[1:-1], quote(value, safe="")):
                text = text.replace(escaped, "...")
    return text


def _trace(record: logging.LogRecord) -> str:
    return "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else ""
