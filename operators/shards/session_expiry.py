"""Closes sessions that no event in time can reach any more, once per batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.shoppers import sessions
from state import keys
from state.resp import pack_command, pack_str

if TYPE_CHECKING:
    from operators.shards.shard_shoppers import ShardShoppers
    from state.shopper import Shopper

_DEL, _HDEL = pack_str("DEL"), pack_str("HDEL")
_CHANCE_FIELD = pack_str("p_buy_session")


def close_expired_sessions(shoppers: ShardShoppers) -> None:
    """Close sessions by the watermark of the batch; in the order in which they ended, then by id."""
    table, watermark_ms = shoppers.rows, shoppers.output.watermark_ms
    expired_rows = table.expired_rows(watermark_ms)
    expired = [(ended_ms, table.names[row]) for ended_ms, row in expired_rows]
    expired += _expired_structs(shoppers, watermark_ms)
    if not expired:
        return
    closed = table.close_sessions([row for _, row in expired_rows], watermark_ms)
    shoppers.totals.sessions_closed += closed.closed
    left: list[str] = []
    for _, shopper_id in sorted(expired):
        shopper = table.structs.get(shopper_id)
        if shopper is None:
            row = table.row_of[shopper_id]
            shoppers.output.session_outcomes += closed.outcomes.get(row, ())
            has_open_sessions = row in closed.still_open
        else:
            has_open_sessions = _close(shoppers, shopper_id, shopper, watermark_ms)
        shoppers.dirty_names.add(shopper_id)
        if not has_open_sessions:
            left.append(shopper_id)
    _delete_session_keys(shoppers, left)


def _expired_structs(shoppers: ShardShoppers, watermark_ms: int) -> list[tuple[int, str]]:
    """The shoppers outside of the columns with a session that has ended, each after that time.

    Timers are checked against them: one may be out of date, since a session goes on with each event.
    """
    expired: list[tuple[int, str]] = []
    for shopper_id in shoppers.session_timers.take_due(watermark_ms):
        shopper = shoppers.rows.structs.get(shopper_id)
        if shopper is not None and shopper.open_sessions:
            ends_ms = _first_end_ms(shopper, shoppers.config.gap_ms)
            if ends_ms < watermark_ms:
                expired.append((ends_ms, shopper_id))
            else:
                shoppers.session_timers.add(ends_ms, shopper_id)
    return expired


def _close(shoppers: ShardShoppers, shopper_id: str, shopper: Shopper, watermark_ms: int) -> bool:
    """Close the sessions of a shopper that have ended; whether others go on."""
    config, output = shoppers.config, shoppers.output
    closed = sessions.close_expired(shopper, watermark_ms, gap_ms=config.gap_ms)
    shoppers.totals.sessions_closed += len(closed)
    with shoppers.processing_errors.isolate("outcomes", shopper_id):
        output.session_outcomes += [
            session.decision_outcomes(session.last_ms + config.gap_ms)
            for session in closed
            if session.decisions
        ]
    if shopper.open_sessions:
        shoppers.session_timers.add(_first_end_ms(shopper, config.gap_ms), shopper_id)
    return bool(shopper.open_sessions)


def _delete_session_keys(shoppers: ShardShoppers, left: list[str]) -> None:
    writes = shoppers.output.writes
    # One after the other: the sender puts deletions that follow each other into one command.
    writes += [pack_command(_DEL + pack_str(keys.session_key(name)), 2) for name in left]
    if shoppers.config.sample_of_256:
        profile_keys = (pack_str(keys.profile_key(name)) for name in left)
        writes += [pack_command(f"{_HDEL}{key}{_CHANCE_FIELD}", 3) for key in profile_keys]


def _first_end_ms(shopper: Shopper, gap_ms: int) -> int:
    """The last time at which an event would still belong to the session that ends first."""
    first, *others = shopper.open_sessions
    last_ms = (
        min(first.last_ms, *[session.last_ms for session in others]) if others else first.last_ms
    )
    return last_ms + gap_ms
