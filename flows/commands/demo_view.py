"""The demo on the terminal: a view that follows the flow through Redis, as a storefront would.

On a terminal it is redrawn twice a second; elsewhere there is a plain line now and then.
"""

from __future__ import annotations

import shlex
import sys
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.table import Column, Table
from rich.text import Text

from flows.process.background import beside
from flows.process.printing import lines
from serving.demo_monitor import Watch
from serving.reader import Storefront
from state.errors import UserError
from state.printable import printable
from state.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from threading import Event

    from rich.console import Console, RenderableType

    from serving.demo_monitor import Frame, Watched
    from serving.reader import Segment

FRAME_S = 0.5
LINE_S = 5.0
READ_MS_MAX = 5000
# What is shown fits into a terminal of 80 by 24.
ITEMS_SHOWN = 6
SEGMENTS_SHOWN = 9
BAR_CHARS = 14


@contextmanager
def live_view(console: Console, redis_url: str) -> Iterator[None]:
    """Show what is in Redis while inside, from a thread with a connection of its own."""
    if not console.is_terminal:
        look = _show("SHOPPER", redis_url)
        lines([f"To look at a shopper: {look}"], console)
        with _every(LINE_S, redis_url, lambda frame: console.print(figures(frame))):
            yield
        return
    with (
        Live(console=console, auto_refresh=False, transient=True) as live,
        _every(FRAME_S, redis_url, lambda frame: live.update(view(frame, redis_url), refresh=True)),
    ):
        yield


@contextmanager
def _every(interval_s: float, redis_url: str, show: Callable[[Frame], None]) -> Iterator[None]:
    store = Store(redis_url, timeout_ms=READ_MS_MAX, patience_s=0)
    watch = Watch(Storefront(store))

    def look(over: Event) -> None:
        is_over = False
        while not is_over:
            # What is wrong with Redis the flow itself says, and waits for it.
            with suppress(UserError), store.in_words():
                show(watch.frame(time.monotonic()))
            is_over = over.wait(interval_s)

    with beside("view", look):
        yield


def figures(frame: Frame) -> str:
    """All figures on one line."""
    return (
        f"{_clock(frame.shop_ms)}  {frame.events:,} events, {frame.events_per_s:,.0f}/s, "
        f"{frame.active_sessions:,} active sessions, {frame.shoppers:,} shoppers"
    )


def view(frame: Frame, redis_url: str) -> RenderableType:
    """A whole frame: figures, one shopper's list, segments, and the command that shows more."""
    parts: list[RenderableType] = [Text(figures(frame))]
    watched = frame.watched
    if watched:
        parts += [Text(), *_watched(watched)]
    parts += [Text(), _segments(shown_of(frame.segments))]
    if watched:
        parts += [Text(_show(watched.shopper, redis_url), style="dim")]
    return Group(*parts)


def shown_of(segments: list[Segment]) -> list[Segment]:
    """The biggest that somebody is in, one of each name."""
    by_name: dict[str, Segment] = {}
    for segment in segments:
        if segment.size:
            by_name.setdefault(segment.name, segment)
    return list(by_name.values())[:SEGMENTS_SHOWN]


def _segments(segments: list[Segment]) -> Table:
    most = max((segment.size for segment in segments), default=0) or 1
    table = Table(
        Column("segment", no_wrap=True), Column("shoppers", justify="right"), "", box=None
    )
    for segment in segments:
        bar = "█" * round(BAR_CHARS * segment.size / most)
        table.add_row(Text(printable(segment.name)), f"{segment.size:,}", Text(bar, style="cyan"))
    return table


def _watched(watched: Watched) -> list[RenderableType]:
    session = watched.session
    head = Text.assemble(
        (printable(watched.shopper), "bold"),
        f" is here: {session['events']} events, cart worth {session['cart_value']}, "
        f"{session['intent']}; would see now",
    )
    table = Table.grid(padding=(0, 2, 0, 0))
    for place, item in enumerate(watched.items[:ITEMS_SHOWN], 1):
        style = "green" if item.item in watched.fresh else ""
        title, in_words = printable(item.title), printable(item.in_words)
        table.add_row(f"{place:>3}", Text(title, style), Text(in_words, "dim"))
    return [head, table]


def _clock(shop_ms: int) -> str:
    return datetime.fromtimestamp(shop_ms / 1000, UTC).strftime("%a %H:%M:%S")


def _show(shopper: str, redis_url: str) -> str:
    """The command that shows a shopper, called as this program was."""
    called = Path(sys.argv[0])
    penstock = called if called.name == "penstock" else f"{sys.executable} -m flows"
    return f"{penstock} show {shlex.quote(printable(shopper))} --redis {redis_url}"
