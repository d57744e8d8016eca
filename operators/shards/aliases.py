"""Aliases in Redis: which user a device belongs to (`ps:1:alias:*`), as consent allows.

A device's shard writes the alias when the device identifies. The user's shard takes it back when the
user refuses analytics, and writes it again when the user agrees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from state import keys

if TYPE_CHECKING:
    from operators.shards.shard_shoppers import ShardShoppers
    from state.messages import Write

DEVICES_MAX = 64
"""So many devices of a user are remembered, the newest ones. Aliases of older ones expire in Redis."""


def alias_write(device_id: str, user_id: str, ttl_s: int) -> Write:
    """The command that writes the alias of a device."""
    return ("SET", keys.alias_key(device_id), user_id, "EX", ttl_s)


def delete_alias(shoppers: ShardShoppers, device_id: str) -> None:
    """Delete the alias of a device, once per batch.

    With the expiry writes, which come after all other writes: the device's shard may have written the
    alias in this very batch.
    """
    if device_id not in shoppers.deleted_aliases:
        shoppers.deleted_aliases.add(device_id)
        shoppers.output.expiry_writes.append(("DEL", keys.alias_key(device_id)))


def restore_alias(shoppers: ShardShoppers, user_id: str, device_id: str) -> None:
    """Write the alias of a device whose user agrees to it again."""
    shoppers.deleted_aliases.discard(device_id)
    if device_id == user_id:
        return  # an id needs no alias for itself
    write = alias_write(device_id, user_id, shoppers.config.alias_ttl_s)
    shoppers.output.expiry_writes.append(write)
    add_device(shoppers, user_id, device_id)


def add_device(shoppers: ShardShoppers, user_id: str, device_id: str) -> None:
    """Remember that a device has an alias to this user, so that a refusal can delete it."""
    shopper = shoppers.rows.get(user_id)
    if shopper is not None and shopper.events and device_id not in shopper.published_devices:
        shopper.published_devices = (*shopper.published_devices, device_id)[-DEVICES_MAX:]
        shoppers.dirty_names.add(user_id)
