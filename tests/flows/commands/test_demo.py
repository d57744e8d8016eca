"""The demo: the flow on a synthetic shop, its terminal view, and its end by Ctrl-C."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from io import StringIO
from itertools import islice
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from flows.commands import demo_run
from flows.commands.cli import main
from flows.commands.demo_view import figures_line, render, segments_to_show
from flows.runtime.replay import replay_recordings
from flows.sources.paced import PacedPartition
from operators.synthetic.catalogue import build_catalogue
from operators.synthetic.traffic import generate_events
from serving.demo_monitor import IDLE_S_MAX, DemoMonitor
from serving.reader import SegmentSize, Storefront
from state.config import Settings, Source
from state.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from state.events import Event
    from state.messages import SourceBatch


def size(batches: list[SourceBatch]) -> int:
    return sum(len(group.events) for batch in batches for group in batch.shard_inputs)


def test_a_short_run_ends_by_itself_with_a_summary(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--once", "--events", "3000"]) == 0
    said = capsys.readouterr()
    out = said.out.splitlines()
    assert said.err == ""
    assert out[0] == "3,000 events of a synthetic shop, through the flow, into a Redis of its own"
    summary = [line for line in out[1:] if not line.endswith(" of 3,000 events")]
    assert summary[0].startswith("events    3,000 in ")
    assert summary[1:4] == [
        "accepted  3,000, of them 0 late",
        "rejected  0",
        "repeated  0 duplicates, each counted once",
    ]


def test_ctrl_c_ends_the_live_demo_with_a_summary(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def visits(**wanted: float) -> Iterator[Event]:
        events = generate_events(shoppers=100, items=50)
        yield from islice(events, 1100)
        signal.raise_signal(signal.SIGINT)
        yield from events

    monkeypatch.setattr(demo_run, "HISTORY_EVENTS", 1000)
    monkeypatch.setattr(demo_run, "generate_events", visits)
    before = signal.getsignal(signal.SIGINT)
    assert main(["demo"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert re.search(r"^events    1,1\d\d in ", said.out, re.MULTILINE)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_short_run_prints_at_once_and_shows_progress() -> None:
    """Before it imports what takes seconds, and then while it works, also where nobody sees a bar."""
    asks = (
        "import sys; from flows.commands.cli import parser; parser(['demo']); print(*sys.modules)"
    )
    loaded = subprocess.check_output([sys.executable, "-c", asks], text=True).split()
    assert not {"river", "scipy", "bytewax"} & set(loaded)
    command = [sys.executable, "-m", "flows", "demo", "--once", "--events", "60000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        first = process.stdout.readline()
        assert first.startswith("60,000 events of a synthetic shop")
        assert re.fullmatch(r"[\d,]+ of 60,000 events\n", process.stdout.readline())
        process.send_signal(signal.SIGINT)
        process.stdout.read()


def test_names_in_the_shop_are_unique() -> None:
    for items in (500, 2000):
        assert len({item.name for item in build_catalogue(items)}) == items


def test_history_is_read_at_once_and_later_events_at_a_pace() -> None:
    now_s = 0.0
    partition = PacedPartition(
        generate_events(events=1000, items=10),
        Settings(source=Source(batch_events=250)),
        threading.Event(),
        history=600,
        events_per_s=100.0,
        clock=lambda: now_s,
    )
    batch_sizes = [size(partition.next_batch()) for _ in range(3)]
    first = size(partition.next_batch())
    now_s = 2.0
    second = size(partition.next_batch())
    now_s = 60.0
    rest = [size(partition.next_batch()) for _ in range(2)]
    assert (batch_sizes, first, second, rest) == ([250, 250, 100], 1, 199, [200, 0])


def test_a_stop_ends_the_source_after_an_empty_batch() -> None:
    stop = threading.Event()
    partition = PacedPartition(
        generate_events(items=10),
        Settings(),
        stop,
        history=100,
        events_per_s=1.0,
        clock=lambda: 0.0,
    )
    assert size(partition.next_batch()) == 100
    stop.set()
    assert size(partition.next_batch()) == 0
    with pytest.raises(StopIteration):
        partition.next_batch()


def replayed(redis_url: str, events: int, letters: Path) -> None:
    def visits() -> Iterator[Event]:
        return generate_events(events=events, shoppers=400, items=60)

    settings = Settings(source=Source(batch_events=512))
    replay_recordings({"shop": visits}, settings, redis_url=redis_url, dead_letters=letters)


def test_a_frame_has_the_content_of_redis(redis_url: str, tmp_path: Path) -> None:
    watch = DemoMonitor(Storefront(Store(redis_url, timeout_ms=2000, patience_s=0)))
    before = watch.read_frame(0.0)
    assert (before.events, before.segments, before.followed) == (0, [], None)
    replayed(redis_url, 8000, tmp_path / "letters")
    frame = watch.read_frame(4.0)
    assert (frame.events, frame.events_per_s) == (8000, 2000.0)
    assert frame.active_sessions == frame.shoppers > 0
    # Whoever came before the first centres were placed, and has not come back, is in none.
    clusters = [segment.size for segment in frame.segments if segment.sid.startswith("cluster-")]
    assert 0 < sum(clusters) <= frame.shoppers
    assert frame.followed
    assert frame.followed.items
    assert frame.followed.new_items == set()


def test_an_idle_shopper_is_replaced_by_the_newest(redis_url: str, tmp_path: Path) -> None:
    store = Store(redis_url, timeout_ms=2000, patience_s=0)
    replayed(redis_url, 8000, tmp_path / "letters")
    watch = DemoMonitor(Storefront(store))
    first = watch.read_frame(0.0).followed
    assert first
    replayed(redis_url, 9000, tmp_path / "letters")
    patient, impatient = watch.read_frame(1.0).followed, watch.read_frame(2.0 + IDLE_S_MAX).followed
    assert patient
    assert impatient
    assert patient.shopper == first.shopper
    assert impatient.shopper != first.shopper


def test_the_view_shows_figures_segments_and_one_list(redis_url: str, tmp_path: Path) -> None:
    replayed(redis_url, 8000, tmp_path / "letters")
    watch = DemoMonitor(Storefront(Store(redis_url, timeout_ms=2000, patience_s=0)))
    frame = watch.read_frame(0.0)
    console = Console(file=StringIO(), width=120)
    console.print(render(frame, redis_url))
    assert isinstance(console.file, StringIO)
    drawn = console.file.getvalue()
    assert frame.followed
    shown = segments_to_show(frame.segments)
    wanted = [figures_line(frame), *(segment.name for segment in shown)]
    wanted += [frame.followed.shopper, frame.followed.items[0].name]
    assert [text for text in wanted if text not in drawn] == []
    assert f"show {frame.followed.shopper} --redis {redis_url}" in drawn.replace("\n", "")


def test_the_list_is_above_the_segments_and_both_fit_a_small_terminal(
    redis_url: str, tmp_path: Path
) -> None:
    replayed(redis_url, 8000, tmp_path / "letters")
    watch = DemoMonitor(Storefront(Store(redis_url, timeout_ms=2000, patience_s=0)))
    frame = watch.read_frame(0.0)
    same = [SegmentSize(f"twin-{n}", "Twins", 10_000) for n in range(3)]
    frame = frame._replace(segments=[*same, *frame.segments, SegmentSize("none", "Nobody", 0)])
    console = Console(file=StringIO(), width=80, height=24, force_terminal=False)
    console.print(render(frame, "redis://127.0.0.1:6379"))
    assert isinstance(console.file, StringIO)
    drawn = console.file.getvalue()
    assert len(drawn.splitlines()) <= 23
    assert frame.followed
    assert drawn.index(frame.followed.items[0].title) < drawn.index("Twins")
    assert drawn.count("Twins") == 1
    assert "Nobody" not in drawn
