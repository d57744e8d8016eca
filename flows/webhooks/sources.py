"""The messages for an endpoint, and their acknowledgement: changes, and dead letters to redeliver."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from operators.publish.webhooks.messages import build_message, message_id
from state import keys
from state.errors import StoreError
from state.store import ConsumerGroup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from state.config_deployment import Endpoint, Hooks
    from state.store import Store, StreamEntry

GROUP_PREFIX = "penstock.hooks."
"""The prefix of the endpoints' consumer group names; stored."""
_NAMES_MAX_AGE_S = 10.0


@dataclass(eq=False, slots=True)
class OutboundMessage:
    """A message to send: the source's entry, the shopper, the body, and the attempts so far."""

    entry: Any
    shopper: str
    id: str
    body: bytes
    tries: int = 0


FailedMessage = tuple[OutboundMessage, str]
"""A message that failed for good, and the reason."""


class MessageSource(Protocol):
    """Messages for an endpoint. All methods raise UserError if Redis does not answer."""

    def read(self, limit: int) -> list[OutboundMessage]:
        """Read new messages, about `limit` of them."""

    def acknowledge(
        self, delivered: Sequence[OutboundMessage], failed: Sequence[FailedMessage]
    ) -> None:
        """Record delivered and failed messages; repeated after an error, it may write twice."""


class ChangeSource:
    """The changes that an endpoint subscribes to, from the change streams."""

    def __init__(self, store: Store, name: str, endpoint: Endpoint, hooks: Hooks) -> None:
        streams = [keys.change_stream_key(n) for n in range(keys.CHANGE_STREAMS)]
        start = "$" if hooks.start == "newest" else "0"
        self.group = ConsumerGroup(store, streams, f"{GROUP_PREFIX}{name}", start)
        self._store = store
        self._dead_key = keys.dead_hooks_key(name)
        self._dead_max = hooks.dead_letters_max
        self._segments = endpoint.segments
        self._purpose = endpoint.purpose
        self._is_wanted: dict[str, bool] = {}
        self._filtered_out: list[StreamEntry] = []
        self.trimmed = 0
        """Changes that were read before and have since been trimmed from their stream."""
        self._names: dict[str, str] = {}
        self._names_read_s = -_NAMES_MAX_AGE_S

    def read(self, limit: int) -> list[OutboundMessage]:
        """As in `MessageSource`. Changes that the endpoint does not want are acknowledged."""
        self.group.ack(self._filtered_out)
        self._filtered_out = []
        entries = self.group.read(limit)
        # Nothing may fail from here on: the group does not give these entries to us again.
        self._refresh_segment_names(
            {entry.fields.get(b"segment", b"").decode() for entry in entries}
        )
        messages: list[OutboundMessage] = []
        for entry in entries:
            body = self._build_message(entry)
            if body is None:
                self._filtered_out.append(entry)
            else:
                shopper = entry.fields[b"shopper"].decode()
                messages.append(
                    OutboundMessage(entry, shopper, message_id(entry.stream_index, entry.id), body)
                )
        return messages

    def acknowledge(
        self, delivered: Sequence[OutboundMessage], failed: Sequence[FailedMessage]
    ) -> None:
        """As in `MessageSource`. A failed message becomes a dead letter before it is acknowledged."""
        if failed:
            at_ms = time.time_ns() // 1_000_000
            with self._store.errors_as_user_errors():
                for outbound, reason in failed:
                    self._store.client.xadd(
                        self._dead_key,
                        {
                            "id": outbound.id,
                            "shopper": outbound.shopper,
                            "reason": reason,
                            "tries": outbound.tries,
                            "at": at_ms,
                            "body": outbound.body,
                        },
                        maxlen=self._dead_max,
                    )
        self.group.ack(
            [outbound.entry for outbound in (*delivered, *(outbound for outbound, _ in failed))]
        )

    def _build_message(self, entry: StreamEntry) -> bytes | None:
        if not entry.fields:
            self.trimmed += 1
            return None
        kind, segment = entry.fields[b"kind"], entry.fields[b"segment"].decode()
        if kind in (b"enter", b"leave", b"trigger") and not self._matches(segment):
            return None
        if not self._may_send(kind, segment, entry.fields.get(b"refused", b"")):
            return None
        name = self._names.get(segment, segment)
        return build_message(entry.stream_index, entry.id, entry.fields, name)

    def _may_send(self, kind: bytes, segment: str, refused: bytes) -> bool:
        """Whether the shopper allows the endpoint's purpose. The withdrawal itself is sent once."""
        if kind == b"refuse":
            return segment == self._purpose
        return self._purpose not in refused.decode().split(",")

    def _matches(self, segment: str) -> bool:
        if segment not in self._is_wanted:
            self._is_wanted[segment] = any(
                fnmatchcase(segment, pattern) for pattern in self._segments
            )
        return self._is_wanted[segment]

    def _refresh_segment_names(self, segments: set[str]) -> None:
        """Read the segments' names again if one is unknown or they are old."""
        now_s = time.monotonic()
        if now_s - self._names_read_s < _NAMES_MAX_AGE_S and segments <= self._names.keys():
            return
        self._names_read_s = now_s
        with suppress(StoreError), self._store.errors_as_user_errors():
            records = self._store.client.hgetall(keys.registry_key())
            self._names = {
                sid.decode(): orjson.loads(record)["name"] for sid, record in records.items()
            }
        self._names = {segment: segment for segment in segments} | self._names


class DeadLetterSource:
    """The dead letters of an endpoint: delivered ones are deleted, the others stay.

    Those of shoppers who now refuse the endpoint's `purpose` are deleted and not sent.
    """

    def __init__(self, store: Store, name: str, purpose: str) -> None:
        self._store = store
        self._purpose = purpose
        self._key = keys.dead_hooks_key(name)
        self._start_id = "-"

    def read(self, limit: int) -> list[OutboundMessage]:
        """As in `MessageSource`; an empty list means that all have been read."""
        with self._store.errors_as_user_errors():
            entries = self._store.client.xrange(self._key, min=self._start_id, count=limit)
        if entries:
            self._start_id = f"({entries[-1][0].decode()}"
        messages = [
            OutboundMessage(
                entry_id, fields[b"shopper"].decode(), fields[b"id"].decode(), fields[b"body"]
            )
            for entry_id, fields in entries
        ]
        refusing = self._refusing_shoppers({outbound.shopper for outbound in messages})
        self.acknowledge([outbound for outbound in messages if outbound.shopper in refusing], [])
        sendable = [outbound for outbound in messages if outbound.shopper not in refusing]
        return sendable if sendable or not entries else self.read(limit)

    def _refusing_shoppers(self, shoppers: set[str]) -> set[str]:
        """The shoppers that refuse the purpose, as of their last event."""
        names = sorted(shoppers)
        with self._store.errors_as_user_errors():
            client = self._store.client
            refused_texts = [
                client.hget(keys.profile_key(name), "refused") or b"" for name in names
            ]
        refused_by_name = zip(names, refused_texts, strict=True)
        return {
            name
            for name, refused in refused_by_name
            if self._purpose in refused.decode().split(",")
        }

    def acknowledge(
        self, delivered: Sequence[OutboundMessage], failed: Sequence[FailedMessage]
    ) -> None:
        """As in `MessageSource`."""
        if delivered:
            with self._store.errors_as_user_errors():
                self._store.client.xdel(self._key, *(outbound.entry for outbound in delivered))
