"""Helpers of consent tests: events with consent, and a shop that reads back all that Redis holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from state import keys
from state.events import Consent, Event, Item
from state.store import Store
from tests.streams import event, flow_settings, run_flow

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from state.config import Privacy


YES = Consent(analytics=True, personalization=True, ads=True)
NO = Consent(analytics=False, personalization=False, ads=False)
NOT_PERSONAL = Consent(analytics=True, personalization=False, ads=True)
NO_ADS = Consent(analytics=True, personalization=True, ads=False)


def view(number: int, at_ms: int, item: str, who: str | None = "ann", **more: Any) -> Event:
    items = (Item(item, category=("toys",), price=10.0),)
    return event("item_view", f"e{number}", at_ms, who, items=items, **more)


def consent_event(
    number: int, at_ms: int, consent: Consent, who: str | None = "ann", **more: Any
) -> Event:
    return event("consent", f"e{number}", at_ms, who, consent=consent, **more)


class Shop:
    """Runs events through the flow; `stored` is all that Redis holds afterwards."""

    def __init__(self, redis_url: str, folder: Path) -> None:
        self._url, self._folder = redis_url, folder
        self.stored: dict[str, Any] = {}

    def run(
        self, events: Sequence[Event], *, batch_events: int = 100, privacy: Privacy | None = None
    ) -> dict[str, Any]:
        store = Store(self._url, timeout_ms=2000, patience_s=2)
        store.client.flushall()
        store.close()
        settings = flow_settings(batch_events=batch_events)
        if privacy is not None:
            settings = msgspec.structs.replace(settings, privacy=privacy)
        self.stored = run_flow(events, self._url, self._folder, settings=settings)
        return self.stored

    @property
    def figures(self) -> dict[str, Any]:
        return {name.decode(): value for name, value in self.stored[keys.meta_key()]}

    def counts(self) -> tuple[int, int, dict[str, int]]:
        """Counts of events, accepted events, and withheld ones by purpose; asserts that they add up."""
        figures = self.figures
        events, accepted, twice = (
            int(figures[name]) for name in ("events", "accepted", "duplicates")
        )
        withheld = orjson.loads(figures["withheld"])
        rejected = sum(orjson.loads(figures["rejected"]).values())
        assert events == accepted + twice + rejected + sum(withheld.values())
        quality = {name.decode(): value for name, value in self.stored[keys.quality_key()]}
        assert {
            name.partition(".")[2]: int(value)
            for name, value in quality.items()
            if name.startswith("withheld.")
        } == withheld
        return events, accepted, withheld

    def profile(self, who: str) -> dict[str, str]:
        fields = self.stored.get(keys.profile_key(who), [])
        return {name.decode(): value.decode() for name, value in fields}

    def segments(self, who: str) -> set[str]:
        return {name.decode() for name, _ in self.stored.get(keys.segments_key(who), [])}

    def keys_naming(self, who: str) -> set[str]:
        """The keys that name a shopper, without the streams: those are history."""
        found = {key for key in self.stored if f"{{{who}}}" in key}
        quoted = repr(who.encode())[1:-1]
        streams = (keys.recent_key(), *(keys.change_stream_key(n) for n in range(8)))
        return found | {
            key
            for key, value in self.stored.items()
            if key not in streams and quoted in repr(value)
        }

    def known_items(self) -> set[str]:
        """The items in lists, and the items that have a list."""
        listed = [
            item
            for key, value in self.stored.items()
            if key.endswith(("}:similar", "}:bought", "}:24h", "}:home"))
            for item, *_ in orjson.loads(value)["items"]
        ]
        of = [k.split("{")[1].split("}")[0] for k in self.stored if k.startswith("ps:1:item:")]
        return {*listed, *of}
