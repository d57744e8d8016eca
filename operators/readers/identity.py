"""The shopper of an event: which of the ids that a record carries are usable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.events.validation import normalize_id
from operators.readers.values import BadFieldError
from state.events import SHOPPER_ID_CHARS_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.readers.fields import Fields


def read_identity(
    anonymous: Sequence[tuple[Fields, str]], users: Sequence[tuple[Fields, str]]
) -> tuple[str | None, str | None]:
    """The first usable anonymous id and the first usable user id, each from fields in this order.

    An id that identifies no shopper is dropped if there is a good one. Raises BadFieldError where there
    is none.
    """
    errors: list[BadFieldError] = []

    def first_usable(candidates: Sequence[tuple[Fields, str]]) -> str | None:
        for fields, name in candidates:
            identifier = fields.identifier(name, is_person=True)
            error = _identity_error(fields, name, identifier)
            if error is not None:
                errors.append(error)
            elif identifier is not None:
                return normalize_id(identifier)
        return None

    anonymous_id, user_id = first_usable(anonymous), first_usable(users)
    if anonymous_id is None and user_id is None:
        if errors:
            raise errors[0]
        names = " nor ".join(name for _, name in (*anonymous, *users))
        raise BadFieldError("no_identity", "$", f"neither {names}")
    return anonymous_id, user_id


def _identity_error(fields: Fields, name: str, identifier: str | None) -> BadFieldError | None:
    """Why an id that is given cannot be used; None where it can, or none is given."""
    path = fields.path_of(name)
    if identifier is None:
        if not fields.has(name):
            return None
        return BadFieldError(
            "blocked_id", path, f"{fields.values[name]!r:.100} identifies no shopper"
        )
    if normalize_id(identifier) is None:
        return BadFieldError("blocked_id", path, f"{identifier[:100]!r} identifies no shopper")
    if len(identifier) > SHOPPER_ID_CHARS_MAX:
        fields.note_unreadable(name)
        message = f"{len(identifier)} characters; at most {SHOPPER_ID_CHARS_MAX}"
        return BadFieldError("schema_violation", path, message)
    return None
