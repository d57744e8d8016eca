"""The formats that logs and records may have, by name. A new format is one line here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from operators.events.batch_decode import decode_batch
from operators.readers import ga4, online_retail, rees46, retailrocket, segment, snowplow, yoochoose
from operators.readers.fast import bigquery
from operators.readers.fast import ga4 as fast_ga4
from operators.readers.fast import segment as fast_segment
from operators.readers.fast import snowplow as fast_snowplow
from operators.readers.records import (
    RecordAdapter,
    line_reader,
    read_canonical,
    read_canonical_lines,
)
from state.errors import ConfigurationError
from state.limits import DEFAULT, Limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from operators.readers.base import BatchDecoder, LogReader, RecordReader
    from state.dead_letters import DeadLetter
    from state.events import Event

FORMAT_ALIASES = {"rudderstack": "segment", "jitsu": "segment", "posthog": "segment"}
"""Names of senders whose records a format of another name reads."""


class FormatTable(dict[str, Any]):
    """Readers by the name of their format; the names of senders find them too."""

    def __missing__(self, name: str) -> Any:
        return self[FORMAT_ALIASES[name]]


RECORD_READERS: dict[str, RecordReader] = FormatTable(
    {
        "penstock": read_canonical,
        "segment": RecordAdapter("segment", segment.split, segment.to_event, fast_segment.read),
        "ga4": RecordAdapter("ga4", ga4.split, ga4.to_event, fast_ga4.read),
        "ga4-bigquery": RecordAdapter(
            "ga4-bigquery", ga4.split_row, ga4.row_to_event, bigquery.read
        ),
        "snowplow": RecordAdapter(
            "snowplow", snowplow.split, snowplow.to_event, fast_snowplow.read
        ),
    }
)
"""Formats of JSON records, in files and in Kafka."""

TABLE_READERS: dict[str, LogReader] = {
    "rees46": rees46.read,
    "retailrocket": retailrocket.read,
    "yoochoose": yoochoose.read,
    "online-retail": online_retail.read,
}
"""Formats of files only."""

UNSORTED_FORMATS = frozenset({"retailrocket", "yoochoose"})
"""Formats whose published files are not in the order of time: sort their events before a replay."""

READERS: dict[str, LogReader] = FormatTable(
    {
        **{name: line_reader(read_record) for name, read_record in RECORD_READERS.items()},
        "penstock": read_canonical_lines,
        **TABLE_READERS,
    }
)
"""All formats of files."""

FORMATS = (*READERS, *FORMAT_ALIASES)
"""All names that a person may give."""


def record_reader(format_name: str) -> RecordReader:
    """The reader of records of a format. Raises ConfigurationError if it is unknown or of files only."""
    try:
        return RECORD_READERS[format_name]
    except KeyError:
        raise ConfigurationError(
            f"kafka.format {format_name!r} is no format of records: choose one of "
            f"{', '.join([*RECORD_READERS, *FORMAT_ALIASES])}"
        ) from None


def batch_decoder(format_name: str) -> BatchDecoder | None:
    """What decodes many good records of a format faster than its reader does; None where nothing is."""
    return decode_batch if RECORD_READERS[format_name] is read_canonical else None


def read_log(
    format_name: str, lines: Iterable[bytes], *, source: str, now_ms: int, limits: Limits
) -> Iterator[Event | DeadLetter]:
    """Read a log of a format. A reader without the parameter `limits` is called without it."""
    reader = READERS[format_name]
    if limits == DEFAULT:
        return reader(lines, source=source, now_ms=now_ms)
    return reader(lines, source=source, now_ms=now_ms, limits=limits)
