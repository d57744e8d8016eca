"""Runs the demo: a synthetic shop through the flow, with dashboard and terminal view.

May change freely.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from flows.commands.dashboard import create_server as page_server
from flows.commands.demo_view import demo_screen
from flows.commands.replay_summary import print_summary
from flows.process.background import background_thread
from flows.process.embedded_redis import EmbeddedRedis
from flows.process.shutdown import stop_on_signal
from flows.runtime.replay import replay_source
from flows.runtime.replay_report import build_report
from flows.sources.paced import PacedSource
from operators.synthetic.traffic import generate_events

if TYPE_CHECKING:
    from collections.abc import Iterator
    from threading import Event as Flag

    from rich.console import Console

    from state.config import Settings
    from state.events import Event

HISTORY_EVENTS = 60_000
HISTORY_BATCH_EVENTS = 1024
"""Less than a minute of event time: a batch publishes time-driven changes once."""
EVENTS_PER_S = 300
SHOPPERS = 10_000
PROGRESS_S = 0.5
PROGRESS_LINE_S = 5.0


def run(
    settings: Settings, console: Console, *, events: int | None, is_live: bool, speed: int
) -> None:
    """Run `events` events through the flow, or until a signal; `is_live` paces them by event time."""
    if is_live:
        batch = min(settings.source.batch_events, HISTORY_BATCH_EVENTS)
        settings = replace(settings, source=replace(settings.source, batch_events=batch))
    traffic = _CountedEvents(
        generate_events(shoppers=SHOPPERS, events=events, events_per_s=EVENTS_PER_S / speed)
    )
    started_s = time.perf_counter()
    with EmbeddedRedis() as server, tempfile.TemporaryDirectory(prefix="penstock-demo-") as folder:
        dead_letters = Path(folder) / "dead-letters.jsonl"
        with stop_on_signal() as stop, ExitStack() as exit_stack:
            if is_live:
                page = page_server(settings, server.url, any_port=True)
                console.print(f"Open {page.url} to watch the shop and its segments.")
                exit_stack.enter_context(background_thread("page", page.serve))
                exit_stack.enter_context(demo_screen(console, server.url))
            elif events is not None:
                exit_stack.enter_context(_progress(console, traffic, events))
            history = HISTORY_EVENTS if is_live or events is None else events
            source = PacedSource(
                traffic, settings, stop, history=history, events_per_s=EVENTS_PER_S
            )
            replay_source(source, settings, redis_url=server.url, dead_letters=dead_letters)
        figures = build_report(settings, server.url, started_s)
        print_summary(console, figures, server.url, dead_letters)


class _CountedEvents:
    """An iterator of events that counts them."""

    def __init__(self, events: Iterator[Event]) -> None:
        self._events = events
        self.count = 0

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        event = next(self._events)
        self.count += 1
        return event


@contextmanager
def _progress(console: Console, traffic: _CountedEvents, events: int) -> Iterator[None]:
    """Show the progress inside the block: a bar on a terminal, else a line every few seconds."""
    bar = Progress(
        TextColumn("{task.completed:,} of {task.total:,} events"),
        BarColumn(),
        TaskProgressColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = bar.add_task("events", total=events)

    def report_progress(stop: Flag) -> None:
        due_s = time.monotonic() + PROGRESS_S
        while not stop.wait(PROGRESS_S):
            bar.update(task, completed=traffic.count)
            if not console.is_terminal and time.monotonic() >= due_s:
                console.print(f"{traffic.count:,} of {events:,} events")
                due_s = time.monotonic() + PROGRESS_LINE_S

    with bar, background_thread("progress", report_progress):
        yield
