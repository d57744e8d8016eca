"""`penstock segments`: what there is, who is in it and why, and what a changed rule would do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flows.commands.options import add_redis, add_settings, external_redis_url, load_settings
from flows.process.printing import print_error
from flows.process.printing import print_lines as print_lines
from flows.recovery.stored_shoppers import stored_shopper, stored_shoppers
from operators.segments.rules.compiler import load_rules
from operators.segments.rules.explain import explain
from operators.segments.rules.preview import Preview, preview
from serving.segments import SegmentReader, SegmentSummary
from serving.times import in_utc
from state.errors import ConfigurationError
from state.shopper import RuleState
from state.store import Store

if TYPE_CHECKING:
    import argparse

    from operators.segments.rules.ast import Rule
    from operators.segments.rules.explain import ConditionResult
    from state.config import Settings

EXIT_NOT_FOUND = 1
MEMBERS_DEFAULT = 20


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand and what it takes."""
    parser = subparsers.add_parser(
        "segments",
        help="segments: list, show, diff, members, why, preview",
        description="What segments there are, who is in them and why, and what a changed rule of "
        "the segments file would do.",
    )
    actions = parser.add_subparsers(metavar="WAY", required=True)
    add = actions.add_parser

    action = add(
        "list", help="all segments, biggest first", description="All segments, biggest first."
    )
    _add_common(action, _list)
    action = add(
        "show", help="one segment", description="A segment: its rule, figures and versions."
    )
    action.add_argument("segment", metavar="SEGMENT")
    _add_common(action, _show)
    action = add(
        "diff",
        help="rules of the segments file against what is live",
        description="How the rules of the segments file differ from those that are live.",
    )
    action.add_argument("segment", metavar="SEGMENT", nargs="?")
    _add_common(action, _diff)
    action = add(
        "members",
        help="who is in a segment",
        description="Members, the newest first, but for those who refuse ads.",
    )
    action.add_argument("segment", metavar="SEGMENT")
    action.add_argument(
        "--limit", type=int, default=MEMBERS_DEFAULT, help="how many (default %(default)s)"
    )
    _add_common(action, _members)
    action = add(
        "why",
        help="why a shopper is in a segment, or not",
        description="A rule of the segments file, part by part, with what is known of a shopper; "
        "of a segment that is found (RFM, lifecycle, propensity, clusters) what decides.",
    )
    action.add_argument("shopper", metavar="SHOPPER")
    action.add_argument("segment", metavar="SEGMENT")
    _add_recovery(action, required=False)
    _add_common(action, _why)
    action = add(
        "preview",
        help="what a rule of the segments file would come to now",
        description="The size a rule of the segments file would have now, who would enter and "
        "leave, and ten members with why. Nothing is changed.",
    )
    action.add_argument("segment", metavar="RULE")
    action.add_argument(
        "--sample", type=int, metavar="N", help="look at N shards only, and estimate the rest"
    )
    _add_recovery(action, required=True)
    _add_common(action, _preview)


def _add_common(parser: argparse.ArgumentParser, handler: object) -> None:
    add_redis(parser)
    add_settings(parser)
    parser.set_defaults(run=handler)


def _add_recovery(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "--recovery",
        metavar="DIR",
        type=Path,
        required=required,
        help="the recovery folder of the run: its state as of a second ago",
    )


def _list(args: argparse.Namespace) -> int:
    rows = [("segment", "kind", "size", "in 5 min", "out 5 min", "version", "name")]
    for segment in _open_segments(args, load_settings(args)).all():
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
    segments = _open_segments(args, load_settings(args))
    segment = segments.find(args.segment)
    if segment is None:
        return _print_unknown_segment(args.segment)
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
    settings = load_settings(args)
    segments = _open_segments(args, settings)
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
        return _print_unknown_segment(args.segment)
    print_lines(lines or ["the same as live"])
    return 0


def _members(args: argparse.Namespace) -> int:
    if args.limit < 1:
        raise ConfigurationError("--limit is how many to show: give 1 or more")
    settings = load_settings(args, require_consent_defaults=True)
    segments = _open_segments(args, settings)
    if segments.find(args.segment) is None:
        return _print_unknown_segment(args.segment)
    members = segments.exportable_members(args.segment, args.limit, settings.privacy.unknown.ads)
    print_lines([f"{in_utc(at_ms)}  {shopper}" for shopper, at_ms in members])
    return 0


