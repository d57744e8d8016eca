"""The rules of the public event schema, yes or no, on the hot path.

`operators.events.violations` says the same in words, for what is refused here; a property test holds
the two to
each other. Change both together.
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
"""An event may claim to be this much later than the collector saw it."""
FUTURE_MS = 24 * 3600 * 1000
"""A time further ahead of the clock than this is a fault of the sender."""
EARLIEST_MS = 946_684_800_000
"""2000-01-01: what is before it is a time at 0, or seconds sent for milliseconds."""

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
"""Among them the ANDROID_ID that many phones have in common, and the address that iOS tells."""


def _blocked_spellings() -> Iterator[str]:
    yield from _OTHER_BLOCKED_IDS
    names = [*_PLACEHOLDER_WORDS.split(), *(f"{owner}_id" for owner in _ID_FIELD_OWNERS.split())]
    for name in names:
        for separator in ("_", "-", " ", "."):
            yield name.replace("_", separator)
        yield name.replace("_", "")


BLOCKED_IDS = frozenset(_blocked_spellings())
"""Values that stand for nobody (trimmed, any case): Segment's and PostHog's lists, and ours. The name of
the field is one, as every visitor of a shop whose tracker is set up wrongly would have it.

Besides these every id of only zeros, dashes and what cannot be seen is blocked, a pair of quotes or
brackets around nothing or around one of these, and everything with a place of a template in it that
nobody has filled: `{{ user.id }}`, `${id}`, `%USER_ID%`.
"""

_FRAME_CHARS = "\"'`()[]{}<>$%#*|~\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u00ad\u2028\u2029"
"""What a placeholder is put in, and what nobody sees: `(null)`, `<user_id>`."""
_INVISIBLE_CHARS = "".join(char for char in _FRAME_CHARS if not char.isascii())
_EMPTY_PAIRS = frozenset(['""', "''", "``", "()", "[]", "{}", "<>", "[{}]", '"{}"', '"[]"', "{{}}"])
_TEMPLATE = re.compile(r"\{\{.*\}\}|\$\{.*\}|#\{.*\}|<%.*%>|\{%.*%\}|\[\[.*\]\]|^%[A-Za-z_.]+%$")

TYPES_WITH_ITEMS = frozenset({"item_view", "cart_add", "cart_remove", "wishlist_add", "item"})
"""A list or an order may come without its items; these say nothing without one."""
ORDER_TYPES = frozenset({"purchase", "refund"})


def normalize_id(text: str) -> str | None:
    """The trimmed id, or None where it stands for nobody.

    >>> normalize_id(" ann "), normalize_id("NULL"), normalize_id("00-00"), normalize_id("{{ user.id }}")
    ('ann', None, None, None)
    """
    trimmed = text.strip()
    if not trimmed.strip("0-") or trimmed.lower() in BLOCKED_IDS:
        return None
    # Placeholders are framed by something, or have a brace inside: most ids need no second look.
    if trimmed[0].isalnum() and trimmed[-1].isalnum() and "{" not in trimmed:
        return trimmed
    return None if _is_placeholder(trimmed) else trimmed


def _is_placeholder(text: str) -> bool:
    bare = text.strip(_FRAME_CHARS).strip()
    if not bare.strip("0-"):
        return text in _EMPTY_PAIRS or not text.strip(_INVISIBLE_CHARS).strip("0- \"'")
    return bare.lower() in BLOCKED_IDS or _TEMPLATE.search(text) is not None


def normalize(event: Event, now_ms: int) -> bool:
    """Trim ids, fill `received_ts` and clamp `event_ts`, in place; False where a rule is broken.

    In place because the event was made a moment ago and nobody else holds it. A blocked id beside a
    good one is dropped: the event still tells who it was.
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
