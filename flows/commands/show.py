"""`penstock show`: prints what a storefront would read about a shopper, with the reason of each item."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from rich.table import Table

from flows.commands.arguments import complete
from flows.commands.options import load_settings, open_external_store, print_unknown_shopper
from flows.commands.summaries import SUMMARIES
from flows.process.printing import create_console
from flows.process.printing import print_lines as print_lines
from serving.explain import explain
from serving.reader import Storefront
from serving.times import in_utc
from state import keys
from state.printable import printable

if TYPE_CHECKING:
    import argparse

    from rich.console import Console

    from serving.explain import ExplainedList, Explanation


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "show",
        help=SUMMARIES["show"],
        description="Print what a storefront would read about a shopper: profile, session, segments "
        "and list, with the reason for each item.",
    )
    add = parser.add_argument
    add("shopper", metavar="SHOPPER", help="a user id or an anonymous id")
    add("--slot", default=keys.SLOT, help="page slot of the list (default: %(default)s)")
    add("--json", action="store_true", help="print JSON")
    complete(parser, run, redis=True)


def run(args: argparse.Namespace) -> int:
    """Read and print. Returns 1 if nothing is known of the shopper. Raises UserError."""
    settings = load_settings(args)
    store = open_external_store(args, settings)
    with store.errors_as_user_errors():
        explanation = explain(Storefront(store), args.shopper, args.slot) if args.shopper else None
    if explanation is None:
        return print_unknown_shopper(store, args.shopper)
    if args.json:
        text = msgspec.json.format(msgspec.json.encode(explanation)).decode()
        print(printable(text, keep="\n"))
    else:
        _print(create_console(), explanation)
    return 0


def _print(terminal: Console, explanation: Explanation) -> None:
    alias = (
        f", as whom {explanation.asked} is known"
        if explanation.asked != explanation.shopper
        else ""
    )
    lines = [f"shopper   {explanation.shopper}{alias}"]
    lines += [f"profile   {line}" for line in _describe_profile(explanation.profile)]
    lines.append(f"session   {_describe_session(explanation.session, explanation.profile)}")
    lines += [
        f"segment   {one.name} ({one.segment}), since {in_utc(one.since_ms)}"
        for one in explanation.segments
    ]
    lines.append(f"list      {_describe_list(explanation.offer)}")
    print_lines(lines, terminal)
    if explanation.offer:
        table = Table.grid(padding=(0, 2, 0, 0))
        for position, item in enumerate(explanation.offer.items, 1):
            table.add_row(f"{position:>10}", printable(item.title), printable(item.in_words))
        terminal.print(table, markup=False)


def _describe_profile(profile: dict[str, str]) -> list[str]:
    if not profile:
        return ["none yet"]
    kind = "known by a user id" if profile.get("known") == "1" else "anonymous"
    first, last = in_utc(profile["first_ms"]), in_utc(profile["last_ms"])
    lines = [
        f"{kind}, first seen {first}, last seen {last}",
        f"sessions {profile['sessions']}, views {profile['views']}, put in cart {profile['carts']}, "
        f"orders {profile['purchases']}, revenue {_money(profile, 'revenue')}",
    ]
    if "refunded" in profile:
        lines.append(f"refunds {profile['refunds']}, given back {_money(profile, 'refunded')}")
    if apart := profile.get("unconverted"):
        lines.append(f"orders in other currencies, without a rate: {printable(apart)}")
    if liked := profile.get("top_category"):
        lines.append(f"likes {liked} best")
    return lines


def _money(fields: dict[str, str], name: str, currency: str = "") -> str:
    """Return an amount with its currency, if the currency is known."""
    return printable(f"{fields[name]} {currency or fields.get('currency', '')}".rstrip())


def _describe_session(session: dict[str, str], profile: dict[str, str]) -> str:
    if not session:
        return "not in the shop now"
    return (
        f"here since {in_utc(session['start_ms'])}, events {session['events']}, cart worth "
        f"{_money(session, 'cart_value', profile.get('currency', ''))}, {session['intent']}"
    )


def _describe_list(offer: ExplainedList | None) -> str:
    if offer is None:
        return "none, so a storefront shows the shop's own list"
    return f"{offer.place} as of {in_utc(offer.at_ms)}, from {offer.key}"
