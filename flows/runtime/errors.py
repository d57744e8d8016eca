"""Finds the error for a person behind the exceptions of Bytewax."""

from __future__ import annotations

from state.errors import UserError


def user_error_in(error: BaseException) -> BaseException | None:
    """The UserError or interrupt that caused an exception of Bytewax; None if there is none."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, UserError | KeyboardInterrupt):
        cause = cause.__cause__ or cause.__context__
    return cause
