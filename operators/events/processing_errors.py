"""Isolates exceptions: a bug costs one event, one row or one part of a batch, never the run.

Steps process events, and build parts of their output, under these guards, which cost nothing while
nothing raises. Each exception is logged with its traceback and counted; an event becomes a dead letter.
Exceptions that concern the run and not its data (Redis is gone, another run took over) are passed on.
"""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import msgspec

from state.dead_letters import DeadLetter, FieldError, raw_text
from state.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from state.events import Event
    from state.messages import BatchId

FATAL_ERRORS = (UserError, MemoryError)
"""Exceptions that no guard catches, since a person has to act."""
FULL_TRACEBACKS = 20
"""The first exceptions of a step are logged with their traceback; after so many, one in as many."""
UNKNOWN_OFFSET = -1
"""The offset in the dead letter of an event whose offset is not known."""
_MESSAGE_CHARS_MAX = 300

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger("penstock.processing")


class ProcessingErrors:
    """The exceptions of one step: `dead_letters` of events, and counts by operation.

    Operations are part of metric names and of `ps:1:quality`: they are public.
    """

    def __init__(self, step: str) -> None:
        self.step = step
        self.dead_letters: list[DeadLetter] = []
        self._counts: dict[str, int] = {}
        self._logged_count = 0

    def record(self, operation: str, subject: str = "") -> None:
        """Count and log the current exception. `subject` is the id of the event or shopper.

        One of `FATAL_ERRORS` goes on instead: every handler that ends with this call lets it pass.
        """
        if isinstance(error := sys.exc_info()[1], FATAL_ERRORS):
            raise error
        name = f"{self.step}.{operation}"
        self._counts[name] = self._counts.get(name, 0) + 1
        self._logged_count += 1
        with_traceback = (
            self._logged_count <= FULL_TRACEBACKS or self._logged_count % FULL_TRACEBACKS == 0
        )
        log.error(
            "%s raised%s: it is skipped, the run continues; please report this",
            name,
            f" for {subject!r}" if subject else "",
            exc_info=with_traceback,
            extra={"event": "processing_error", "step": self.step},
        )

    def reject_event(
        self,
        event: Event,
        error: Exception,
        batch: BatchId,
        position: int,
        offset: int = UNKNOWN_OFFSET,
    ) -> None:
        """Make a dead letter of an event whose processing raised. It does not count."""
        self.record(event.type, event.event_id)
        source, partition = batch.origin_of(position)
        message = f"{type(error).__name__} in {self.step}: {error}"[:_MESSAGE_CHARS_MAX]
        text, is_base64 = raw_text(_encode_event(event))
        self.dead_letters.append(
            DeadLetter(
                failure_type="processing_error",
                errors=(FieldError("$", message),),
                source=source,
                partition=partition,
                offset=offset,
                raw=text,
                base64=is_base64,
                at=event.event_ts,
            )
        )

    @contextmanager
    def isolate(self, operation: str, subject: str = "") -> Iterator[None]:
        """A context in which an exception ends the block, and not the run."""
        try:
            yield
        except Exception:
            self.record(operation, subject)

    def call_or_default(
        self,
        operation: str,
        default: R,
        function: Callable[P, R],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """The result of `function`, or `default` where it raises."""
        try:
            return function(*args, **kwargs)
        except Exception:
            self.record(operation)
            return default

    def take_dead_letters(self) -> list[DeadLetter]:
        """The dead letters since the last call."""
        dead_letters, self.dead_letters = self.dead_letters, []
        return dead_letters

    def take_counts(self) -> dict[str, int]:
        """The number of exceptions by operation since the last call."""
        counts, self._counts = self._counts, {}
        return counts


def _encode_event(event: Event) -> bytes:
    try:
        return msgspec.json.encode(event)
    except Exception:  # a bug has made an event that cannot even be encoded
        return repr(event).encode("utf-8", "backslashreplace")
