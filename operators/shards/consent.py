"""Consent: what a shopper refuses as of an event, and what has to be done about it.

Whose statement is newest holds, of two at the same time the stricter, over all ids that turn out to be
one shopper. Who refuses analytics has no row but for that statement; with it later events are told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from state import keys
from state.shopper import ALL_PURPOSES, ANALYTICS, PERSONALIZATION, PURPOSES, Shopper
from state.times import DAY_MS

if TYPE_CHECKING:
    from operators.shards.processor import ShopperProcessor
    from state.config import Privacy, UnknownConsent, UnknownConsentInCountry
    from state.events import Event
    from state.messages import StateTransfer
    from state.shopper import ConsentStatement, RefusalTimes

PURPOSE_BITS = tuple(PURPOSES.values())
NO_STATEMENT: ConsentStatement = (0, None, None, None)


class ConsentPolicy:
    """What is refused, as bits: by a statement, and by who has not been asked.

    `denies_by_default` is whether anybody is refused anything unasked.
    """

    def __init__(self, privacy: Privacy) -> None:
        self._denied_by_default = _denied_purposes(privacy.unknown)
        self._by_country = {
            country.casefold(): _denied_purposes(country_rules, privacy.unknown)
            for country, country_rules in privacy.by_country.items()
        }
        self.denies_by_default = any((self._denied_by_default, *self._by_country.values()))

    def refused_purposes(self, consent: ConsentStatement, country: str | None) -> int:
        """The purposes that are refused; without analytics there are no others.

        >>> from state.config import Privacy, UnknownConsentInCountry
        >>> policy = ConsentPolicy(Privacy(by_country={"DE": UnknownConsentInCountry(ads="deny")}))
        >>> policy.refused_purposes((5, True, False, None), "fr")
        2
        >>> policy.refused_purposes((0, None, None, None), "de")
        4
        >>> policy.refused_purposes((5, False, True, True), None)
        7
        """
        denied_by_default = self._denied_by_default
        if country and self._by_country:
            denied_by_default = self._by_country.get(country.casefold(), denied_by_default)
        refused = 0
        for bit, answer in zip(PURPOSE_BITS, consent[1:], strict=True):
            if answer is False or (answer is None and denied_by_default & bit):
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
    """The newer of two statements; of two at the same time, for each purpose a no before a yes."""
    if statement[0] != other[0]:
        return statement if statement[0] > other[0] else other
    analytics, personalization, ads = map(_stricter_answer, statement[1:], other[1:])
    return statement[0], analytics, personalization, ads


def _stricter_answer(answer: bool | None, other: bool | None) -> bool | None:
    if answer is None or other is None:
        return other if answer is None else answer
    return answer and other


def statement_after(previous: ConsentStatement, event: Event) -> ConsentStatement:
    """What holds after an event."""
    event_consent = event.consent
    if event_consent is None:
        return previous
    return newer_statement(
        previous,
        (event.event_ts, event_consent.analytics, event_consent.personalization, event_consent.ads),
    )


def apply_consent(shoppers: ShopperProcessor, shopper_id: str, event: Event, *, known: bool) -> int:
    """Act on what a shopper refuses as of an event; the purposes it may not be used for.

    What happened up to a refusal may not be used later either, however late it comes. Without
    analytics the event is withheld, and nothing is left of the shopper but the statement.
    """
    shopper, policy, at_ms = (
        shoppers.rows.get(shopper_id),
        shoppers.config.consent_policy,
        event.event_ts,
    )
    previous = NO_STATEMENT if shopper is None else shopper.consent
    statement = statement_after(previous, event)
    refused = policy.refused_purposes(statement, event.country)
    refused_ms = _last_refused_ms((0, 0, 0) if shopper is None else shopper.refused_ms, event)
    refused_retroactively = sum(
        bit for bit, ms in zip(PURPOSE_BITS, refused_ms, strict=True) if at_ms <= ms
    )
    if (refused | refused_retroactively) & ANALYTICS:
        shoppers.totals.withheld += 1
        if refused & ANALYTICS and shopper is not None and shopper.events:
            shoppers.withdraw_analytics(shopper_id, at_ms)
        _store_statement(shoppers, shopper_id, known, at_ms, (statement, refused, refused_ms))
        if known and event.anonymous_id is not None and refused & ANALYTICS:
            shoppers.delete_alias(event.anonymous_id)
        return ALL_PURPOSES
    if shopper is None or not shopper.events:
        shopper = shoppers.add_shopper(shopper_id, at_ms, known=known)
        if known and event.anonymous_id is not None and previous[0]:
            shoppers.emit_alias(shopper_id, event.anonymous_id)
    else:
        if newly_refused := refused & ~shopper.refused:
            withdraw_purposes(shoppers, shopper_id, shopper, newly_refused, at_ms)
        if shopper.refused and not refused:
            shoppers.output.writes.append(("HDEL", keys.profile_key(shopper_id), "refused"))
    shopper.consent, shopper.refused, shopper.refused_ms = statement, refused, refused_ms
    return refused | refused_retroactively


def _last_refused_ms(previous: RefusalTimes, event: Event) -> RefusalTimes:
    """When each purpose was refused last."""
    event_consent = event.consent
    if event_consent is None:
        return previous
    answers = zip(
        previous,
        (event_consent.analytics, event_consent.personalization, event_consent.ads),
        strict=True,
    )
    first, second, third = (
        max(ms, event.event_ts) if answer is False else ms for ms, answer in answers
    )
    return first, second, third


def _store_statement(
    shoppers: ShopperProcessor,
    shopper_id: str,
    known: bool,
    at_ms: int,
    statement: tuple[ConsentStatement, int, RefusalTimes],
) -> None:
    """Keep the statement by which a shopper is withheld, if there is one, as long as it is needed."""
    shopper = shoppers.rows.get(shopper_id)
    if not statement[0][0]:
        return
    if shopper is None:
        shopper = shoppers.rows[shopper_id] = Shopper(known, at_ms, at_ms)
        shoppers.idle.add(shopper_id, at_ms)
    elif (shopper.consent, shopper.refused, shopper.refused_ms) == statement and (
        at_ms // DAY_MS <= shopper.last_ms // DAY_MS
    ):
        return
    elif not shopper.events:
        shopper.last_ms = max(shopper.last_ms, at_ms)
        shoppers.idle.add(shopper_id, shopper.last_ms)
    shopper.consent, shopper.refused, shopper.refused_ms = statement
    shoppers.dirty_names.add(shopper_id)


def withdraw_purposes(
    shoppers: ShopperProcessor, shopper_id: str, shopper: Shopper, purposes: int, at_ms: int
) -> None:
    """A shopper who goes on being counted withdraws purposes: what the batch tells is not for them."""
    shoppers.apply_retractions()
    output = shoppers.output
    own_clicks = [one for one in output.interactions if one[1] == shopper_id]
    output.interactions = [one for one in output.interactions if one[1] != shopper_id]
    output.limited_interactions = [
        (bits | purposes if one[1] == shopper_id else bits, one)
        for bits, one in output.limited_interactions
    ]
    output.limited_interactions += [(purposes, one) for one in own_clicks]
    if purposes & PERSONALIZATION:
        output.feedback = [one for one in output.feedback if one[1] != shopper_id]
        output.observations = [
            one for one in output.observations if shopper_id not in (one.shopper, one.merged_into)
        ]
        for session in shopper.open_sessions:
            output.withdrawn_decisions += session.decision_hashes()
            session.decisions = b""
    output.consent_withdrawals.append((shopper_id, purposes, at_ms))
    shoppers.mark_active(shopper_id)


def may_merge(shoppers: ShopperProcessor, transfer: StateTransfer, event: Event | None) -> bool:
    """Whether a shopper is added to the user it turned out to be, at an event of that user.

    If not, the statement is all that joins: what either said holds for both.
    """
    shopper_id, other, policy = transfer.shopper, transfer.state, shoppers.config.consent_policy
    shopper = shoppers.rows.get(shopper_id)
    statement = (
        other.consent if shopper is None else newer_statement(shopper.consent, other.consent)
    )
    event_consent = None if event is None else event.consent
    if not (statement[0] or policy.denies_by_default or event_consent is not None):
        return True
    country = None if event is None else event.country
    is_refused = (
        policy.refused_purposes(
            statement if event is None else statement_after(statement, event), country
        )
        & ANALYTICS
    )
    if other.events:
        if not is_refused:
            return True
        shoppers.drop_transfer(transfer)
        if transfer.anonymous_id == shopper_id:
            shoppers.erase(shopper_id, transfer.at_ms)
    if shopper is None and other.consent[0]:
        shopper = shoppers.rows[shopper_id] = Shopper(True, transfer.at_ms, transfer.at_ms)
        shoppers.idle.add(shopper_id, transfer.at_ms)
    if shopper is not None:
        merge_consent(shopper, other)
        shoppers.dirty_names.add(shopper_id)
    return False


def merge_consent(shopper: Shopper, other: Shopper) -> None:
    """Of two that are one the newer statement holds."""
    own, theirs = shopper.consent[0], other.consent[0]
    if own <= theirs:
        shopper.refused = other.refused | (shopper.refused if own == theirs else 0)
    shopper.consent = newer_statement(shopper.consent, other.consent)
    first, second, third = map(max, shopper.refused_ms, other.refused_ms)
    shopper.refused_ms = first, second, third
