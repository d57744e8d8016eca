"""Ids of shoppers that need no mending, remembered: most shoppers come again. Hot."""

from __future__ import annotations

from operators.events.validation import normalize_id

REMEMBERED_MAX = 200_000

sound_ids: set[str] = set()
"""Some of the ids that `normalize_id` leaves as they are. Every id that is in here is one."""


def is_sound_id(name: str) -> bool:
    """Whether `normalize_id` leaves an id as it is.

    >>> is_sound_id("ann"), is_sound_id(" ann"), is_sound_id("null")
    (True, False, False)
    """
    if name in sound_ids:
        return True
    if normalize_id(name) is not name:
        return False
    if len(sound_ids) >= REMEMBERED_MAX:
        sound_ids.clear()
    sound_ids.add(name)
    return True
