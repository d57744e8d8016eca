"""Consent: what a shopper refuses as of an event, and what has to be done about it.

Whose statement is newest holds, of two at the same time the stricter, over all ids that turn out to be
one shopper. Who refuses analytics has no row but for that statement; with it later events are told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from state import keys
from state.shopper import ALL, ANALYTICS, PERSONALIZATION, PURPOSES, Shopper
from state.times import DAY_MS

if TYPE_CHECKING:
    from operators.shards.processor import Shoppers
    from state.config import Privacy, Unasked, UnaskedThere
    from state.events import Event
    from state.messages import Move
    from state.shopper import Consents, Refused

BITS = tuple(PURPOSES.values())
NOT_ASKED: Consents = (0, None, None, None)


class Policy:
    """What is refused, as bits: by a statement, and by who has not been asked.

    `denies` is whether anybody is refused anything unasked.
    """

    def __init__(self, privacy: Privacy) -> None:
        self._unasked = _denied(privacy.unknown)
        self._by_country = {
            country.casefold(): _denied(there, privacy.unknown)
            for country, there in privacy.by_country.items()
        }
        self.denies = any((self._unasked, *self._by_country.values()))

    def refused(self, consent: Consents, country: str | None) -> int:
        """The purposes that are refused; without analytics there are no others.

        >>> from state.config import Privacy, UnaskedThere
        >>> policy = Policy(Privacy(by_country={"DE": UnaskedThere(ads="deny")}))
        >>> policy.refused((5, True, False, None), "fr"), policy.refused((0, None, None, None), "de")
        (2, 4)
        >>> policy.refused((5, False, True, True), None)
        7
        """
        unasked = self._unasked
        if country and self._by_country:
            unasked = self._by_country.get(country.casefold(), unasked)
        refused = 0
        for bit, answer in zip(BITS, consent[1:], strict=True):
            if answer is False or (answer is None and unasked & bit):
                refused |= bit
        return ALL if refused & ANALYTICS else refused


def _denied(said: Unasked | UnaskedThere, otherwise: Unasked | None = None) -> int:
    refused = 0
    for name, bit in PURPOSES.items():
        answer = getattr(said, name) or getattr(otherwise, name)
        refused |= bit if answer == "deny" else 0
    return refused


def newer(one: Consents, other: Consents) -> Consents:
    """The newer of two statements; of two at the same time, for each purpose a no before a yes."""
    if one[0] != other[0]:
        return one if one[0] > other[0] else other
    analytics, personalization, ads = map(_stricter, one[1:], other[1:])
    return one[0], analytics, personalization, ads


def _stricter(one: bool | None, other: bool | None) -> bool | None:
    if one is None or other is None:
        return other if one is None else one
    return one and other


def stated(before: Consents, event: Event) -> Consents:
    """What holds after an event."""
    said = event.consent
    if said is None:
        return before
    return newer(before, (event.event_ts, said.analytics, said.personalization, said.ads))


def heed(shoppers: Shoppers, name: str, event: Event, *, known: bool) -> int:
    """Act on what a shopper refuses as of an event; the purposes it may not be used for.

    What happened up to a refusal may not be used later either, however late it comes. Without
    analytics the event is withheld, and nothing is left of the shopper but the statement.
    """
    shopper, policy, at_ms = shoppers.rows.get(name), shoppers.rules.consent, event.event_ts
    before = NOT_ASKED if shopper is None else shopper.consent
    now = stated(before, event)
    refused = policy.refused(now, event.country)
    refused_ms = _refused_ms((0, 0, 0) if shopper is None else shopper.refused_ms, event)
    too_early = sum(bit for bit, ms in zip(BITS, refused_ms, strict=True) if at_ms <= ms)
    if (refused | too_early) & ANALYTICS:
        shoppers.totals.withheld += 1
        if refused & ANALYTICS and shopper is not None and shopper.events:
            shoppers.withdraw(name, at_ms)
        _remember(shoppers, name, known, at_ms, (now, refused, refused_ms))
        if known and event.anonymous_id is not None and refused & ANALYTICS:
            shoppers.hide_alias(event.anonymous_id)
        return ALL
    if shopper is None or not shopper.events:
        shopper = shoppers.begin_shopper(name, at_ms, known=known)
        if known and event.anonymous_id is not None and before[0]:
            shoppers.show_alias(name, event.anonymous_id)
    else:
        if newly := refused & ~shopper.refused:
            decline(shoppers, name, shopper, newly, at_ms)
        if shopper.refused and not refused:
            shoppers.out.writes.append(("HDEL", keys.profile_key(name), "refused"))
    shopper.consent, shopper.refused, shopper.refused_ms = now, refused, refused_ms
    return refused | too_early


def _refused_ms(before: Refused, event: Event) -> Refused:
    """When each purpose was refused last."""
    said = event.consent
    if said is None:
        return before
    answers = zip(before, (said.analytics, said.personalization, said.ads), strict=True)
    first, second, third = (
        max(ms, event.event_ts) if answer is False else ms for ms, answer in answers
    )
    return first, second, third


def _remember(
    shoppers: Shoppers,
    name: str,
    known: bool,
    at_ms: int,
    said: tuple[Consents, int, Refused],
) -> None:
    """Keep the statement by which a shopper is withheld, if there is one, as long as it is needed."""
    shopper = shoppers.rows.get(name)
    if not said[0][0]:
        return
    if shopper is None:
        shopper = shoppers.rows[name] = Shopper(known, at_ms, at_ms)
        shoppers.idle.add(name, at_ms)
    elif (shopper.consent, shopper.refused, shopper.refused_ms) == said and (
        at_ms // DAY_MS <= shopper.last_ms // DAY_MS
    ):
        return
    elif not shopper.events:
        shopper.last_ms = max(shopper.last_ms, at_ms)
        shoppers.idle.add(name, shopper.last_ms)
    shopper.consent, shopper.refused, shopper.refused_ms = said
    shoppers.changed.add(name)


def decline(shoppers: Shoppers, name: str, shopper: Shopper, newly: int, at_ms: int) -> None:
    """A shopper who goes on being counted withdraws purposes: what the batch tells is not for them."""
    shoppers.leave_untold()
    out = shoppers.out
    own = [one for one in out.clicks if one[1] == name]
    out.clicks = [one for one in out.clicks if one[1] != name]
    out.limited = [(bits | newly if one[1] == name else bits, one) for bits, one in out.limited]
    out.limited += [(newly, one) for one in own]
    if newly & PERSONALIZATION:
        out.signals = [one for one in out.signals if one[1] != name]
        out.heard = [one for one in out.heard if name not in (one.shopper, one.heir)]
        for session in shopper.open:
            out.withdrawn += session.marks()
            session.decided = b""
    out.declined.append((name, newly, at_ms))
    shoppers.touch(name)


def may_join(shoppers: Shoppers, move: Move, event: Event | None) -> bool:
    """Whether a shopper is added to the user it turned out to be, at an event of that user.

    If not, the statement is all that joins: what either said holds for both.
    """
    name, other, policy = move.shopper, move.state, shoppers.rules.consent
    shopper = shoppers.rows.get(name)
    now = other.consent if shopper is None else newer(shopper.consent, other.consent)
    said = None if event is None else event.consent
    if not (now[0] or policy.denies or said is not None):
        return True
    country = None if event is None else event.country
    is_refused = policy.refused(now if event is None else stated(now, event), country) & ANALYTICS
    if other.events:
        if not is_refused:
            return True
        shoppers.drop(move)
        if move.anonymous_id == name:
            shoppers.erase(name, move.at_ms)
    if shopper is None and other.consent[0]:
        shopper = shoppers.rows[name] = Shopper(True, move.at_ms, move.at_ms)
        shoppers.idle.add(name, move.at_ms)
    if shopper is not None:
        join(shopper, other)
        shoppers.changed.add(name)
    return False


def join(shopper: Shopper, other: Shopper) -> None:
    """Of two that are one the newer statement holds."""
    own, theirs = shopper.consent[0], other.consent[0]
    if own <= theirs:
        shopper.refused = other.refused | (shopper.refused if own == theirs else 0)
    shopper.consent = newer(shopper.consent, other.consent)
    first, second, third = map(max, shopper.refused_ms, other.refused_ms)
    shopper.refused_ms = first, second, third
