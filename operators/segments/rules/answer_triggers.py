"""Which events may change the answer to a condition on a feature, so that no rule is asked in vain."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from operators.segments.rules.features import (
    AGE_FEATURES,
    NUMBER_FEATURES,
    SESSION_FEATURES,
    SESSION_START,
    TEXT_FEATURES,
)
from operators.shoppers import profile
from state.shopper import INTENTS

if TYPE_CHECKING:
    from operators.segments.rules.quantities import Bounds


class AnswerTrigger(NamedTuple):
    """Events that may change an answer, and to what only (None: to yes and to no).

    With `thresholds`, only an event that makes the feature equal to one of these numbers may change it.
    """

    event_types: tuple[str, ...]
    new_answer: bool | None
    thresholds: tuple[int, ...] = ()


def intent_triggers(values: tuple[str, ...]) -> list[AnswerTrigger]:
    """What may change whether a session's intent, which never falls, is one of these."""
    event_types = tuple(
        name
        for name, highest in profile.INTENT_OF_TYPE.items()
        if len({INTENTS[intent] in values for intent in range(highest + 1)}) > 1
    )
    return [AnswerTrigger(event_types, None), AnswerTrigger((SESSION_START,), None)]


def feature_triggers(feature: str, bounds: Bounds | None, is_positive: bool) -> list[AnswerTrigger]:
    """What may change whether a feature is within bounds; `is_positive` is False below a `not`."""
    never_decreases, counts_events = False, False
    if feature in AGE_FEATURES:
        never_decreases = feature == "first_seen_days"
        event_types = AGE_FEATURES[feature].changed_by
    elif feature in SESSION_FEATURES:
        _, _, event_types, _, never_decreases, counts_events = SESSION_FEATURES[feature]
    elif feature in NUMBER_FEATURES:
        _, _, event_types, _, never_decreases, counts_events = NUMBER_FEATURES[feature]
    else:
        event_types = TEXT_FEATURES[feature].changed_by
    new_answer: bool | None = None
    if bounds is not None and (bounds.low is None) is not (bounds.high is None):
        if feature == "last_seen_days":  # an event makes it 0
            new_answer = is_positive is (bounds.low is None)
        elif never_decreases:
            new_answer = is_positive is (bounds.high is None)
    thresholds: tuple[int, ...] = ()
    if counts_events and bounds is not None:
        edges = (bounds.low, None if bounds.high is None else bounds.high + 1)
        thresholds = tuple(edge for edge in edges if edge is not None)
    triggers = [AnswerTrigger(event_types, new_answer, thresholds)]
    if feature in SESSION_FEATURES:
        triggers.append(AnswerTrigger((SESSION_START,), None))
    return triggers
