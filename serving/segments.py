"""Reads segments from Redis, by the key contract alone. Never writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from serving.consent import CONSENT_FIELDS, may_be_exported
from serving.reader import Storefront
from state import keys
from state.replies import decode_fields

if TYPE_CHECKING:
    from state.store import Store


PROFILE_FIELDS = {
    "cluster": ("cluster", "cluster_distance"),
    "rfm": ("rfm",),
    "lifecycle": ("stage",),
    "propensity": ("p_buy_session", "p_buy_30d", "p_churn", "value_30d"),
}
"""Kind of segment -> the profile fields that decide membership."""


class SegmentSummary(NamedTuple):
    """A segment of the registry with its current size and its figures by name."""

    sid: str
    kind: str
    name: str
    version: int
    status: str
    size: int
    stats: dict[str, str]


class SegmentReader:
    """Reads all segments, or one. All methods raise StoreError."""

    def __init__(self, store: Store) -> None:
        self._client: Any = store.client
        self._shop = Storefront(store)
        self._errors_as_user_errors = store.errors_as_user_errors

    def all(self) -> list[SegmentSummary]:
        """Return all segments, the biggest first. Two round trips."""
        with self._errors_as_user_errors():
            registry: dict[bytes, bytes] = self._client.hgetall(keys.registry_key())
            reads = self._client.pipeline(transaction=False)
            for sid in registry:
                reads.zcard(keys.members_key(sid.decode()))
                reads.hgetall(keys.stats_key(sid.decode()))
            answers = iter(reads.execute())
        summaries = []
        for sid, about in registry.items():
            registered, size, stats = orjson.loads(about), next(answers), next(answers)
            summaries.append(
                SegmentSummary(
                    sid.decode(),
                    registered["kind"],
                    registered["name"],
                    int(registered["version"]),
                    registered["status"],
                    size,
                    decode_fields(stats),
                )
            )
        return sorted(summaries, key=lambda one: (-one.size, one.sid))

    def find(self, sid: str) -> SegmentSummary | None:
        """Return one segment, None if there is none with that id."""
        return next((one for one in self.all() if one.sid == sid), None)

    def definition(self, sid: str) -> dict[str, str]:
        """Return the definition of a segment; empty for an unknown one."""
        return self._read_hash(keys.definition_key(sid))

    def versions(self, sid: str) -> list[tuple[int, dict[str, Any]]]:
        """Return the versions of a definition (`rule`, `from_ms`), the newest first."""
        said = self._read_hash(keys.versions_key(sid))
        return sorted(((int(n), orjson.loads(text)) for n, text in said.items()), reverse=True)

    def members(self, sid: str, limit: int) -> list[tuple[str, int]]:
        """Return members and their time of entry (ms), the newest first."""
        with self._errors_as_user_errors():
            members = self._client.zrevrange(keys.members_key(sid), 0, limit - 1, withscores=True)
        return [(name.decode(), int(at_ms)) for name, at_ms in members]

    def exportable_members(
        self, sid: str, limit: int, consent_default: str
    ) -> list[tuple[str, int]]:
        """Return members without those who refuse ads; `consent_default` as in `serving.consent`."""
        members = self.members(sid, limit)
        with self._errors_as_user_errors():
            reads = self._client.pipeline(transaction=False)
            for shopper, _ in members:
                reads.hmget(keys.profile_key(shopper), CONSENT_FIELDS)
            stored = [dict(zip(CONSENT_FIELDS, values, strict=True)) for values in reads.execute()]
        profiles = [
            {name: value.decode() for name, value in one.items() if value is not None}
            for one in stored
        ]
        pairs = zip(members, profiles, strict=True)
        return [member for member, profile in pairs if may_be_exported(profile, consent_default)]

    def since_ms(self, shopper: str, sid: str) -> int | None:
        """Return the time of entry of a shopper (ms), None if the shopper is no member."""
        with self._errors_as_user_errors():
            return self._shop.segments_of(shopper).get(sid)

    def profile_fields_of(self, shopper: str, kind: str) -> dict[str, str] | None:
        """Return the profile fields that decide computed segments of a kind.

        None for an unknown shopper.
        """
        with self._errors_as_user_errors():
            profile = self._shop.profile(shopper)
        if not profile:
            return None
        fields = PROFILE_FIELDS.get(kind, ())
        return {name: profile.get(name, "none yet") for name in fields}

    def resolve(self, some_id: str) -> str:
        """Return the shopper of an id."""
        with self._errors_as_user_errors():
            return self._shop.resolve(some_id)

    def _read_hash(self, key: str) -> dict[str, str]:
        with self._errors_as_user_errors():
            return decode_fields(self._client.hgetall(key))
