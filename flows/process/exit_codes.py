"""The exit codes of every command. They are public: docs/operations.md and service managers use them."""

from __future__ import annotations

EXIT_FAILED = 1
"""An unforeseen error, or a negative result: a check failed, a shopper or segment is unknown."""
EXIT_USER_ERROR = 2
"""An error that the user can fix (`state.errors`)."""
EXIT_STOPPED = 130
"""Ctrl-C, or a signal before the work began."""
EXIT_BROKEN_PIPE = 141
"""The reader of the output is gone."""
