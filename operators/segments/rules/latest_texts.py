"""The newest texts of a shopper that rules ask for: device, country, campaign."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.kernels import rule_layout as layout
from operators.segments.rules.features import LATEST_TEXTS
from operators.segments.rules.filters import LATEST_TEXT_OF

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from state.events import Event
    from state.shopper import LatestContext

_UNKNOWN = (0, "")


class LatestTexts:
    """Keeps the texts of some features."""

    def __init__(self, features: Container[str]) -> None:
        self._wanted = [
            (feature, LATEST_TEXT_OF[feature], layout.BEGINS_SESSION << 2 + number)
            for number, feature in enumerate(LATEST_TEXTS)
            if feature in features
        ]
        self.features = [feature for feature, _, _ in self._wanted]

    def __bool__(self) -> bool:
        return bool(self._wanted)

    def update(self, latest: LatestContext, event: Event) -> int:
        """Keep the texts of an event; returns flags for what it carries, consent among it."""
        flags = 0 if event.consent is None else layout.BEGINS_SESSION << 1
        for feature, text_of, flag in self._wanted:
            if text := text_of(event):
                if latest.get(feature, (0, "")) < (event.event_ts, text):
                    latest[feature] = (event.event_ts, text)
                flags |= flag
        return flags

    def update_all(
        self, latest: Iterable[LatestContext], events: Iterable[Event]
    ) -> tuple[list[int], list[tuple[str, ...]]]:
        """Keep the texts of events in order; for each event its flags, and the texts that then hold."""
        flags, texts = [], []
        for own, event in zip(latest, events, strict=True):
            flags.append(self.update(own, event))
            texts.append(tuple([own.get(name, _UNKNOWN)[1] for name, _, _ in self._wanted]))
        return flags, texts
