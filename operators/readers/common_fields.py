"""Parts of an event that several formats read alike: page, campaign, recommendation, consent."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from operators.events.decode import stable_event_id
from operators.readers.values import normalize_name
from state.events import EVENT_ID_CHARS_MAX, Campaign, Page, Reco

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.readers.fields import Fields

NAME_CHARS_MAX = 200

_PURPOSES = {
    "analytics": "analytics",
    "performance": "analytics",
    "statistics": "analytics",
    "c0002": "analytics",
    "personalization": "personalization",
    "functional": "personalization",
    "preferences": "personalization",
    "c0003": "personalization",
    "advertising": "ads",
    "marketing": "ads",
    "targeting": "ads",
    "c0004": "ads",
}
"""Consent categories by name. A shop names its own; these are the defaults of consent tools."""


class AdapterContext(NamedTuple):
    """What an adapter knows of an event besides its fields. Times are in ms.

    `event_id` is for an event without an id of its own, `received_ms` is when its record was received
    (0: unknown).
    """

    event_id: str
    now_ms: int
    received_ms: int

    def event_id_from(self, fields: Fields, *names: str) -> str:
        """The first of these ids that is given, as a hash if it is too long; else `event_id`."""
        for name in names:
            if (event_id := fields.text(name)) is not None:
                is_short = len(event_id) <= EVENT_ID_CHARS_MAX
                return event_id if is_short else stable_event_id(name, event_id)
        return self.event_id


def custom_props(name: str) -> msgspec.Raw:
    """The `props` of a custom event: its name."""
    return msgspec.Raw(msgspec.json.encode({"event": name[:NAME_CHARS_MAX]}))


def read_page(
    *sources: Fields, url: str, path: str, referrer: str, title: Sequence[str]
) -> Page | None:
    """The page of an event, each part from the first of the sources that has it."""
    if not any(source.values for source in sources):
        return None

    def first_text(*names: str) -> str | None:
        return next((text for source in sources if (text := source.text(*names))), None)

    page = Page(
        url=first_text(url),
        path=first_text(path),
        referrer=first_text(referrer),
        title=first_text(*title),
    )
    return None if page == Page() else page


def read_campaign(source: Fields, *, prefix: str = "", name: str = "name") -> Campaign | None:
    """The campaign of an event, from fields that begin with `prefix`; its name is in the field
    `name`."""
    if not source.values:
        return None
    campaign = Campaign(
        source=source.text(f"{prefix}source"),
        medium=source.text(f"{prefix}medium"),
        name=source.text(name),
        term=source.text(f"{prefix}term"),
        content=source.text(f"{prefix}content"),
    )
    return None if campaign == Campaign() else campaign


def read_reco(reco: Fields) -> Reco | None:
    """The recommendation that an event belongs to, but for the propensity of its items."""
    if not reco.values:
        return None
    return Reco(
        slot=reco.text("slot"),
        model=reco.text("model"),
        position=reco.position("position"),
        experiment=reco.text("experiment"),
        variant=reco.text("variant"),
    )


def consent_purpose(category: str) -> str | None:
    """The purpose (`analytics`, `personalization`, `ads`) of a consent category; None where it is
    another."""
    return _PURPOSES.get(normalize_name(category))
