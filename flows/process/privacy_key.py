"""The secret under which erased ids are hashed: from the environment only."""

from __future__ import annotations

import os

from state.errors import UserError

VARIABLE = "PENSTOCK_PRIVACY_KEY"
_CHARS_MIN = 16


def privacy_key() -> bytes:
    """The key, empty where none is set. Raises UserError for one that can be guessed."""
    key = os.environ.get(VARIABLE, "")
    if key and len(key) < _CHARS_MIN:
        raise UserError(
            f"{VARIABLE} has {len(key)} characters, of which erased ids could be guessed: set at least "
            f"{_CHARS_MIN}, the same for all processes, and keep it for privacy.tombstone_days"
        )
    return key.encode()
