"""The demo: the flow on a synthetic shop, its terminal view, and its end by Ctrl-C."""

from __future__ import annotations

import re
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from flows.commands.cli import main
from flows.commands.demo_view import figures_line, render, segments_to_show
from flows.runtime.replay import replay_recordings
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


@pytest.mark.slow
def test_a_short_run_checks_that_a_click_reaches_a_list_and_ends(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["demo", "--once", "--events", "2000"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "3 clicks through the collector; a list of the visitor's own" in said.out
    summary = re.search(r"^events    ([\d,]+) in .*\naccepted  ([\d,]+), ", said.out, re.MULTILINE)
    assert summary
    assert summary[1] == summary[2]


def test_names_in_the_shop_are_unique() -> None:
    for items in (500, 2000):
        assert len({item.name for item in build_catalogue(items)}) == items


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
