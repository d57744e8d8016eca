"""Puts out a shopper at the end of a batch in which it did something: its feature row, and its profile
and session in Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.shoppers import profile_changes, profile_hash
from operators.shoppers.features import feature_row
from state import keys, resp
from state.entries import ActiveShopper
from state.times import DAY_MS, HOUR_MS

if TYPE_CHECKING:
    from operators.shards.active_rows import ActiveRows
    from operators.shards.shard_shoppers import ShardShoppers
    from operators.shoppers.profile_changes import Written
    from state.messages import Write
    from state.shopper import Session, Shopper

_EXPIRE, _PEXPIRE = resp.pack_str("EXPIRE"), resp.pack_str("PEXPIRE")


def session_writes(shopper_id: str, key: str, session: Session, packed_ttl_ms: str) -> list[Write]:
    """The commands that write the running session of a shopper, and let it expire."""
    command = profile_hash.session_command(shopper_id, key, session)
    return [command, session_expiry(key, packed_ttl_ms)]


def session_expiry(key: str, packed_ttl_ms: str) -> Write:
    """Let a running session expire so much later."""
    return resp.pack_command(_PEXPIRE + resp.pack_str(key) + packed_ttl_ms, 3)


class ShopperWriter:
    """Packs what is the same for all shoppers once."""

    def __init__(self, shoppers: ShardShoppers) -> None:
        self._shoppers = shoppers
        config = shoppers.config
        self._session_gap_ms = config.gap_ms
        self._session_ttl = resp.pack_int(config.session_ttl_ms)
        self._known_ttl = resp.pack_int(config.known_ttl_s)
        self._anonymous_ttl = resp.pack_int(config.anonymous_ttl_s)

    def emit_shopper(self, shopper_id: str, previous_ms: int, rows: ActiveRows) -> None:
        """Put out one shopper, last seen at `previous_ms` before this batch."""
        shoppers, place = self._shoppers, rows.places.get(shopper_id)
        output = shoppers.output
        if place is None:
            shopper = shoppers.rows[shopper_id]
            category, share = shoppers.config.affinities.top(shopper)
        else:
            shopper = rows.shopper(place)
            category, share = rows.top_category(place)
        key = keys.shopper_key(shopper_id)
        profile_key, session_key = key + "profile", key + "session"
        session = shopper.open_sessions[-1] if shopper.open_sessions else None
        written = self._written(shopper_id, shopper, previous_ms)
        if written is None:
            arguments, count = profile_hash.profile_command(profile_key, shopper, category, share)
        else:
            arguments, count = profile_changes.changed_profile_command(
                profile_key, shopper, written, category, share
            )
        # Each time: a key that Redis evicted is made anew by the write, and must not stay for ever.
        ttl = self._known_ttl if shopper.known else self._anonymous_ttl
        expire = _EXPIRE + resp.pack_str(profile_key) + ttl
        output.expiry_writes.append(resp.pack_command(expire, 3))
        features = (
            feature_row(shopper, share, session)
            if place is None
            else rows.features[place].tobytes()
        )
        output.active.append(
            ActiveShopper(
                shopper_id,
                shopper.known,
                shopper.refused,
                features,
                arguments,
                count,
                is_whole=written is None,
            )
        )
        if session is not None:
            output.writes += self._session_writes(shopper_id, session_key, session, written)
        shoppers.unwritten.discard(shopper_id)
        if shopper.last_ms // HOUR_MS > previous_ms // HOUR_MS:
            shoppers.idle.add(shopper_id, shopper.last_ms)

    def _written(self, shopper_id: str, shopper: Shopper, previous_ms: int) -> Written | None:
        """What Redis holds of a shopper; None where that is not known, and once a day."""
        if (
            not self._shoppers.config.writes_changes_only
            or previous_ms <= self._shoppers.written_since_ms
            or shopper.last_ms // DAY_MS != previous_ms // DAY_MS
            or profile_changes.has_rare_fields(shopper)
            or shopper_id in self._shoppers.unwritten
        ):
            return None
        return self._shoppers.written_before.get(shopper_id)

    def _session_writes(
        self, shopper_id: str, key: str, session: Session, written: Written | None
    ) -> list[Write]:
        # A key near its end may have expired while Redis was away: it is written whole.
        if written is not None and session.last_ms - written.last_ms <= self._session_gap_ms // 2:
            changed = profile_changes.changed_session_command(key, session, written)
            if changed is not None:
                return [changed, session_expiry(key, self._session_ttl)]
        return session_writes(shopper_id, key, session, self._session_ttl)
