"""Actions of `penstock segments` about rules: compare, explain and preview the segments file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flows.commands.arguments import complete
from flows.commands.options import load_settings, open_external_store
from flows.process.exit_codes import EXIT_FAILED
from flows.process.printing import print_error, print_lines
from flows.recovery.stored_shoppers import stored_shopper, stored_shoppers
from operators.segments.rules.compiler import load_rules
from operators.segments.rules.explain import explain
from operators.segments.rules.preview import preview
from serving.segments import SegmentReader
from serving.times import in_utc
from state.errors import ConfigurationError
from state.shopper import RuleState

if TYPE_CHECKING:
    import argparse

    from operators.segments.rules.explain import ConditionResult
    from operators.segments.rules.preview import Preview
    from operators.segments.rules.rule import Rule
    from serving.segments import SegmentSummary
    from state.config import Settings


def add_rule_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the actions."""
    action = actions.add_parser(
        "diff",
        help="compare the rules of the segments file with the live ones",
        description="Show how the rules of the segments file differ from the live ones.",
    )
    action.add_argument("segment", metavar="SEGMENT", nargs="?")
    complete(action, _diff, redis=True)
    action = actions.add_parser(
        "why",
        help="explain why a shopper is in a segment, or not",
        description="Evaluate a rule of the segments file for a shopper, condition by condition. For a "
        "computed segment (RFM, lifecycle, propensity, clusters) print the fields that decide.",
    )
    action.add_argument("shopper", metavar="SHOPPER")
    action.add_argument("segment", metavar="SEGMENT")
    _add_recovery(action, required=False)
    complete(action, _why, redis=True)
    action = actions.add_parser(
        "preview",
        help="show what a rule of the segments file would do now",
        description="Show the size that a rule of the segments file would have now, how many shoppers "
        "would enter and leave, and ten members with reasons. Nothing is changed.",
    )
    action.add_argument("segment", metavar="RULE")
    action.add_argument(
        "--sample", type=int, metavar="N", help="read only N shards, and estimate the rest"
    )
    _add_recovery(action, required=True)
    complete(action, _preview, redis=True)


def _add_recovery(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "--recovery",
        metavar="DIR",
        type=Path,
        required=required,
        help="recovery folder of the run; its state is about a second old",
    )


def _diff(args: argparse.Namespace) -> int:
    settings = load_settings(args)
    segments = SegmentReader(open_external_store(args, settings))
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
        return print_unknown_segment(args.segment)
    print_lines(lines or ["the same as live"])
    return 0


def _why(args: argparse.Namespace) -> int:
    settings = load_settings(args)
    segments = SegmentReader(open_external_store(args, settings))
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
            f"{args.recovery} holds no shopper {name!r}: never seen, erased, or evicted "
            "after a long absence"
        )
        return EXIT_FAILED
    state = shopper.rule_state or RuleState()
    gap_ms, now_ms = settings.sessions.gap_ms, max(stored.event_time_ms, shopper.last_ms)
    reasons = explain(rule, name, shopper, now_ms, gap_ms=gap_ms)
    since_ms = state.members.get(rule.id)
    is_in = f"in since {in_utc(since_ms)}" if since_ms is not None else "not in"
    print_lines([f"{name}, as of {in_utc(now_ms)}: {is_in}", *map(_reason_line, reasons)])
    return 0


def _print_profile_fields(segments: SegmentReader, segment: SegmentSummary, name: str) -> int:
    """Print the definition of a computed segment and the profile fields that decide."""
    fields = segments.profile_fields_of(name, segment.kind)
    if fields is None:
        print_error(f"Redis knows no shopper {name!r}: never seen, erased, or expired")
        return EXIT_FAILED
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


def _rules(settings: Settings) -> tuple[Rule, ...]:
    compiled = load_rules(settings)
    return () if compiled is None else compiled.rules


def _rule(settings: Settings, sid: str) -> Rule:
    for rule in _rules(settings):
        if rule.id == sid:
            return rule
    raise ConfigurationError(f"{settings.segments.file}: no rule `{sid}`: name one of that file")


def print_unknown_segment(segment: str) -> int:
    """Print that a segment does not exist, and return the exit code."""
    print_error(f"no segment {segment!r}: `penstock segments list` shows all")
    return EXIT_FAILED