def _why(args: argparse.Namespace) -> int:
    settings = load_settings(args)
    segments = _open_segments(args, settings)
    name = segments.resolve(args.shopper)
    live = segments.find(args.segment)
    if live is not None and live.kind != "rule":
        return _print_profile_fields(segments, live, name)
    rule = _rule(settings, args.segment)
    if args.recovery is None:
        raise ConfigurationError(
            f"`{rule.id}` is a rule: name the recovery folder with --recovery DIR"
        )
    stored = stored_shopper(args.recovery, settings, name)
    shopper = stored.rows.get(name)
    if shopper is None:
        print_error(
            f"{args.recovery} holds no shopper {name!r}: never seen, erased, or put away "
            "after a long absence"
        )
        return EXIT_NOT_FOUND
    state = shopper.rule_state or RuleState()
    gap_ms, now_ms = settings.sessions.gap_ms, max(stored.event_time_ms, shopper.last_ms)
    reasons = explain(rule, name, shopper, now_ms, gap_ms=gap_ms)
    since_ms = state.members.get(rule.id)
    is_in = f"in since {in_utc(since_ms)}" if since_ms is not None else "not in"
    print_lines([f"{name}, as of {in_utc(now_ms)}: {is_in}", *map(_reason_line, reasons)])
    return 0


def _print_profile_fields(segments: SegmentReader, segment: SegmentSummary, name: str) -> int:
    """Why a shopper is in a segment that looks at all shoppers: what it asks, and what is there."""
    fields = segments.profile_fields_of(name, segment.kind)
    if fields is None:
        print_error(f"Redis knows no shopper {name!r}: never seen, erased, or expired")
        return EXIT_NOT_FOUND
    since_ms = segments.since_ms(name, segment.sid)
    definition = segments.definition(segment.sid)
    is_in = f"in since {in_utc(since_ms)}" if since_ms is not None else "not in"
    print_lines(
        [
            f"{name}: {is_in}",
            f"{'asks':<16}  {definition.get('rule', '')}",
            *(f"{field:<16}  {value}" for field, value in fields.items()),
        ]
    )
    return 0


def _preview(args: argparse.Namespace) -> int:
    settings = load_settings(args)
    rule = _rule(settings, args.segment)
    shards = settings.sessions.shards
    if args.sample is not None and not 1 <= args.sample <= shards:
        raise ConfigurationError(f"--sample is a number of shards: give 1 to {shards}")
    sample = None if args.sample in (None, shards) else range(args.sample)
    stored = stored_shoppers(args.recovery, settings, sample)
    shoppers = ((name, shopper, stored.event_time_ms) for name, shopper in stored.rows.items())
    gap_ms = settings.sessions.gap_ms
    print_lines(
        _preview_lines(
            rule, preview(rule, shoppers, stored.total, stored.rules_state, gap_ms=gap_ms)
        )
    )
    return 0


def _preview_lines(rule: Rule, result: Preview) -> list[str]:
    qualifier = "" if result.low == result.high else "about "
    between = f", between {result.low:,} and {result.high:,}" if qualifier else ""
    lines = [
        f"rule      {rule.words}",
        f"size      {qualifier}{result.size:,}{between}, of {qualifier}{result.shoppers:,} shoppers "
        "in memory",
        f"change    {qualifier}+{result.enter:,} / -{result.leave:,} against what is live",
    ]
    lines += [
        f"not kept  {what}: counts from when the rule goes live" for what in result.missing_windows
    ]
    for name, reasons in result.examples:
        lines += [name, *(f"  {_reason_line(reason)}" for reason in reasons)]
    return lines


def _reason_line(result: ConditionResult) -> str:
    value = f": {result.value}" if result.value else ""
    expiry = (
        f", until {in_utc(result.until_ms)} if nothing comes" if result.until_ms is not None else ""
    )
    return f"{'  ' * result.depth}{'yes' if result.holds else 'no':<4}{result.words}{value}{expiry}"


def _open_segments(args: argparse.Namespace, settings: Settings) -> SegmentReader:
    url = external_redis_url(args, settings)
    store = Store(url, timeout_ms=settings.redis.timeout_ms, patience_s=0)
    return SegmentReader(store)


def _rules(settings: Settings) -> tuple[Rule, ...]:
    compiled = load_rules(settings)
    return () if compiled is None else compiled.rules


def _rule(settings: Settings, sid: str) -> Rule:
    for rule in _rules(settings):
        if rule.id == sid:
            return rule
    raise ConfigurationError(f"{settings.segments.file}: no rule `{sid}`: name one of that file")


def _print_unknown_segment(segment: str) -> int:
    print_error(f"no segment {segment!r}: `penstock segments list` shows all")
    return EXIT_NOT_FOUND
