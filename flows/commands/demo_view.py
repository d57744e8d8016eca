"""The view of the demo in the terminal. It follows the flow through Redis, as a storefront would.

On a terminal it is redrawn twice a second; without a terminal it prints a line every few seconds.
"""

from __future__ import annotations

import shlex
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.table import Column, Table
from rich.text import Text

from flows.process.background import background_thread
from flows.process.printing import print_lines
from serving.demo_monitor import DemoMonitor
from serving.reader import Storefront
from state.errors import StoreError
from state.printable import printable
from state.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from threading import Event

    from rich.console import Console, RenderableType

    from flows.process.background import BackgroundThread
    from serving.demo_monitor import FollowedShopper, Frame
    from serving.reader import SegmentSize

FRAME_S = 0.5
LINE_S = 5.0
READ_TIMEOUT_MS = 5000
# The view fits into a terminal of 80 by 24.
ITEMS_SHOWN = 6
SEGMENTS_SHOWN = 9
BAR_CHARS = 14


@contextmanager
def demo_screen(console: Console, redis_url: str) -> Iterator[BackgroundThread]:
    """Show the content of Redis inside the block, from a thread with its own connection."""
    if not console.is_terminal:
        command = _show_command("SHOPPER", redis_url)
        print_lines([f"To look at a shopper: {command}"], console)
        with _refresh_loop(
            LINE_S, redis_url, lambda frame: console.print(figures_line(frame))
        ) as thread:
            yield thread
        return
    with (
        Live(console=console, auto_refresh=False, transient=True) as live,
        _refresh_loop(
            FRAME_S, redis_url, lambda frame: live.update(render(frame, redis_url), refresh=True)
        ) as thread,
    ):
        yield thread


@contextmanager
def _refresh_loop(
    interval_s: float, redis_url: str, show: Callable[[Frame], None]
) -> Iterator[BackgroundThread]:
    store = Store(redis_url, timeout_ms=READ_TIMEOUT_MS, patience_s=0)
    monitor = DemoMonitor(Storefront(store))

    def refresh(stop: Event) -> None:
        is_stopped = False
        while not is_stopped:
            # The flow itself logs errors of Redis and waits for it.
            with suppress(StoreError), store.errors_as_user_errors():
                show(monitor.read_frame(time.monotonic()))
            is_stopped = stop.wait(interval_s)

    with background_thread("view", refresh) as thread:
        yield thread


def figures_line(frame: Frame) -> str:
    """Return all figures in one line."""
    return (
        f"{frame.events:,} events, {frame.events_per_s:,.0f}/s, "
        f"{frame.active_sessions:,} active sessions, {frame.shoppers:,} shoppers"
    )


def render(frame: Frame, redis_url: str) -> RenderableType:
    """Render a frame: figures, the list of one shopper, segments, and the command that shows more."""
    parts: list[RenderableType] = [Text(figures_line(frame))]
    followed = frame.followed
    if followed:
        parts += [Text(), *_followed_shopper(followed)]
    parts += [Text(), _segments(segments_to_show(frame.segments))]
    if followed:
        parts += [Text(_show_command(followed.shopper, redis_url), style="dim")]
    return Group(*parts)


def segments_to_show(segments: list[SegmentSize]) -> list[SegmentSize]:
    """Return the biggest segments that are not empty, one of each name."""
    by_name: dict[str, SegmentSize] = {}
    for segment in segments:
        if segment.size:
            by_name.setdefault(segment.name, segment)
    return list(by_name.values())[:SEGMENTS_SHOWN]


def _segments(segments: list[SegmentSize]) -> Table:
    largest = max((segment.size for segment in segments), default=0) or 1
    table = Table(
        Column("segment", no_wrap=True), Column("shoppers", justify="right"), "", box=None
    )
    for segment in segments:
        bar = "█" * round(BAR_CHARS * segment.size / largest)
        table.add_row(Text(printable(segment.name)), f"{segment.size:,}", Text(bar, style="cyan"))
    return table


def _followed_shopper(followed: FollowedShopper) -> list[RenderableType]:
    session = followed.session
    head = Text.assemble(
        (printable(followed.shopper), "bold"),
        f" is here: {session['events']} events, cart worth {session['cart_value']}, "
        f"{session['intent']}; would see now",
    )
    table = Table.grid(padding=(0, 2, 0, 0))
    for position, item in enumerate(followed.items[:ITEMS_SHOWN], 1):
        style = "green" if item.item in followed.new_items else ""
        title, in_words = printable(item.title), printable(item.in_words)
        table.add_row(f"{position:>3}", Text(title, style), Text(in_words, "dim"))
    return [head, table]


def _show_command(shopper: str, redis_url: str) -> str:
    """Return the command that shows a shopper, with the program name of this process."""
    program = Path(sys.argv[0])
    penstock = program if program.name == "penstock" else f"{sys.executable} -m flows"
    return f"{penstock} show {shlex.quote(printable(shopper))} --redis {redis_url}"
