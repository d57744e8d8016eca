"""Puts out a shopper at the end of a batch in which it did something: its feature row, and its profile
and session in Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.shoppers import profile_hash
from operators.shoppers.features import feature_row
from state import keys, resp
from state.entries import ActiveShopper
from state.times import HOUR_MS

if TYPE_CHECKING:
    from operators.shards.shard_shoppers import ShardShoppers
    from state.messages import Write
    from state.shopper import Session

_EXPIRE, _PEXPIRE = resp.pack_str("EXPIRE"), resp.pack_str("PEXPIRE")


def session_writes(shopper_id: str, key: str, session: Session, packed_ttl_ms: str) -> list[Write]:
    """The commands that write the running session of a shopper, and let it expire."""
    expire = resp.pack_command(_PEXPIRE + resp.pack_str(key) + packed_ttl_ms, 3)
    return [profile_hash.session_command(shopper_id, key, session), expire]


class ShopperWriter:
    """Packs what is the same for all shoppers once."""

    def __init__(self, shoppers: ShardShoppers) -> None:
        self._shoppers = shoppers
        config = shoppers.config
        self._session_ttl = resp.pack_int(config.session_ttl_ms)
        self._known_ttl = resp.pack_int(config.known_ttl_s)
        self._anonymous_ttl = resp.pack_int(config.anonymous_ttl_s)

    def emit_shopper(self, shopper_id: str, previous_ms: int) -> None:
        """Put out one shopper, last seen at `previous_ms` before this batch."""
        shoppers = self._shoppers
        shopper, output = shoppers.rows[shopper_id], shoppers.output
        category, share = shoppers.config.affinities.top(shopper)
        key = keys.shopper_key(shopper_id)
        profile_key, session_key = key + "profile", key + "session"
        arguments, count = profile_hash.profile_command(profile_key, shopper, category, share)
        session = shopper.open_sessions[-1] if shopper.open_sessions else None
        features = feature_row(shopper, share, session)
        output.active.append(
            ActiveShopper(shopper_id, shopper.known, shopper.refused, features, arguments, count)
        )
        if session is not None:
            output.writes += session_writes(shopper_id, session_key, session, self._session_ttl)
        # Each time: a key that expired, was evicted or deleted is made anew by the profile's write.
        ttl = self._known_ttl if shopper.known else self._anonymous_ttl
        expire = _EXPIRE + resp.pack_str(profile_key) + ttl
        output.expiry_writes.append(resp.pack_command(expire, 3))
        if shopper.last_ms // HOUR_MS > previous_ms // HOUR_MS:
            shoppers.idle.add(shopper_id, shopper.last_ms)
