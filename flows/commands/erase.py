"""`penstock erase`: erases shoppers by sending `erase` events to the topic that the flow reads."""

from __future__ import annotations

import time
import uuid
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from flows.commands.arguments import complete
from flows.commands.options import EMBEDDED, load_settings, open_store, redis_url
from flows.commands.summaries import SUMMARIES
from flows.kafka.producer import Producer
from flows.process.printing import print_lines as print_lines
from operators.events.decode import RecordPosition
from operators.readers.registry import record_reader
from state import keys
from state.errors import ConfigurationError, DataError, SourceError
from state.events import Event

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from state.config import Settings
    from state.store import Store


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "erase",
        help=SUMMARIES["erase"],
        description="Send an `erase` event for each id to the events topic. The flow then erases "
        "the user with all devices, or the single device, and drops events from before the erasure. "
        "The event is also sent for an id that Redis does not know, since its first events may "
        "still arrive.",
    )
    add = parser.add_argument
    add("ids", metavar="ID", nargs="*", help="a user id or an anonymous id")
    add("--file", metavar="FILE", type=Path, help="a text file with one id on each line")
    add("--dry-run", action="store_true", help="print what is known of each id, and send nothing")
    complete(parser, run, redis=True)


def run(args: argparse.Namespace) -> int:
    """Print what is known of each id, and send the events. Raises UserError."""
    settings = load_settings(args)
    ids = list(dict.fromkeys(_requested_ids(args.ids, args.file)))
    if not ids:
        raise ConfigurationError(
            "nobody is named: penstock erase ID..., or --file FILE with an id a line"
        )
    now_ms = time.time_ns() // 1_000_000
    records = [_record(name, now_ms, settings) for name in ids]
    url = redis_url(args, settings)
    if url != EMBEDDED:
        store = open_store(url, settings)
        with store.errors_as_user_errors():
            print_lines([f"{name}: {_describe_id(store, name)}" for name in ids])
    if not args.dry_run:
        with closing(Producer(settings.kafka, settings.kafka.topic)) as producer:
            for name, record in zip(ids, records, strict=True):
                producer.send(name.encode(), record)
            producer.flush_and_check()
    would = "would be " if args.dry_run else ""
    print(f"{len(ids):,} erase events {would}sent to topic {settings.kafka.topic}")
    return 0


def _requested_ids(arguments: list[str], file: Path | None) -> Iterator[str]:
    yield from (name for name in arguments if name)
    if file is None:
        return
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{file}: cannot be read as text: {error}") from error
    yield from (line.strip() for line in text.splitlines() if line.strip())


def _record(name: str, now_ms: int, settings: Settings) -> bytes:
    """Return the `erase` event, which the reader of the topic's format must accept.

    Raises UserError.
    """
    fields: dict[str, Any] = {
        "event_id": f"erase-{uuid.uuid4().hex}",
        "type": "erase",
        "event_ts": now_ms,
        "user_id": name,
    }
    record = msgspec.json.encode(fields)
    read = record_reader(settings.kafka.format)
    decoded = list(read(record, RecordPosition("erase", "0", 0), now_ms=now_ms))
    if [one.user_id for one in decoded if isinstance(one, Event) and one.type == "erase"] == [name]:
        return record
    if settings.kafka.format != "penstock":
        raise ConfigurationError(
            f"topic {settings.kafka.topic} is read as {settings.kafka.format}, which has no erase event "
            "of Penstock's own: have the producer send one, or name a topic of format penstock with "
            "--set kafka.topic=... --set kafka.format=penstock"
        )
    raise DataError(f"{name!r} is no id of a shopper: nothing was sent")


def _describe_id(store: Store, name: str) -> str:
    client: Any = store.client
    user = client.get(keys.alias_key(name))
    if user is not None:
        return f"a device of {user.decode()}, who stays; to erase both name {user.decode()}"
    is_known = client.exists(keys.profile_key(name), keys.row_key(name), keys.device_row_key(name))
    return "known" if is_known else "not known to Redis: never seen, erased already, or expired"
