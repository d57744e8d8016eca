"""`penstock redrive`: sends dead letters to the events topic again, after their cause was fixed."""

from __future__ import annotations

import base64
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from flows.commands.arguments import complete
from flows.commands.options import load_settings
from flows.commands.summaries import SUMMARIES
from flows.kafka.dead_letters import read_dead_letters
from flows.kafka.producer import Producer
from flows.kafka.start_offsets import start_ms
from operators.events.decode import RecordPosition
from operators.readers.registry import record_reader
from state.dead_letters import BASE64_BYTES_MAX, FAILURE_TYPES, RAW_BYTES_MAX, DeadLetter
from state.errors import ConfigurationError, DataError
from state.events import Event

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from state.config import Settings

TimedLetter = tuple[DeadLetter, int]
"""A dead letter and when it was rejected (ms); from a file the time of its event, 0 if not known."""

REDRIVE_HEADER = "penstock-redriven"
"""Header of a redriven record with the origin of its letter: `source/partition/offset`."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "redrive",
        help=SUMMARIES["redrive"],
        description="Send rejected records to the events topic again. An event that was counted before "
        "is not counted twice: its event_id is known.",
    )
    add = parser.add_argument
    add("--type", choices=FAILURE_TYPES, help="send only letters of this failure type")
    add(
        "--since",
        metavar="T",
        help="send only letters from this time on: 2026-11-21T12:00:00Z, or ms",
    )
    add("--until", metavar="T", help="send only letters from before this time")
    add("--dry-run", action="store_true", help="count the letters, and send nothing")
    add(
        "--from",
        dest="origin",
        metavar="FILE|TOPIC",
        help="file or topic with the letters (default: kafka.dead_letters)",
    )
    complete(parser, run, redis=False)


def run(args: argparse.Namespace) -> int:
    """Send and count. Raises UserError."""
    settings = load_settings(args)
    since_ms, until_ms = _time_ms(args.since, 0), _time_ms(args.until, 1 << 62)
    counts: Counter[str] = Counter()
    selected = _select(_read_letters(args.origin, settings), args.type, since_ms, until_ms, counts)
    if args.dry_run:
        counts["redriven"] = sum(1 for _ in selected)
    else:
        with closing(Producer(settings.kafka, settings.kafka.topic)) as producer:
            for letter, raw in selected:
                origin = f"{letter.source}/{letter.partition}/{letter.offset}".encode()
                producer.send(_record_key(letter, raw, settings), raw, [(REDRIVE_HEADER, origin)])
                counts["redriven"] += 1
            producer.flush_and_check()
    would = "would be " if args.dry_run else ""
    print(
        f"{counts['redriven']:,} letters {would}sent to topic {settings.kafka.topic}, "
        f"{counts['truncated']:,} not (too large to be kept whole), "
        f"{counts['repeated']:,} were repeated, {counts['other']:,} of another type or time"
    )
    return 0


def _time_ms(text: str | None, default: int) -> int:
    if text is None:
        return default
    return start_ms(int(text) if text.isdecimal() else text)


def _read_letters(origin: str | None, settings: Settings) -> Iterator[TimedLetter]:
    origin = origin or settings.kafka.dead_letters
    if not origin:
        raise ConfigurationError(
            "name the dead letters with --from FILE, or their topic: kafka.dead_letters"
        )
    path = Path(origin)
    return _read_file(path) if path.exists() else read_dead_letters(settings.kafka, origin)


def _read_file(path: Path) -> Iterator[TimedLetter]:
    decode = msgspec.json.Decoder(DeadLetter).decode
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                letter = decode(line)
            except msgspec.DecodeError as error:
                raise DataError(
                    f"{path}, line {number} is no dead letter: {error}: name another file"
                ) from error
            yield letter, letter.at


def _select(
    letters: Iterator[TimedLetter],
    failure_type: str | None,
    since_ms: int,
    until_ms: int,
    counts: Counter[str],
) -> Iterator[tuple[DeadLetter, bytes]]:
    """Yield the letters to send with their bytes, each once; count the others."""
    sent: set[tuple[str, str, int]] = set()
    for letter, at_ms in letters:
        position = (letter.source, letter.partition, letter.offset)
        if failure_type not in (None, letter.failure_type) or (
            at_ms and not since_ms <= at_ms < until_ms
        ):
            counts["other"] += 1
        elif (raw := _raw_record(letter)) is None:
            counts["truncated"] += 1
        elif position in sent:
            counts["repeated"] += 1
        else:
            sent.add(position)
            yield letter, raw


def _raw_record(letter: DeadLetter) -> bytes | None:
    """Return the original record; None if the letter holds only its beginning."""
    if letter.cut:
        return None
    if letter.base64:
        raw = base64.b64decode(letter.raw)
        return None if len(raw) >= BASE64_BYTES_MAX else raw
    raw = letter.raw.encode()
    is_cut = len(raw) >= RAW_BYTES_MAX and letter.failure_type == "too_large"
    return None if is_cut else raw


def _record_key(letter: DeadLetter, raw: bytes, settings: Settings) -> bytes | None:
    """Return the key that a producer would use: the shopper of the event, if it can be read by now."""
    read = record_reader(settings.kafka.format)
    for event in read(raw, RecordPosition(letter.source, "0", 0), now_ms=1 << 62):
        if isinstance(event, Event):
            return (event.anonymous_id or event.user_id or "").encode()
    return None
