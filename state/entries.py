"""The entries of messages between the steps: one interaction, one forwarded event, one active shopper.

Never stored (an epoch is complete before its snapshot), so these may change freely: both ends of a
message are of one release. As MessagePack they are arrays, the same bytes as tuples. They are frozen: a
step that changes an entry makes a new one.
"""

from __future__ import annotations

import msgspec

from state.events import Event, Item


class Entry(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An entry of a message. `position` is that of its event in the batch; times are in ms."""


class UserMention(Entry, frozen=True):
    """An event of a device names a user whom another shard may keep, under this watermark."""

    position: int
    user_id: str
    at_ms: int
    watermark_ms: int


class Interaction(Entry, frozen=True):
    """One item of an event that shows interest. `category` is one name (`shoes/running`); it and
    `country` are "" where unknown."""

    position: int
    shopper: str
    item: str
    event_type: str
    at_ms: int
    session_start_ms: int
    category: str
    country: str


class LimitedInteraction(Entry, frozen=True):
    """An interaction of a shopper who refuses some purposes, as bits."""

    refused: int
    interaction: Interaction


class ConsentWithdrawal(Entry, frozen=True):
    """A shopper withdraws consent for purposes, as bits, and goes on being counted."""

    shopper: str
    purposes: int
    at_ms: int


class Feedback(Entry, frozen=True):
    """One item of an event that says what came of a list or an order. `list_position` is the item's
    position in the list that it was shown in, from 0."""

    position: int
    shopper: str
    item: str
    event_type: str
    at_ms: int
    list_position: int


class ItemUpdate(Entry, frozen=True):
    """What an event or the catalogue says of an item; the currency is "" where it does not say it.

    `order` is that among updates of the same time.
    """

    at_ms: int
    item: Item
    currency: str
    order: int = 0


class ForwardedEvent(Entry, frozen=True):
    """An event of a user whom another shard keeps. `watermark_ms` stood when it came; `offset` is that
    of its record, -1 if unknown."""

    position: int
    shopper: str
    event: Event
    watermark_ms: int
    offset: int


class ActiveShopper(Entry, frozen=True):
    """A shopper that was active, once a batch.

    `known` is whether it is a user, `refused` are purposes as bits, `features` is its feature row
    (`operators.shoppers.features`). `profile` is the command that writes its profile, packed but for its
    head, and `argument_count` the number of arguments in it. Not `is_whole`: it has only the fields that
    changed since the profile was written last.
    """

    shopper: str
    known: bool
    refused: int
    features: bytes
    profile: str
    argument_count: int
    is_whole: bool = True


class Transition(Entry, frozen=True):
    """A shopper entered a segment or left it."""

    shopper: str
    segment: str
    entered: bool
    at_ms: int


class PlacedOrder(Entry, frozen=True):
    """An order of a shopper and its value in millionths."""

    shopper: str
    value_micros: int
    at_ms: int


class MergedShopper(Entry, frozen=True):
    """An anonymous shopper turned out to be the user `shopper`."""

    anonymous_id: str
    shopper: str
    at_ms: int


class NewAlias(Entry, frozen=True):
    """Redis names a device as this user's."""

    position: int
    user_id: str
    device: str
