"""`penstock segments`: lists segments and members. The actions about rules are in `segment_rules`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.commands.arguments import complete
from flows.commands.options import load_settings, open_external_store
from flows.commands.segment_rules import add_rule_actions, print_unknown_segment
from flows.commands.summaries import SUMMARIES
from flows.process.printing import print_lines as print_lines
from serving.segments import SegmentReader
from serving.times import in_utc
from state.errors import ConfigurationError

if TYPE_CHECKING:
    import argparse


MEMBERS_DEFAULT = 20


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand and its actions."""
    parser = subparsers.add_parser(
        "segments",
        help=SUMMARIES["segments"],
        description="Inspect segments: which there are, who is in them and why, and what a changed "
        "rule of the segments file would do.",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    action = actions.add_parser(
        "list", help="list all segments", description="List all segments, the biggest first."
    )
    complete(action, _list, redis=True)
    action = actions.add_parser(
        "show", help="show one segment", description="Show the rule, figures and versions."
    )
    action.add_argument("segment", metavar="SEGMENT")
    complete(action, _show, redis=True)
    action = actions.add_parser(
        "members",
        help="list the members of a segment",
        description="List members, the newest first, without those who refuse ads.",
    )
    action.add_argument("segment", metavar="SEGMENT")
    action.add_argument(
        "--limit",
        type=int,
        default=MEMBERS_DEFAULT,
        help="number of members (default: %(default)s)",
    )
    complete(action, _members, redis=True)
    add_rule_actions(actions)


def _list(args: argparse.Namespace) -> int:
    rows = [("segment", "kind", "size", "in 5 min", "out 5 min", "version", "name")]
    for segment in SegmentReader(open_external_store(args, load_settings(args))).all():
        status = "" if segment.status == "live" else f" ({segment.status})"
        flow = (f"+{segment.stats.get('entered_5m', '?')}", f"-{segment.stats.get('left_5m', '?')}")
        rows.append(
            (
                segment.sid,
                segment.kind,
                f"{segment.size:,}",
                *flow,
                str(segment.version),
                f"{segment.name}{status}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print_lines(
        [
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
    )
    return 0


def _show(args: argparse.Namespace) -> int:
    segments = SegmentReader(open_external_store(args, load_settings(args)))
    segment = segments.find(args.segment)
    if segment is None:
        return print_unknown_segment(args.segment)
    definition = segments.definition(segment.sid)
    lines = [
        f"segment   {segment.sid}: {segment.name}",
        f"kind      {segment.kind}, version {segment.version}, {segment.status}",
        f"rule      {definition.get('rule', '')}",
    ]
    if text := definition.get("description"):
        lines.append(f"about     {text}")
    lines += [f"size      {segment.size:,}", *_value_lines(segment.stats)]
    for version, old in segments.versions(segment.sid):
        lines.append(f"version   {version}, since {in_utc(old['from_ms'])}: {old['rule']}")
    print_lines(lines)
    return 0


def _value_lines(stats: dict[str, str]) -> list[str]:
    """Return the figures of a segment as lines, none if nothing was counted yet."""
    if "at" not in stats:
        return []
    return [
        f"known     {int(stats['identified']):,} of them by a user id",
        f"moves     +{stats['entered_5m']} / -{stats['left_5m']} within 5 min",
        f"worth     {float(stats['conversion_1d']):.1%} of {int(stats.get('shoppers_1d', 0)):,} "
        "who were in it within 24 h ordered in it: "
        f"{float(stats['revenue_1d']):,.2f}, {float(stats['aov_1d']):,.2f} an order",
        f"as of     {in_utc(stats['at'])}",
    ]


def _members(args: argparse.Namespace) -> int:
    if args.limit < 1:
        raise ConfigurationError("--limit is how many to show: give 1 or more")
    settings = load_settings(args, require_consent_defaults=True)
    segments = SegmentReader(open_external_store(args, settings))
    if segments.find(args.segment) is None:
        return print_unknown_segment(args.segment)
    members = segments.exportable_members(args.segment, args.limit, settings.privacy.unknown.ads)
    print_lines([f"{in_utc(at_ms)}  {shopper}" for shopper, at_ms in members])
    return 0
