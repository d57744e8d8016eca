"""`penstock replay`: runs a recorded file through the flow as fast as possible."""

from __future__ import annotations

import logging
import sys
import time
from contextlib import closing
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import track

from flows.commands.arguments import complete
from flows.commands.options import (
    EMBEDDED,
    load_settings,
    open_store,
    redis_url,
    running_redis,
)
from flows.commands.output import check_directory
from flows.commands.replay_summary import print_summary, unaccounted_events, write_report
from flows.commands.summaries import SUMMARIES
from flows.process.printing import create_console, print_lines
from flows.process.shutdown import stop_on_signal
from flows.recovery.run_identity import check_same_replay
from flows.runtime.replay import replay_source
from flows.runtime.replay_report import DigestMode, build_report
from flows.sources.files import LogFile, progress_bar
from flows.sources.recorded import RecordedSource
from flows.sources.time_ordering import sort_by_time
from operators.readers.orders import join_orders
from operators.readers.registry import FORMATS, UNSORTED_FORMATS, read_log
from serving.reader import Storefront
from state.errors import ConfigurationError, DataError
from state.events import Event

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator, Iterator
    from threading import Event as Flag

    from state.config import Settings
    from state.dead_letters import DeadLetter
    from state.limits import Limits

STANDARD_INPUT = "-"
ORDER_HOLD_MS = 60_000
"""Event time for which rows of an order are held, so that rows far apart are joined."""

_log = logging.getLogger("penstock.replay")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "replay",
        help=SUMMARIES["replay"],
        description="Run a recorded file through the flow as fast as possible, then print a summary.",
    )
    add = parser.add_argument
    add("file", metavar="FILE", help="the recorded file: plain, .gz, or - for standard input")
    add("--format", required=True, choices=FORMATS, help="the format of FILE")
    add("--report", metavar="FILE", type=Path, help="write the counts as JSON")
    add(
        "--recovery",
        metavar="DIR",
        type=Path,
        help="folder for snapshots: a replay that was stopped continues from the last one",
    )
    add(
        "--dead-letters",
        metavar="FILE",
        type=Path,
        help="file for rejected records (default: NAME.dead-letters.jsonl in this folder)",
    )
    complete(parser, run, redis=True)


def run(args: argparse.Namespace) -> int:
    """Replay, report, summarize. Raises UserError."""
    settings = load_settings(args, require_consent_defaults=True)
    check_directory(args.report)
    if args.recovery:
        _check_resumable(args, redis_url(args, settings))
    dead_letters = args.dead_letters or _default_dead_letters(args.file)
    started_s = time.perf_counter()
    with (
        LogFile(args.file) as log,
        running_redis(args, settings) as url,
    ):
        if args.recovery and check_same_replay(args.recovery, log.name, args.format, settings):
            print_lines([f"goes on with the replay of {log.name}"])
        else:
            _warn_of_old_results(url, settings)
        with (
            stop_on_signal() as stop,
            closing(read_records(log, args.format, settings.source.limits, stop)) as records,
        ):
            source = RecordedSource({Path(log.name).name: lambda: records}, settings, stop)
            replay_source(
                source,
                settings,
                redis_url=url,
                dead_letters=dead_letters,
                recovery_folder=args.recovery,
            )
        if stop.is_set():
            raise KeyboardInterrupt
        digests = DigestMode.COMPUTED if args.report else DigestMode.SKIPPED
        figures = build_report(settings, url, started_s, source.resumed_events, digests)
        if figures.events or source.failure is None:
            if args.report:
                write_report(args.report, figures)
            print_summary(create_console(), figures, url, dead_letters)
    if source.failure is not None:
        raise source.failure
    if missing := unaccounted_events(figures):
        print(
            f"penstock: {missing:,} events are neither accepted nor rejected nor duplicates nor "
            "suppressed nor withheld: a bug of Penstock's",
            file=sys.stderr,
        )
        return 1
    if not figures.events:
        raise DataError(f"{log.name} holds no events: nothing to replay")
    if not (figures.accepted or figures.withheld):
        raise DataError(
            f"nothing in {log.name} is an event of format {args.format}: choose another --format, "
            f"or see {dead_letters} for what is wrong"
        )
    return 0


def _check_resumable(args: argparse.Namespace, url: str) -> None:
    if args.file == STANDARD_INPUT:
        raise ConfigurationError("standard input cannot be read again: --recovery needs a FILE")
    if url == EMBEDDED:
        raise ConfigurationError(
            "the embedded Redis is empty after a restart: with --recovery, name one that stays "
            "with --redis URL"
        )


def _warn_of_old_results(url: str, settings: Settings) -> None:
    store = open_store(url, settings)
    with store.errors_as_user_errors():
        earlier_events = Storefront(store).counters().get("events")
    if earlier_events:
        _log.warning(
            "Redis at %s holds the results of an earlier run: those that this one does not "
            "overwrite stay",
            store.address,
        )


def _default_dead_letters(file: str) -> Path:
    name = "standard-input" if file == STANDARD_INPUT else Path(file).name
    return Path(f"{name}.dead-letters.jsonl")


def read_records(
    log: LogFile, format_name: str, limits: Limits, stop: Flag
) -> Generator[Event | DeadLetter, None, None]:
    """Yield the records of the file in an order that can be replayed, with a progress bar."""
    if format_name in UNSORTED_FORMATS:
        return _read_by_time(_read(log, format_name, limits, stop), limits)
    return _read(log, format_name, limits, stop)


def _read(
    log: LogFile, format_name: str, limits: Limits, stop: Flag
) -> Generator[Event | DeadLetter, None, None]:
    now_ms = time.time_ns() // 1_000_000
    with progress_bar(log) as on_progress:
        # One byte above the limit is enough to see that a line is too long.
        raw_lines = log.lines(on_progress, line_bytes_max=limits.event_bytes_max + 1)
        raw_lines = takewhile(lambda _: not stop.is_set(), raw_lines)
        yield from read_log(format_name, raw_lines, source=log.name, now_ms=now_ms, limits=limits)


def _read_by_time(
    records: Iterator[Event | DeadLetter], limits: Limits
) -> Generator[Event | DeadLetter, None, None]:
    """Yield records by time, with a second bar: the first bar has ended when the first event comes.

    An order comes up to `ORDER_HOLD_MS` after its time, far less than the allowed lateness.
    """
    events = 0

    def count_events() -> Iterator[Event | DeadLetter]:
        nonlocal events
        for record in records:
            events += isinstance(record, Event)
            yield record

    in_order = join_orders(sort_by_time(count_events()), hold_ms=ORDER_HOLD_MS, limits=limits)
    for record in in_order:
        yield record
        if isinstance(record, Event):
            break
    terminal = create_console(stderr=True)
    yield from track(
        in_order,
        "replayed by time",
        total=events - 1,
        console=terminal,
        disable=not terminal.is_terminal,
    )
