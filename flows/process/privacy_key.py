"""The key of the hash of erased ids, from the environment only."""

from __future__ import annotations

import os

from state.errors import ConfigurationError

PRIVACY_KEY_VARIABLE = "PENSTOCK_PRIVACY_KEY"
_CHARS_MIN = 16


def read_privacy_key() -> bytes:
    """The key, empty if none is set. Raises UserError for a key that can be guessed."""
    key = os.environ.get(PRIVACY_KEY_VARIABLE, "")
    if key and len(key) < _CHARS_MIN:
        raise ConfigurationError(
            f"{PRIVACY_KEY_VARIABLE} has {len(key)} characters, so erased ids could be "
            f"guessed: set at least "
            f"{_CHARS_MIN}, the same for all processes, and keep it for privacy.tombstone_days"
        )
    return key.encode()
