"""`segment`: the Segment spec, as Segment, RudderStack and Jitsu send it, and PostHog's capture.

`operators.readers.ecommerce` has the names of what shoppers do, `docs/adapters.md` the whole table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from operators.readers import posthog
from operators.readers.common_fields import PURPOSES, campaign, custom_props, event_times, page, who
from operators.readers.ecommerce import of_shop, type_of
from operators.readers.fields import BadFieldError, lower, plain, upper
from state.events import NO_PROPS, Consent, Event, EventType

if TYPE_CHECKING:
    from operators.readers.common_fields import Told
    from operators.readers.fields import Fields

CALLS: dict[str, EventType] = {
    "page": "page_view",
    "screen": "page_view",
    "identify": "identify",
    "alias": "identify",
    "group": "custom",
}
"""Calls of the spec besides `track`."""

_OF_ENVELOPE = ("sentAt", "sent_at", "receivedAt", "context")


def split(record: dict[str, Any]) -> list[Any]:
    """One record an event; what stands beside a `batch` holds for all in it."""
    if "batch" not in record:
        return [record]
    batch = record["batch"]
    if not isinstance(batch, list) or not batch:
        raise BadFieldError("schema_violation", "$.batch", "expected an array of events")
    shared = {name: record[name] for name in _OF_ENVELOPE if name in record}
    return [{**shared, **one} if isinstance(one, dict) else one for one in batch]


def event(fields: Fields, told: Told) -> Event:
    """One call of the spec, or one capture of PostHog."""
    if posthog.is_capture(fields):
        return posthog.event(fields, told)
    properties, context = fields.inner("properties"), fields.inner("context")
    name = fields.text("event") or ""
    call = (fields.text("type") or ("track" if name else "")).lower()
    if call == "track":
        if not name:
            raise BadFieldError("schema_violation", "$.event", "a track needs the event's name")
        kind = type_of(name, properties)
    elif call in CALLS:
        name, kind = call, CALLS[call]
    else:
        raise BadFieldError("unknown_type", "$.type", f"unknown type {call[:100]!r}")
    # Of an alias the former id is what joins the user; where it is not told, the device's own.
    former = [(fields, "previousId")] if call == "alias" else []
    anonymous_id, user_id = who([*former, (fields, "anonymousId")], [(fields, "userId")])
    event_ts, received_ts = event_times(
        fields,
        original="originalTimestamp" if fields.text("originalTimestamp") else "timestamp",
        sent="sentAt",
        received="receivedAt",
        corrected="timestamp",
        told=told,
    )
    is_page = call in ("page", "screen")
    return Event(
        event_id=told.id_of(fields, "messageId"),
        type=kind,
        event_ts=event_ts,
        received_ts=received_ts,
        anonymous_id=anonymous_id,
        user_id=user_id,
        **of_shop(kind, properties),
        page=page(
            *([properties, fields] if is_page else []),
            context.inner("page"),
            url="url",
            path="path",
            referrer="referrer",
            title=("title", "name"),
        ),
        campaign=campaign(context.inner("campaign")),
        device=lower(context.inner("device").text("type")),
        country=_country(context),
        consent=_consent(context.inner("consent").inner("categoryPreferences")),
        props=custom_props(name) if kind == "custom" else NO_PROPS,
    )


def _country(context: Fields) -> str | None:
    """Segment's `location`, or the `geo` that RudderStack and Jitsu look up."""
    geo = context.inner("geo")
    is_object = isinstance(geo.values.get("country"), dict)
    return context.inner("location").text("country") or upper(
        geo.inner("country").text("code") if is_object else geo.text("country")
    )


def _consent(categories: Fields) -> Consent | None:
    """Of several categories of one purpose, a no before a yes."""
    stated: dict[str, bool] = {}
    for name in categories.values:
        purpose, answer = PURPOSES.get(plain(name)), categories.flag(name)
        if purpose is not None and answer is not None:
            stated[purpose] = stated.get(purpose, True) and answer
    return Consent(**stated) if stated else None
