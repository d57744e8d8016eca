"""The rules of the public event schema, as a yes or no. Hot.

`events.violations` explains the same rules for events that are refused here; a property test compares
the two. Change both together.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec.structs import force_setattr

from state.events import MONEY_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from state.events import Event

CLOCK_SKEW_MS = 5 * 60 * 1000
"""The time of an event may be this much later than its time of receipt."""
FUTURE_MS = 24 * 3600 * 1000
"""A time that is further ahead of the clock is an error of the sender."""
EARLIEST_MS = 946_684_800_000
"""2000-01-01. An earlier time is a zero, or seconds in place of milliseconds."""

_PLACEHOLDER_WORDS = """
    anon anonymous anonymous_user blank default empty email false guest id missing n.a. n/a na nan
    nil no_id nobody none not_applicable not_authenticated not_available not_defined not_found not_set
    null true unassigned undefined unidentified unknown unset visitor void
"""
_ID_FIELD_OWNERS = """
    account anonymous app_instance client cookie customer device distinct domain_user external
    external_customer ga_client guest login member network_user previous profile session shopper user
    user_pseudo visitor
"""
_OTHER_BLOCKED_IDS = (
    "-1",
    "[object object]",
    "9774d56d682e549c",
    "02:00:00:00:00:00",
    "guid",
    "uuid",
    "uid",
)
"""Among them the ANDROID_ID that many phones share, and the MAC address that iOS gives to apps."""


def _blocked_spellings() -> Iterator[str]:
    yield from _OTHER_BLOCKED_IDS
    names = [*_PLACEHOLDER_WORDS.split(), *(f"{owner}_id" for owner in _ID_FIELD_OWNERS.split())]
    for name in names:
        for separator in ("_", "-", " ", "."):
            yield name.replace("_", separator)
        yield name.replace("_", "")


BLOCKED_IDS = frozenset(_blocked_spellings())
"""Ids that many shoppers would share (trimmed, any case): from lists of Segment and PostHog, and more.
The names of id fields are among them: a tracker that is set up wrongly sends them for every visitor.

Also blocked: ids of only zeros, dashes and invisible characters; a pair of quotes or brackets around
nothing or around a blocked id; and every id with an unfilled template: `{{ user.id }}`, `${id}`,
`%USER_ID%`.
"""

_FRAME_CHARS = "\"'`()[]{}<>$%#*|~\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u00ad\u2028\u2029"
"""Characters around placeholders, as in `(null)` and `<user_id>`, and invisible ones."""
_INVISIBLE_CHARS = "".join(char for char in _FRAME_CHARS if not char.isascii())
_EMPTY_PAIRS = frozenset(['""', "''", "``", "()", "[]", "{}", "<>", "[{}]", '"{}"', '"[]"', "{{}}"])
_TEMPLATE = re.compile(r"\{\{.*\}\}|\$\{.*\}|#\{.*\}|<%.*%>|\{%.*%\}|\[\[.*\]\]|^%[A-Za-z_.]+%$")

TYPES_WITH_ITEMS = frozenset({"item_view", "cart_add", "cart_remove", "wishlist_add", "item"})
"""Event types that need an item. Events of lists and orders may come without items."""
ORDER_TYPES = frozenset({"purchase", "refund"})


def normalize_id(text: str) -> str | None:
    """The trimmed id; None for a blocked one.

    >>> normalize_id(" ann "), normalize_id("NULL"), normalize_id("00-00"), normalize_id("{{ id }}")
    ('ann', None, None, None)
    """
    trimmed = text.strip()
    if not trimmed.strip("0-") or trimmed.lower() in BLOCKED_IDS:
        return None
    # Placeholders begin or end with a frame, or have a brace inside: most ids need no further check.
    if trimmed[0].isalnum() and trimmed[-1].isalnum() and "{" not in trimmed:
        return trimmed
    return None if _is_placeholder(trimmed) else trimmed


def _is_placeholder(text: str) -> bool:
    bare = text.strip(_FRAME_CHARS).strip()
    if not bare.strip("0-"):
        return text in _EMPTY_PAIRS or not text.strip(_INVISIBLE_CHARS).strip("0- \"'")
    return bare.lower() in BLOCKED_IDS or _TEMPLATE.search(text) is not None


def normalize(event: Event, now_ms: int) -> bool:
    """Trim ids, fill `received_ts` and clamp `event_ts`, in place; False if a rule is broken.

    In place, since the event is new and nothing else holds it. A blocked id beside a valid one is
    dropped: the other one still identifies the shopper.
    """
    return (
        _normalize_ids(event)
        and _normalize_times(event, now_ms)
        and _normalize_items(event)
        and _normalize_order(event)
    )


def _normalize_ids(event: Event) -> bool:
    event_id, user, anonymous = event.event_id, event.user_id, event.anonymous_id
    trimmed = event_id.strip()
    if trimmed is not event_id:
        force_setattr(event, "event_id", trimmed)
    if user is not None:
        given, user = user, normalize_id(user)
        if user is not given:
            force_setattr(event, "user_id", user)
    if anonymous is not None:
        given, anonymous = anonymous, normalize_id(anonymous)
        if anonymous is not given:
            force_setattr(event, "anonymous_id", anonymous)
    return trimmed != "" and (user is not None or anonymous is not None)


def _normalize_times(event: Event, now_ms: int) -> bool:
    sent, received, latest = event.event_ts, event.received_ts, now_ms + FUTURE_MS
    if received == 0:
        if not EARLIEST_MS <= sent <= latest:
            return False
        received = sent if sent < now_ms else now_ms
        force_setattr(event, "received_ts", received)
    elif not EARLIEST_MS <= received <= latest:
        return False
    if sent > received + CLOCK_SKEW_MS:
        sent = received + CLOCK_SKEW_MS
        force_setattr(event, "event_ts", sent)
    return EARLIEST_MS <= sent <= latest


def _normalize_items(event: Event) -> bool:
    items = event.items
    for item in items:
        item_id, price = item.item_id, item.price
        trimmed = item_id.strip()
        if not trimmed or not (price is None or 0 <= price <= MONEY_MAX):
            return False
        if trimmed is not item_id:
            force_setattr(item, "item_id", trimmed)
    return items != () or event.type not in TYPES_WITH_ITEMS


def _normalize_order(event: Event) -> bool:
    order, value = event.order_id, event.value
    if order is not None:
        order = order.strip() or None
        force_setattr(event, "order_id", order)
    if order is None and event.type in ORDER_TYPES:
        return False
    return value is None or 0 <= value <= MONEY_MAX
