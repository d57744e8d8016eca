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

from state.dead_letters import DeadLetter, Fault, raw_text
from state.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from state.events import Event
    from state.messages import BatchId

ENDS_THE_RUN = (UserError, MemoryError)
"""What no guard holds back: a person has to do something."""
WHOLE_TRACEBACKS = 20
"""Faults of a step that are logged with their traceback; after those one in as many."""
NOT_KNOWN = -1
"""The offset in a dead letter of an event whose place in its log nobody kept."""
_MESSAGE_CHARS_MAX = 300

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger("penstock.processing")


class Faults:
    """The faults of one step: `letters` of events, and how many there were by what raised."""

    def __init__(self, step: str) -> None:
        self.step = step
        self.letters: list[DeadLetter] = []
        self._counts: dict[str, int] = {}
        self._logged = 0

    def note(self, what: str, of: str = "") -> None:
        """Count and log the exception at hand; `of` says whose."""
        name = f"{self.step}.{what}"
        self._counts[name] = self._counts.get(name, 0) + 1
        self._logged += 1
        is_whole = self._logged <= WHOLE_TRACEBACKS or self._logged % WHOLE_TRACEBACKS == 0
        log.error(
            "%s raised%s: it is left out, the rest goes on; please report this",
            name,
            f" for {of!r}" if of else "",
            exc_info=is_whole,
            extra={"event": "processing_error", "step": self.step},
        )

    def reject(
        self, event: Event, error: Exception, batch: BatchId, position: int, offset: int = NOT_KNOWN
    ) -> None:
        """Set an event aside that raised: it is not counted, and becomes a dead letter."""
        if isinstance(error, ENDS_THE_RUN):
            raise error
        self.note(event.type, event.event_id)
        source, partition = batch.origin_of(position)
        message = f"{type(error).__name__} in {self.step}: {error}"[:_MESSAGE_CHARS_MAX]
        text, is_base64 = raw_text(_encoded(event))
        self.letters.append(
            DeadLetter(
                failure_type="processing_error",
                errors=(Fault("$", message),),
                source=source,
                partition=partition,
                offset=offset,
                raw=text,
                base64=is_base64,
                at=event.event_ts,
            )
        )

    @contextmanager
    def apart(self, what: str, of: str = "") -> Iterator[None]:
        """What is done in it may raise: it is then left undone from there on."""
        try:
            yield
        except ENDS_THE_RUN:
            raise
        except Exception:
            self.note(what, of)

    def tried(
        self, what: str, otherwise: R, make: Callable[P, R], *args: P.args, **more: P.kwargs
    ) -> R:
        """What `make` gives, or where it raises what there is `otherwise`."""
        try:
            return make(*args, **more)
        except ENDS_THE_RUN:
            raise
        except Exception:
            self.note(what)
            return otherwise

    def take_letters(self) -> list[DeadLetter]:
        """The dead letters since last asked."""
        letters, self.letters = self.letters, []
        return letters

    def take_counts(self) -> dict[str, int]:
        """How often what raised since last asked."""
        counts, self._counts = self._counts, {}
        return counts


def _encoded(event: Event) -> bytes:
    try:
        return msgspec.json.encode(event)
    except Exception:  # an event that cannot even be written down
        return repr(event).encode("utf-8", "backslashreplace")
