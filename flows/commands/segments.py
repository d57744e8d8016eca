"""`penstock segments`: what there is, who is in it and why, and what a changed rule would do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flows.commands.options import add_redis, add_settings, lasting_redis_url, settings_of
from flows.process.printing import complain
from flows.process.printing import lines as print_lines
from flows.recovery.stored_shoppers import stored_shopper, stored_shoppers
from operators.segments.rules.compiler import rule_segments
from operators.segments.rules.explain import why
from operators.segments.rules.preview import Preview, preview
from serving.segments import Segment, Segments
from serving.times import in_utc
from state.errors import UserError
from state.shopper import RuleState
from state.store import Store

if TYPE_CHECKING:
    import argparse

    from operators.segments.rules.ast import Rule
    from operators.segments.rules.explain import Reason
    from state.config import Settings

UNKNOWN = 1
MEMBERS = 20


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand and what it takes."""
    parser = subparsers.add_parser(
        "segments",
        help="segments: list, show, diff, members, why, preview",
        description="What segments there are, who is in them and why, and what a changed rule of "
        "the segments file would do.",
    )
    ways = parser.add_subparsers(metavar="WAY", required=True)
    add = ways.add_parser

    one = add(
        "list", help="all segments, biggest first", description="All segments, biggest first."
    )
    _common(one, _list)
    one = add("show", help="one segment", description="A segment: its rule, figures and versions.")
    one.add_argument("segment", metavar="SEGMENT")
    _common(one, _show)
    one = add(
        "diff",
        help="rules of the segments file against what is live",
        description="How the rules of the segments file differ from those that are live.",
    )
    one.add_argument("segment", metavar="SEGMENT", nargs="?")
    _common(one, _diff)
    one = add(
        "members",
        help="who is in a segment",
        description="Members, the newest first, but for those who refuse ads.",
    )
    one.add_argument("segment", metavar="SEGMENT")
    one.add_argument("--limit", type=int, default=MEMBERS, help="how many (default %(default)s)")
    _common(one, _members)
    one = add(
        "why",
        help="why a shopper is in a segment, or not",
        description="A rule of the segments file, part by part, with what is known of a shopper; "
        "of a segment that is found (RFM, lifecycle, propensity, clusters) what decides.",
    )
    one.add_argument("shopper", metavar="SHOPPER")
    one.add_argument("segment", metavar="SEGMENT")
    _stored(one, required=False)
    _common(one, _why)
    one = add(
        "preview",
        help="what a rule of the segments file would come to now",
        description="The size a rule of the segments file would have now, who would enter and "
        "leave, and ten members with why. Nothing is changed.",
    )
    one.add_argument("segment", metavar="RULE")
    one.add_argument(
        "--sample", type=int, metavar="N", help="look at N shards only, and estimate the rest"
    )
    _stored(one, required=True)
    _common(one, _preview)


def _common(parser: argparse.ArgumentParser, way: object) -> None:
    add_redis(parser)
    add_settings(parser)
    parser.set_defaults(run=way)


def _stored(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "--recovery",
        metavar="DIR",
        type=Path,
        required=required,
        help="the recovery folder of the run: its state as of a second ago",
    )


