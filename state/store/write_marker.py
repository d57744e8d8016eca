"""A marker key that says: Redis has everything that the state of this run has.

It holds owner and count.

If the marker is missing, Redis is new or lost its data. If its count is smaller than the last one seen,
Redis was restored from an older copy. In both cases the flow rebuilds Redis from its state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from state import keys

if TYPE_CHECKING:
    from state.store.store import Store

_REBUILDING = "telling"


class WriteMarker:
    """The marker of one `owner`, the id of a recovery folder. All methods raise StoreError."""

    def __init__(self, store: Store, owner: str) -> None:
        self._store = store
        self._owner = owner

    def read(self) -> int | None:
        """Return the count; None without a marker, with another owner's, or during a rebuild."""
        with self._store.errors_as_user_errors():
            stored = self._store.client.get(keys.write_marker_key())
        stored_owner, _, count = (stored or b"").decode(errors="replace").partition(" ")
        return int(count) if stored_owner == self._owner and count.isdecimal() else None

    def begin_rebuild(self) -> None:
        """Mark the start of a rebuild, which `write` ends."""
        with self._store.errors_as_user_errors():
            self._store.client.set(keys.write_marker_key(), f"{self._owner} {_REBUILDING}")

    def write(self, count: int) -> bool:
        """Write the count.

        Returns False and writes nothing if Redis was emptied since `begin_rebuild`.
        """
        with self._store.errors_as_user_errors():
            return bool(
                self._store.client.set(keys.write_marker_key(), f"{self._owner} {count}", xx=True)
            )
