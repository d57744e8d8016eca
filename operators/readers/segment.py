"""`segment`: the Segment spec, as Segment, RudderStack and Jitsu send it, and the captures of PostHog.

`operators.readers.ecommerce` has the names of e-commerce events, docs/adapters.md the whole table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from operators.readers import posthog
from operators.readers.common_fields import consent_purpose, custom_props, read_campaign, read_page
from operators.readers.ecommerce import read_shop_fields, track_type
from operators.readers.event_times import read_event_times
from operators.readers.fields import Fields
from operators.readers.identity import read_identity
from operators.readers.values import BadFieldError, lower, upper
from state.events import NO_PROPS, Consent, Event, EventType

if TYPE_CHECKING:
    from operators.readers.common_fields import AdapterContext
    from operators.readers.fields import Fields

CALL_TYPES: dict[str, EventType] = {
    "page": "page_view",
    "screen": "page_view",
    "identify": "identify",
    "alias": "identify",
    "group": "custom",
}
"""Types by the call of the spec; `track` has them by the name of its event."""

_ENVELOPE_FIELDS = ("sentAt", "sent_at", "receivedAt", "context")


def split(record: dict[str, Any]) -> list[Any]:
    """One record for each event of a `batch`; the fields beside the batch hold for all of them."""
    if "batch" not in record:
        return [record]
    batch = record["batch"]
    if not isinstance(batch, list) or not batch:
        raise BadFieldError("schema_violation", "$.batch", "expected an array of events")
    shared = {name: record[name] for name in _ENVELOPE_FIELDS if name in record}
    return [{**shared, **call} if isinstance(call, dict) else call for call in batch]


def to_event(fields: Fields, context: AdapterContext) -> Event:
    """One call of the spec, or one capture of PostHog."""
    if posthog.is_capture(fields):
        return posthog.to_event(fields, context)
    properties, call_context = fields.child("properties"), fields.child("context")
    name = fields.text("event") or ""
    call = (fields.text("type") or ("track" if name else "")).lower()
    if call == "track":
        if not name:
            raise BadFieldError("schema_violation", "$.event", "a track needs the event's name")
        event_type = track_type(name, properties)
    elif call in CALL_TYPES:
        name, event_type = call, CALL_TYPES[call]
    else:
        raise BadFieldError("unknown_type", "$.type", f"unknown type {call[:100]!r}")
    # An alias joins the previous id to the user; where there is none, the id of the device.
    previous_ids = [(fields, "previousId")] if call == "alias" else []
    anonymous_id, user_id = read_identity(
        [*previous_ids, (fields, "anonymousId")], [(fields, "userId")]
    )
    event_ts, received_ts = read_event_times(
        fields,
        original="originalTimestamp" if fields.text("originalTimestamp") else "timestamp",
        sent="sentAt",
        received="receivedAt",
        corrected="timestamp",
        context=context,
    )
    is_page = call in ("page", "screen")
    return Event(
        event_id=context.event_id_from(fields, "messageId"),
        type=event_type,
        event_ts=event_ts,
        received_ts=received_ts,
        anonymous_id=anonymous_id,
        user_id=user_id,
        **read_shop_fields(event_type, properties),
        page=read_page(
            *([properties, fields] if is_page else []),
            call_context.child("page"),
            url="url",
            path="path",
            referrer="referrer",
            title=("title", "name"),
        ),
        campaign=read_campaign(call_context.child("campaign")),
        device=lower(call_context.child("device").text("type")),
        country=_country(call_context),
        consent=_consent(call_context.child("consent").child("categoryPreferences")),
        props=custom_props(name) if event_type == "custom" else NO_PROPS,
    )


def _country(context: Fields) -> str | None:
    """`location` of Segment, or the `geo` that RudderStack and Jitsu look up."""
    geo = context.child("geo")
    is_object = isinstance(geo.values.get("country"), dict)
    return context.child("location").text("country") or upper(
        geo.child("country").text("code") if is_object else geo.text("country")
    )


def _consent(categories: Fields) -> Consent | None:
    """Consent by category. Of several categories of one purpose a no wins."""
    answers: dict[str, bool] = {}
    for name in categories.values:
        purpose, answer = consent_purpose(name), categories.flag(name)
        if purpose is not None and answer is not None:
            answers[purpose] = answers.get(purpose, True) and answer
    return Consent(**answers) if answers else None
