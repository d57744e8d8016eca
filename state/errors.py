"""Errors a person reads: few, named, and each says what to do."""

from __future__ import annotations


class UserError(Exception):
    """One line for the person at the terminal: what is wrong and what to do about it."""


class SnapshotError(UserError):
    """Stored state that cannot be read: written by a newer release, or damaged."""


class DamageError(SnapshotError):
    """Stored state whose bytes are not those that were written: which, and where.

    What to do about it depends on whether a copy is sound: `flows.recovery.folder` says it.
    """
