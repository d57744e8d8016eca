"""Reads delimited text (CSV, TSV) into rows: what all readers of tables share.

A row is one record of the table; inside quotes it may span several lines. Every row becomes an
event, a part of one, or a dead letter. A reader says only what its columns mean.
"""

from __future__ import annotations

import csv
from codecs import BOM_UTF8
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from operators.events.decode import (
    RecordPosition,
    dead_letter,
    record_processing_error,
    stable_event_id,
    validate,
)
from operators.readers.numbers import parse_number
from operators.readers.times import parse_time_ms
from state.errors import DataError
from state.limits import DEFAULT, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from state.dead_letters import DeadLetter, FailureType
    from state.events import Event

REMEMBERED_ROWS_MAX = 8192
"""Equal rows within so many different ones get ids of their own. Limits the memory for that."""

QUOTED_BYTES_MAX = 64 * 1024
"""How far a quoted field may go on before its quote counts as a mistake."""

PARTITION = "0"


class BadRowError(Exception):
    """Raised by a reader where a row cannot become an event because of this column."""

    def __init__(self, failure_type: FailureType, column: str, message: str) -> None:
        super().__init__(message)
        self.violation = (failure_type, column, message)


@dataclass(slots=True)
class Row:
    """One row: its fields, the number of its first line (from 1), its bytes, and a stable id."""

    fields: list[str]
    line: int
    raw: bytes
    event_id: str


def read_table(
    lines: Iterable[bytes],
    to_event: Callable[[Row], Event],
    *,
    format_name: str,
    header: Sequence[str],
    source: str,
    now_ms: int,
    delimiter: str = ",",
    has_header: bool = True,
    limits: Limits = DEFAULT,
) -> Iterator[Event | DeadLetter]:
    """Pass each row below the header through `to_event`: one result for each row, in order.

    `to_event` may raise `BadRowError`, or `KeyError` and `ValueError` where it cannot read a value.
    The offset of a dead letter is its line number. `header` names the columns; without `has_header`
    the first line is a row already.
    """
    source_lines = _NumberedLines(lines)
    if has_header:
        check_header(source_lines.next_line(), header, format_name, delimiter)
    row_ids = _DuplicateRowIds()
    for number, raw, fields in _split_rows(
        source_lines, len(header), delimiter, limits.event_bytes_max
    ):
        try:
            if isinstance(fields, BadRowError):
                raise fields
            row = Row(fields, number, raw, row_ids.event_id(format_name, raw))
            result = validate(
                to_event(row),
                raw,
                RecordPosition(source, PARTITION, number),
                now_ms=now_ms,
                limits=limits,
            )
        except BadRowError as bad:
            violation = bad.violation
        except (KeyError, ValueError) as error:
            violation = ("schema_violation", "$", f"{type(error).__name__}: {error}")
        except Exception as error:
            violation = record_processing_error(error)
        else:
            yield result
            continue
        yield dead_letter(raw, [violation], RecordPosition(source, PARTITION, number))


def check_header(
    line: bytes | None, header: Sequence[str], format_name: str, delimiter: str = ","
) -> None:
    """Raise `DataError` unless the first line names these columns (case does not matter)."""
    if header_names(line or b"", delimiter) != [name.lower() for name in header]:
        found_header = (line or b"").decode("utf-8-sig", "replace").strip("\r\n")
        raise DataError(
            f"not in format {format_name}: expected the header {delimiter.join(header)!r}, "
            f"found {found_header[:200]!r}; choose another --format"
        )


def header_names(line: bytes, delimiter: str = ",") -> list[str]:
    """The names in a header, in lower case, without a byte order mark and without quotes."""
    header = line.decode("utf-8-sig", "replace").strip("\r\n")
    return [name.strip().strip('"').strip().lower() for name in header.split(delimiter)]


def read_time_ms(text: str, column: str) -> int:
    """A date and time in ms since 1970, UTC unless it has a zone.

    >>> read_time_ms("2019-10-01 00:00:01 UTC", "event_time")
    1569888001000
    """
    time_ms = parse_time_ms(text)
    if time_ms is None:
        raise BadRowError("bad_timestamp", column, f"not a date and time: {text[:40]!r}")
    return time_ms


