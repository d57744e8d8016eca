"""What raises is set apart: one event, row or part of a batch, never the run.

Whoever folds events, or makes something of a batch, does it under this guard. It costs nothing while
nothing raises. Each fault is logged with its traceback and counted; an event becomes a dead letter.
What concerns the run and not its data (Redis is gone, another run took over) is passed on.
"""

from __future__ import annotations

import logging
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
"""What no guard holds back: a person has to do something."""
FULL_TRACEBACKS = 20
"""Faults of a step that are logged with their traceback; after those one in as many."""
UNKNOWN_OFFSET = -1
"""The offset in a dead letter of an event whose place in its log nobody kept."""
_MESSAGE_CHARS_MAX = 300

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger("penstock.processing")


class ProcessingErrors:
    """The faults of one step: `dead_letters` of events, and how many there were by what raised."""

    def __init__(self, step: str) -> None:
        self.step = step
        self.dead_letters: list[DeadLetter] = []
        self._counts: dict[str, int] = {}
        self._logged_count = 0

    def record(self, operation: str, subject: str = "") -> None:
        """Count and log the exception at hand; `subject` says whose."""
        name = f"{self.step}.{operation}"
        self._counts[name] = self._counts.get(name, 0) + 1
        self._logged_count += 1
        with_traceback = (
            self._logged_count <= FULL_TRACEBACKS or self._logged_count % FULL_TRACEBACKS == 0
        )
        log.error(
            "%s raised%s: it is left out, the rest goes on; please report this",
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
        """Set an event aside that raised: it is not counted, and becomes a dead letter."""
        if isinstance(error, FATAL_ERRORS):
            raise error
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
        """What is done in it may raise: it is then left undone from there on."""
        try:
            yield
        except FATAL_ERRORS:
            raise
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
        """What `function` gives, or where it raises what there is `default`."""
        try:
            return function(*args, **kwargs)
        except FATAL_ERRORS:
            raise
        except Exception:
            self.record(operation)
            return default

    def take_dead_letters(self) -> list[DeadLetter]:
        """The dead letters since last asked."""
        dead_letters, self.dead_letters = self.dead_letters, []
        return dead_letters

    def take_counts(self) -> dict[str, int]:
        """How often what raised since last asked."""
        counts, self._counts = self._counts, {}
        return counts


def _encode_event(event: Event) -> bytes:
    try:
        return msgspec.json.encode(event)
    except Exception:  # an event that cannot even be written down
        return repr(event).encode("utf-8", "backslashreplace")
