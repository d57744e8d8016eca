"""Which events of a device shard are plain: counted here, by shoppers of whom nothing else is known.

Left out are all events of an id that is linked to a user, named as a user, or has an event that is not
plain: the slow path resolves these in order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.shards.event_columns import is_plain

if TYPE_CHECKING:
    from operators.shards.erasures import Erasures
    from operators.shards.identity_map import IdentityMap
    from operators.shards.shopper_table import ShopperTable
    from state.messages import DeviceShardInput


class PlainDeviceEvents:
    """The plain events of a message, as `numbers` with the `names` of their shoppers.

    `undecided` are shoppers that seem to be users, since events without a device name them; each with
    the time of its first event here. Unless `decides_users` there are none: such an id is a user's.
    """

    def __init__(
        self,
        message: DeviceShardInput,
        shoppers: ShopperTable,
        identity_map: IdentityMap,
        erasures: Erasures,
        *,
        decides_users: bool,
    ) -> None:
        self.undecided: dict[str, int] = {}
        links, known_users, newest_ms = (
            identity_map.links,
            identity_map.known_users,
            erasures.newest_ms,
        )
        slow = {mention.user_id for mention in message.user_mentions}
        devices: set[str] = set()
        candidates: list[tuple[int, str]] = []
        for number, event in enumerate(message.events):
            device, user = event.anonymous_id, event.user_id
            name = device if user is None else user if device is None else None
            if name is None or event.event_ts <= newest_ms or not is_plain(event):
                slow.update(one for one in (device, user) if one is not None)
            elif name not in links and name not in known_users:
                candidates.append((number, name))
                if device is not None:
                    devices.add(name)
                elif event.event_ts < self.undecided.setdefault(name, event.event_ts):
                    slow.add(name)
        slow |= self.undecided.keys() & devices
        for name, at_ms in self.undecided.items():
            first_ms = shoppers.first_ms(name)
            if not decides_users or (first_ms is not None and at_ms < first_ms):
                slow.add(name)
        plain = [pair for pair in candidates if pair[1] not in slow]
        self.numbers = [number for number, _ in plain]
        self.names = [name for _, name in plain]