def read_epoch_ms(text: str, column: str, *, unit_ms: int) -> int:
    """A time in ms since 1970, from a number in units of `unit_ms`, with or without a fraction."""
    try:
        return round(float(text) * unit_ms) if "." in text else int(text) * unit_ms
    except (ValueError, OverflowError):
        raise BadRowError("bad_timestamp", column, f"not a number: {text[:40]!r}") from None


def read_amount(text: str, column: str) -> float | None:
    """A price; None for an empty field. Its range is checked with the event."""
    if not text.strip():
        return None
    amount = parse_number(text)
    if amount is None:
        raise BadRowError("bad_money", column, f"not a number: {text[:40]!r}")
    return amount


class _NumberedLines:
    """Lines with their numbers, the first without its byte order mark; lines can be put back."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = iter(lines)
        self._returned: deque[bytes] = deque()
        self.number = 0

    def next_line(self) -> bytes | None:
        line = self._returned.popleft() if self._returned else next(self._lines, None)
        if line is not None:
            if self.number == 0:
                line = line.removeprefix(BOM_UTF8)
            self.number += 1
        return line

    def unread(self, lines: list[bytes]) -> None:
        self._returned.extendleft(reversed(lines))
        self.number -= len(lines)


def _split_rows(
    lines: _NumberedLines, columns: int, delimiter: str, bytes_max: int
) -> Iterator[tuple[int, bytes, list[str] | BadRowError]]:
    """The number of the first line, the bytes, and the fields of each row or what is wrong with it."""
    while (line := lines.next_line()) is not None:
        number, raw = lines.number, line.rstrip(b"\r\n")
        try:
            if len(raw) > bytes_max:
                raise BadRowError("too_large", "$", f"a row of more than {bytes_max} bytes")
            if b'"' in raw:
                raw, fields = _read_quoted_row(raw, lines, columns, delimiter, bytes_max)
            else:
                fields = raw.decode().split(delimiter)
            if len(fields) != columns:
                message = f"expected {columns} columns, found {len(fields)}"
                raise BadRowError("schema_violation", "$", message)
        except UnicodeDecodeError as error:
            yield number, raw, BadRowError("schema_violation", "$", f"not UTF-8: {error.reason}")
        except BadRowError as bad:
            yield number, raw, bad
        else:
            yield number, raw, fields


def _read_quoted_row(
    first: bytes, lines: _NumberedLines, columns: int, delimiter: str, bytes_max: int
) -> tuple[bytes, list[str]]:
    """A row with quotes, over as many lines as it needs.

    A stray quote would swallow the rows that follow. So where the lines do not make a row, the
    first line alone is the bad row, and the others are put back.
    """
    row_lines = [first]

    def texts() -> Iterator[str]:
        yield first.decode() + "\n"
        size = len(first)
        while size <= min(bytes_max, QUOTED_BYTES_MAX) and (line := lines.next_line()) is not None:
            row_lines.append(line.rstrip(b"\r\n"))
            size += len(line)
            yield row_lines[-1].decode() + "\n"

    try:
        fields = next(csv.reader(texts(), delimiter=delimiter, strict=True))
        if len(fields) != columns:
            raise BadRowError(
                "schema_violation", "$", f"expected {columns} columns, found {len(fields)}"
            )
    except (csv.Error, UnicodeDecodeError, BadRowError) as error:
        lines.unread(row_lines[1:])
        if isinstance(error, csv.Error):
            raise BadRowError("schema_violation", "$", f"quotes: {error}") from None
        raise
    return b"\n".join(row_lines), fields


class _DuplicateRowIds:
    """Gives ids to rows without one: equal rows differ by how many came before.

    Only the last 8,192 to 16,384 different rows are remembered, in two generations. An equal row
    that comes much later gets the id of the first, as if the file had been sent twice.
    """

    def __init__(self) -> None:
        self._recent: dict[str, int] = {}
        self._older: dict[str, int] = {}

    def event_id(self, format_name: str, raw: bytes) -> str:
        row_id = stable_event_id(format_name, raw)
        repeats = self._recent.get(row_id) or self._older.get(row_id, 0)
        if len(self._recent) >= REMEMBERED_ROWS_MAX:
            self._older, self._recent = self._recent, {}
        self._recent[row_id] = repeats + 1
        return f"{row_id}-{repeats}" if repeats else row_id
