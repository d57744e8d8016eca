"""What is sent to an endpoint, and how Redis hears that it was: changes, and dead letters once more."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from operators.webhooks.messages import message, message_id
from state import keys
from state.errors import UserError
from state.store import Group

if TYPE_CHECKING:
    from collections.abc import Sequence

    from state.config import Endpoint, Hooks
    from state.store import Entry, Store

GROUP = "penstock.hooks."
"""What the names of the endpoints' consumer groups begin with; stored."""
_NAMES_EVERY_S = 10.0


@dataclass(eq=False, slots=True)
class Parcel:
    """A message on its way: where it comes from, whose it is, how often it was tried."""

    entry: Any
    shopper: str
    id: str
    body: bytes
    tries: int = 0


Failure = tuple[Parcel, str]
"""A message that is given up, and why."""


class Source(Protocol):
    """Messages for an endpoint. All methods raise UserError where Redis does not answer."""

    def read(self, most: int) -> list[Parcel]:
        """About so many that nobody here has."""

    def settle(self, taken: Sequence[Parcel], failed: Sequence[Failure]) -> None:
        """Hear what became of messages; heard twice, it may be written twice."""


class Changes:
    """The changes that an endpoint wants, from the change streams."""

    def __init__(self, store: Store, name: str, endpoint: Endpoint, hooks: Hooks) -> None:
        streams = [keys.change_stream_key(n) for n in range(keys.CHANGE_STREAMS)]
        start = "$" if hooks.start == "newest" else "0"
        self.group = Group(store, streams, f"{GROUP}{name}", start)
        self._store = store
        self._dead = keys.dead_hooks_key(name)
        self._dead_most = hooks.dead_letters_max
        self._segments = endpoint.segments
        self._purpose = endpoint.purpose
        self._wanted: dict[str, bool] = {}
        self._unwanted: list[Entry] = []
        self.vanished = 0
        """Changes that were read before, and that their stream no longer keeps."""
        self._names: dict[str, str] = {}
        self._named_s = -_NAMES_EVERY_S

    def read(self, most: int) -> list[Parcel]:
        """As in `Source`. What the endpoint does not want is done with."""
        self.group.done(self._unwanted)
        self._unwanted = []
        entries = self.group.read(most)
        # From here on nothing may fail: who has taken entries is not given them again.
        self._learn_names({one.fields.get(b"segment", b"").decode() for one in entries})
        parcels: list[Parcel] = []
        for entry in entries:
            body = self._message(entry)
            if body is None:
                self._unwanted.append(entry)
            else:
                shopper = entry.fields[b"shopper"].decode()
                parcels.append(Parcel(entry, shopper, message_id(entry.stream, entry.id), body))
        return parcels

    def settle(self, taken: Sequence[Parcel], failed: Sequence[Failure]) -> None:
        """As in `Source`. What failed is a dead letter before it is done with."""
        if failed:
            at_ms = time.time_ns() // 1_000_000
            with self._store.in_words():
                for parcel, reason in failed:
                    self._store.client.xadd(
                        self._dead,
                        {
                            "id": parcel.id,
                            "shopper": parcel.shopper,
                            "reason": reason,
                            "tries": parcel.tries,
                            "at": at_ms,
                            "body": parcel.body,
                        },
                        maxlen=self._dead_most,
                    )
        self.group.done([one.entry for one in (*taken, *(parcel for parcel, _ in failed))])

    def _message(self, entry: Entry) -> bytes | None:
        if not entry.fields:
            self.vanished += 1
            return None
        kind, segment = entry.fields[b"kind"], entry.fields[b"segment"].decode()
        if kind in (b"enter", b"leave", b"trigger") and not self._wants(segment):
            return None
        if not self._may_be_told(kind, segment, entry.fields.get(b"refused", b"")):
            return None
        name = self._names.get(segment, segment)
        return message(entry.stream, entry.id, entry.fields, name)

    def _may_be_told(self, kind: bytes, segment: str, refused: bytes) -> bool:
        """Whether the shopper does not refuse what the endpoint is for; a withdrawal is told once."""
        if kind == b"refuse":
            return segment == self._purpose
        return self._purpose not in refused.decode().split(",")

    def _wants(self, segment: str) -> bool:
        if segment not in self._wanted:
            self._wanted[segment] = any(fnmatchcase(segment, one) for one in self._segments)
        return self._wanted[segment]

    def _learn_names(self, segments: set[str]) -> None:
        """Read the segments' names, where some are new or have not been read for a while."""
        now_s = time.monotonic()
        if now_s - self._named_s < _NAMES_EVERY_S and segments <= self._names.keys():
            return
        self._named_s = now_s
        with suppress(UserError), self._store.in_words():
            told = self._store.client.hgetall(keys.registry_key())
            self._names = {sid.decode(): orjson.loads(one)["name"] for sid, one in told.items()}
        self._names = {one: one for one in segments} | self._names


class Letters:
    """The dead letters of an endpoint: those taken now are deleted, the others stay.

    Those of shoppers who refuse the endpoint's `purpose` by now are deleted and not sent.
    """

    def __init__(self, store: Store, name: str, purpose: str) -> None:
        self._store = store
        self._purpose = purpose
        self._key = keys.dead_hooks_key(name)
        self._after = "-"

    def read(self, most: int) -> list[Parcel]:
        """As in `Source`; nothing means that all have been read."""
        with self._store.in_words():
            found = self._store.client.xrange(self._key, min=self._after, count=most)
        if found:
            self._after = f"({found[-1][0].decode()}"
        parcels = [
            Parcel(entry_id, one[b"shopper"].decode(), one[b"id"].decode(), one[b"body"])
            for entry_id, one in found
        ]
        refusing = self._refusing({one.shopper for one in parcels})
        self.settle([one for one in parcels if one.shopper in refusing], [])
        kept = [one for one in parcels if one.shopper not in refusing]
        return kept if kept or not found else self.read(most)

    def _refusing(self, shoppers: set[str]) -> set[str]:
        """Who of them refuses the purpose, as of the last event."""
        names = sorted(shoppers)
        with self._store.in_words():
            client = self._store.client
            said = [client.hget(keys.profile_key(name), "refused") or b"" for name in names]
        told = zip(names, said, strict=True)
        return {name for name, one in told if self._purpose in one.decode().split(",")}

    def settle(self, taken: Sequence[Parcel], failed: Sequence[Failure]) -> None:
        """As in `Source`."""
        if taken:
            with self._store.in_words():
                self._store.client.xdel(self._key, *(one.entry for one in taken))