def _list(args: argparse.Namespace) -> int:
    rows = [("segment", "kind", "size", "in 5 min", "out 5 min", "version", "name")]
    for one in _segments(args, settings_of(args)).all():
        status = "" if one.status == "live" else f" ({one.status})"
        flow = (f"+{one.stats.get('entered_5m', '?')}", f"-{one.stats.get('left_5m', '?')}")
        rows.append(
            (one.sid, one.kind, f"{one.size:,}", *flow, str(one.version), f"{one.name}{status}")
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
    segments = _segments(args, settings_of(args))
    one = segments.find(args.segment)
    if one is None:
        return _unknown(args.segment)
    about = segments.definition(one.sid)
    lines = [
        f"segment   {one.sid}: {one.name}",
        f"kind      {one.kind}, version {one.version}, {one.status}",
        f"rule      {about.get('rule', '')}",
    ]
    if text := about.get("description"):
        lines.append(f"about     {text}")
    lines += [f"size      {one.size:,}", *_worth(one.stats)]
    for version, said in segments.versions(one.sid):
        lines.append(f"version   {version}, since {in_utc(said['from_ms'])}: {said['rule']}")
    print_lines(lines)
    return 0


def _worth(stats: dict[str, str]) -> list[str]:
    """The figures of a segment, none of one of which nothing was counted yet."""
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


def _diff(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    segments = _segments(args, settings)
    live = {one.sid: one for one in segments.all() if one.kind == "rule" and one.status == "live"}
    rules = {rule.id: rule for rule in _rules(settings)}
    lines = []
    for sid in sorted(live.keys() | rules.keys()):
        if args.segment not in (None, sid):
            continue
        was = segments.definition(sid).get("rule", "") if sid in live else ""
        now = rules[sid].words if sid in rules else ""
        if sid not in rules:
            lines += [f"{sid}: taken out", f"  - {was}"]
        elif sid not in live:
            lines += [f"{sid}: new", f"  + {now}"]
        elif was != now:
            lines += [f"{sid}: version {live[sid].version + 1}", f"  - {was}", f"  + {now}"]
    if not lines and args.segment is not None and args.segment not in live.keys() | rules.keys():
        return _unknown(args.segment)
    print_lines(lines or ["the same as live"])
    return 0


def _members(args: argparse.Namespace) -> int:
    if args.limit < 1:
        raise UserError("--limit is how many to show: give 1 or more")
    settings = settings_of(args, of_people=True)
    segments = _segments(args, settings)
    if segments.find(args.segment) is None:
        return _unknown(args.segment)
    found = segments.to_hand_on(args.segment, args.limit, settings.privacy.unknown.ads)
    print_lines([f"{in_utc(at_ms)}  {shopper}" for shopper, at_ms in found])
    return 0


def _why(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    segments = _segments(args, settings)
    name = segments.resolve(args.shopper)
    live = segments.find(args.segment)
    if live is not None and live.kind != "rule":
        return _why_found(segments, live, name)
    rule = _rule(settings, args.segment)
    if args.recovery is None:
        raise UserError(f"`{rule.id}` is a rule: name the recovery folder with --recovery DIR")
    stored = stored_shopper(args.recovery, settings, name)
    shopper = stored.rows.get(name)
    if shopper is None:
        complain(
            f"{args.recovery} holds no shopper {name!r}: never seen, erased, or put away "
            "after a long absence"
        )
        return UNKNOWN
    state = shopper.rules or RuleState()
    gap_ms, now_ms = settings.sessions.gap_ms, max(stored.clock_ms, shopper.last_ms)
    reasons = why(rule, name, shopper, now_ms, gap_ms=gap_ms)
    since_ms = state.members.get(rule.id)
    is_in = f"in since {in_utc(since_ms)}" if since_ms is not None else "not in"
    print_lines([f"{name}, as of {in_utc(now_ms)}: {is_in}", *map(_reason, reasons)])
    return 0


def _why_found(segments: Segments, segment: Segment, name: str) -> int:
    """Why a shopper is in a segment that looks at all shoppers: what it asks, and what is there."""
    said = segments.decided_by(name, segment.kind)
    if said is None:
        complain(f"Redis knows no shopper {name!r}: never seen, erased, or expired")
        return UNKNOWN
    since_ms = segments.since_ms(name, segment.sid)
    about = segments.definition(segment.sid)
    is_in = f"in since {in_utc(since_ms)}" if since_ms is not None else "not in"
    print_lines(
        [
            f"{name}: {is_in}",
            f"{'asks':<16}  {about.get('rule', '')}",
            *(f"{field:<16}  {value}" for field, value in said.items()),
        ]
    )
    return 0


def _preview(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    rule = _rule(settings, args.segment)
    shards = settings.sessions.shards
    if args.sample is not None and not 1 <= args.sample <= shards:
        raise UserError(f"--sample is a number of shards: give 1 to {shards}")
    sample = None if args.sample in (None, shards) else range(args.sample)
    stored = stored_shoppers(args.recovery, settings, sample)
    seen = ((name, shopper, stored.clock_ms) for name, shopper in stored.rows.items())
    gap_ms = settings.sessions.gap_ms
    print_lines(_previewed(rule, preview(rule, seen, stored.total, stored.kept, gap_ms=gap_ms)))
    return 0


def _previewed(rule: Rule, shown: Preview) -> list[str]:
    about = "" if shown.low == shown.high else "about "
    between = f", between {shown.low:,} and {shown.high:,}" if about else ""
    lines = [
        f"rule      {rule.words}",
        f"size      {about}{shown.size:,}{between}, of {about}{shown.shoppers:,} shoppers in memory",
        f"change    {about}+{shown.enter:,} / -{shown.leave:,} against what is live",
    ]
    lines += [f"not kept  {what}: counts from when the rule goes live" for what in shown.not_kept]
    for name, reasons in shown.examples:
        lines += [name, *(f"  {_reason(reason)}" for reason in reasons)]
    return lines


def _reason(one: Reason) -> str:
    found = f": {one.found}" if one.found else ""
    until = f", until {in_utc(one.until_ms)} if nothing comes" if one.until_ms is not None else ""
    return f"{'  ' * one.depth}{'yes' if one.holds else 'no':<4}{one.words}{found}{until}"


def _segments(args: argparse.Namespace, settings: Settings) -> Segments:
    url = lasting_redis_url(args, settings)
    store = Store(url, timeout_ms=settings.redis.timeout_ms, patience_s=0)
    return Segments(store)


def _rules(settings: Settings) -> tuple[Rule, ...]:
    compiled = rule_segments(settings)
    return () if compiled is None else compiled.rules


def _rule(settings: Settings, sid: str) -> Rule:
    for rule in _rules(settings):
        if rule.id == sid:
            return rule
    raise UserError(f"{settings.segments.file}: no rule `{sid}`: name one of that file")


def _unknown(segment: str) -> int:
    complain(f"no segment {segment!r}: `penstock segments list` shows all")
    return UNKNOWN
