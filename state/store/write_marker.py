"""Says in Redis that all a flow's state knows is written there: whose it is, and a growing count.

Missing, Redis came back empty or is a new one; with a smaller count than was last seen, it came back
as it was before. In both cases the flow tells everything again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from state import keys

if TYPE_CHECKING:
    from state.store.store import Store

_REBUILDING = "telling"


class WriteMarker:
    """The marker of one `holder`, the id of a recovery folder. All methods raise UserError."""

    def __init__(self, store: Store, owner: str) -> None:
        self._store = store
        self._owner = owner

    def read(self) -> int | None:
        """The count, None where there is no marker, another's, or the telling was not finished."""
        with self._store.errors_as_user_errors():
            stored = self._store.client.get(keys.write_marker_key())
        stored_owner, _, count = (stored or b"").decode(errors="replace").partition(" ")
        return int(count) if stored_owner == self._owner and count.isdecimal() else None

    def begin_rebuild(self) -> None:
        """From now until `write` everything is being told."""
        with self._store.errors_as_user_errors():
            self._store.client.set(keys.write_marker_key(), f"{self._owner} {_REBUILDING}")

    def write(self, count: int) -> bool:
        """Say that everything is here; False, and nothing said, where Redis was emptied since."""
        with self._store.errors_as_user_errors():
            return bool(
                self._store.client.set(keys.write_marker_key(), f"{self._owner} {count}", xx=True)
            )
