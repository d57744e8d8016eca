"""Reads the change-stream entries that a crashed run wrote after its last snapshot.

After a crash the log is read again in other batches, so the new run may compute other memberships. It
compares them with these entries and publishes changes that undo those that no longer hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.segments.changes import OrphanedChanges
from state import keys
from state.changes import CONTENT_BITS, Change, stream_id
from state.replies import decode_fields
from state.shopper import PURPOSES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from state.changes import StreamIds
    from state.store import Store

PAGE_ENTRIES = 10_000


class ChangeStreamReader:
    """Reads the change streams from a store. Methods raise UserError if Redis does not answer."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def orphans_after(self, ids: StreamIds) -> OrphanedChanges:
        """The newest entry of each membership after these stream ids, and all triggers."""
        last_ids = dict(ids)
        last_changes: dict[tuple[str, str], Change] = {}
        triggers: set[Change] = set()
        for stream in range(keys.CHANGE_STREAMS):
            for entry_id, fields in self._entries(stream, ids.get(stream)):
                last_ids[stream] = stream_id(entry_id.decode())
                change = _parse_change(fields)
                if change.kind in ("enter", "leave"):
                    last_changes[change.shopper, change.segment] = change
                elif change.kind == "trigger":
                    triggers.add(change)
        return OrphanedChanges([*last_changes.values()], last_ids, frozenset(triggers))

    def _entries(
        self, stream: int, after_id: tuple[int, int] | None
    ) -> Iterator[tuple[bytes, dict[bytes, bytes]]]:
        key = keys.change_stream_key(stream)
        start = "-" if after_id is None else f"{after_id[0]}-{(after_id[1] + 1) << CONTENT_BITS}"
        while True:
            with self._store.errors_as_user_errors():
                page = self._store.client.xrange(key, min=start, count=PAGE_ENTRIES)
            yield from page
            if len(page) < PAGE_ENTRIES:
                return
            start = b"(" + page[-1][0]


def _parse_change(fields: dict[bytes, bytes]) -> Change:
    texts = decode_fields(fields)
    return Change(
        texts["kind"],
        texts["shopper"],
        texts["segment"],
        int(texts["event_ts"]),
        texts.get("known") == "1",
        texts.get("item", ""),
        sum(PURPOSES[name] for name in texts.get("refused", "").split(",") if name in PURPOSES),
    )
