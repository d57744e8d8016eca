"""The summary of a replay for the terminal: counts, the biggest segments, the list of one shopper."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from flows.commands.output import write_file
from flows.process.printing import print_lines as print_lines
from serving.explain import explain_entries
from serving.reader import Storefront
from state.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from flows.runtime.replay_report import Report

SEGMENTS_SHOWN = 3
ITEMS_SHOWN = 5
READ_TIMEOUT_MS = 5000


def write_report(path: Path, report: Report) -> None:
    """Write the report as JSON. Raises OutputError."""
    write_file(path, msgspec.json.format(msgspec.json.encode(report)) + b"\n")


def unaccounted_events(report: Report) -> int:
    """Return the number of events that no counter covers; any number but 0 is a bug."""
    dropped = sum(report.rejected.values()) + report.duplicates + report.suppressed
    return report.events - report.accepted - dropped - sum(report.withheld.values())


def figure_lines(report: Report, dead_letters: Path) -> list[str]:
    """Return the counts of a report as lines.

    `late` events are accepted: they count in profiles, but not in sessions that have ended.
    """
    rejected = sum(report.rejected.values())
    by_type = ", ".join(f"{count:,} {name}" for name, count in report.rejected.items())
    lines = [
        f"events    {report.events:,} in {report.wall_s:,.1f} s, {report.events_per_s:,.0f}/s, "
        f"peak memory {report.peak_rss_mb:,.0f} MB",
        f"accepted  {report.accepted:,}, of them {report.late:,} late",
        f"rejected  {rejected:,}" + (f" ({by_type}): see {dead_letters}" if rejected else ""),
        *_ignored_parts_lines(report),
        f"repeated  {report.duplicates:,} duplicates, each counted once",
        *(
            f"withheld  {count:,} of shoppers who refuse {purpose}"
            for purpose, count in report.withheld.items()
        ),
        f"shoppers  {report.shoppers:,}, sessions {report.sessions_opened:,} "
        f"({report.sessions_closed:,} ended), items {report.items:,}",
        f"lists     {report.lists_written:,} written; "
        f"{report.segment_changes:,} times a shopper entered or left a segment",
    ]
    if report.erased:
        lines.append(
            f"erased    {report.erased:,} times a user or a device; {report.suppressed:,} events from "
            "before that came later and count as nothing"
        )
    return lines


def _ignored_parts_lines(report: Report) -> list[str]:
    """Return a line for each kind of content of accepted events that was ignored."""
    lines = [
        f"left out  {count:,} of {name}: could not be read, the events count without it"
        for name, count in report.left_out.items()
    ]
    if report.shortened:
        lines.append(f"shortened {report.shortened:,} events with more items than count")
    if report.held:
        lines.append(
            f"held      {report.held:,} events, so far ahead of the others that they move no clock"
        )
    return lines


def print_summary(console: Console, report: Report, redis_url: str, dead_letters: Path) -> None:
    """Print the counts, the biggest segments in Redis and the list of one of their members."""
    lines = figure_lines(report, dead_letters)
    shop = Storefront(Store(redis_url, timeout_ms=READ_TIMEOUT_MS, patience_s=0))
    segments = shop.segments()[:SEGMENTS_SHOWN]
    lines += [f"segment   {segment.size:,} shoppers: {segment.name}" for segment in segments]
    members = (name for segment in segments for name in shop.newest_members(segment.sid, 1))
    for shopper in members:
        if top_list := shop.top(shopper):
            lines.append(f"list      what {shopper} would see:")
            items = explain_entries(shop, top_list.entries[:ITEMS_SHOWN])
            lines += [f"          {item.title}, {item.in_words}" for item in items]
            break
    print_lines(lines, console)
