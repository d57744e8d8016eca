"""Consent: which purposes a shopper's newest statement refuses.

The newest statement holds, of two at the same time the stricter, over all ids that turn out to be one
shopper. Pure functions on statements and rows; what follows from a refusal is in `shards.consent`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from state.shopper import ALL_PURPOSES, ANALYTICS, PERSONALIZATION, PURPOSES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from state.config import Privacy, UnknownConsent, UnknownConsentInCountry
    from state.events import Event
    from state.shopper import ConsentStatement, RefusalTimes, Shopper

_PURPOSE_BITS = tuple(PURPOSES.values())
NO_STATEMENT: ConsentStatement = (0, None, None, None)


def personalized_indexes(refused: Sequence[int]) -> NDArray[np.intp]:
    """The indexes of the shoppers who do not refuse personalization, by the purposes each refuses."""
    if not any(refused):
        return np.arange(len(refused))
    return np.flatnonzero(np.array(refused) & PERSONALIZATION == 0)


class ConsentPolicy:
    """The shop's policy: what counts as refused by a shopper who was not asked, by country.

    `denies_by_default` is whether anybody is refused anything without having been asked.
    """

    def __init__(self, privacy: Privacy) -> None:
        self._denied_by_default = _denied_purposes(privacy.unknown)
        self._by_country = {
            country.casefold(): _denied_purposes(rules, privacy.unknown)
            for country, rules in privacy.by_country.items()
        }
        self.denies_by_default = any((self._denied_by_default, *self._by_country.values()))

    def refused_purposes(self, statement: ConsentStatement, country: str | None) -> int:
        """The purposes that are refused, as bits. Without analytics all are.

        >>> from state.config import Privacy, UnknownConsentInCountry
        >>> policy = ConsentPolicy(Privacy(by_country={"DE": UnknownConsentInCountry(ads="deny")}))
        >>> policy.refused_purposes((5, True, False, None), "fr")
        2
        >>> policy.refused_purposes((0, None, None, None), "de")
        4
        >>> policy.refused_purposes((5, False, True, True), None)
        7
        """
        denied = self._denied_by_default
        if country and self._by_country:
            denied = self._by_country.get(country.casefold(), denied)
        refused = 0
        for bit, answer in zip(_PURPOSE_BITS, statement[1:], strict=True):
            if answer is False or (answer is None and denied & bit):
                refused |= bit
        return ALL_PURPOSES if refused & ANALYTICS else refused


def _denied_purposes(
    answers: UnknownConsent | UnknownConsentInCountry, fallback: UnknownConsent | None = None
) -> int:
    denied = 0
    for name, bit in PURPOSES.items():
        answer = getattr(answers, name) or getattr(fallback, name)
        denied |= bit if answer == "deny" else 0
    return denied


def newer_statement(statement: ConsentStatement, other: ConsentStatement) -> ConsentStatement:
    """The newer of two statements; of two at the same time, a no before a yes for each purpose.

    >>> newer_statement((5, True, True, None), (5, None, False, None))
    (5, True, False, None)
    """
    if statement[0] != other[0]:
        return statement if statement[0] > other[0] else other
    analytics, personalization, ads = map(_stricter_answer, statement[1:], other[1:])
    return statement[0], analytics, personalization, ads


def _stricter_answer(answer: bool | None, other: bool | None) -> bool | None:
    if answer is None or other is None:
        return other if answer is None else answer
    return answer and other


def statement_after(previous: ConsentStatement, event: Event) -> ConsentStatement:
    """The statement that holds after an event."""
    stated = event.consent
    if stated is None:
        return previous
    return newer_statement(
        previous, (event.event_ts, stated.analytics, stated.personalization, stated.ads)
    )


def last_refused_ms(previous: RefusalTimes, event: Event) -> RefusalTimes:
    """When each purpose was refused last, after an event."""
    stated = event.consent
    if stated is None:
        return previous
    answers = zip(previous, (stated.analytics, stated.personalization, stated.ads), strict=True)
    analytics_ms, personalization_ms, ads_ms = (
        max(ms, event.event_ts) if answer is False else ms for ms, answer in answers
    )
    return analytics_ms, personalization_ms, ads_ms


def refused_retroactively(refused_ms: RefusalTimes, at_ms: int) -> int:
    """The purposes that were refused at or after a time: what happened then may not serve them."""
    return sum(bit for bit, ms in zip(_PURPOSE_BITS, refused_ms, strict=True) if at_ms <= ms)


def merge_consent(shopper: Shopper, other: Shopper) -> None:
    """Of two shoppers that are one, the newer statement holds."""
    own_ms, other_ms = shopper.consent[0], other.consent[0]
    if own_ms <= other_ms:
        shopper.refused = other.refused | (shopper.refused if own_ms == other_ms else 0)
    shopper.consent = newer_statement(shopper.consent, other.consent)
    analytics_ms, personalization_ms, ads_ms = map(max, shopper.refused_ms, other.refused_ms)
    shopper.refused_ms = analytics_ms, personalization_ms, ads_ms
