"""Acts on consent in a shard: withholds events, forgets shoppers, takes back what was put out.

Which purposes a statement refuses is decided in `shoppers.consent`. A shopper who refuses analytics has
no row but for the statement, by which later events are withheld.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from operators.shards.aliases import delete_alias, restore_alias
from operators.shards.removal import drop_transfer, erase, withdraw_analytics
from operators.shoppers.consent import (
    NO_STATEMENT,
    last_refused_ms,
    merge_consent,
    newer_statement,
    refused_retroactively,
    statement_after,
)
from state import keys
from state.entries import ConsentWithdrawal, LimitedInteraction
from state.shopper import ALL_PURPOSES, ANALYTICS, PERSONALIZATION, Shopper
from state.times import DAY_MS

if TYPE_CHECKING:
    from operators.shards.shard_shoppers import ShardShoppers
    from state.events import Event
    from state.messages import StateTransfer
    from state.shopper import ConsentStatement, RefusalTimes


class _Consent(NamedTuple):
    """What a row keeps: the statement, what it refuses, and when each purpose was refused last."""

    statement: ConsentStatement
    refused: int
    refused_ms: RefusalTimes


def apply_consent(shoppers: ShardShoppers, shopper_id: str, event: Event, *, known: bool) -> int:
    """Act on what a shopper refuses as of an event; the purposes that the event may not serve.

    What happened up to a refusal may not be used later either, however late it comes. Without
    analytics the event is withheld, and nothing is left of the shopper but the statement.
    """
    shopper, at_ms = shoppers.rows.get(shopper_id), event.event_ts
    previous = NO_STATEMENT if shopper is None else shopper.consent
    statement = statement_after(previous, event)
    refused = shoppers.config.consent_policy.refused_purposes(statement, event.country)
    refused_ms = last_refused_ms((0, 0, 0) if shopper is None else shopper.refused_ms, event)
    not_for = refused | refused_retroactively(refused_ms, at_ms)
    consent = _Consent(statement, refused, refused_ms)
    if not_for & ANALYTICS:
        shoppers.totals.withheld += 1
        if refused & ANALYTICS and shopper is not None and shopper.events:
            withdraw_analytics(shoppers, shopper_id, at_ms)
        # After the removal, which takes out the row that the statement is kept in.
        _store_statement(shoppers, shopper_id, consent, at_ms, known=known)
        if known and event.anonymous_id is not None and refused & ANALYTICS:
            delete_alias(shoppers, event.anonymous_id)
        return ALL_PURPOSES
    if shopper is None or not shopper.events:
        shopper = shoppers.add_shopper(shopper_id, at_ms, known=known)
        if known and event.anonymous_id is not None and previous[0]:
            restore_alias(shoppers, shopper_id, event.anonymous_id)
    else:
        if newly_refused := refused & ~shopper.refused:
            withdraw_purposes(shoppers, shopper_id, shopper, newly_refused, at_ms)
        if shopper.refused and not refused:
            shoppers.output.writes.append(("HDEL", keys.profile_key(shopper_id), "refused"))
    shopper.consent, shopper.refused, shopper.refused_ms = consent
    return not_for


def _store_statement(
    shoppers: ShardShoppers, shopper_id: str, consent: _Consent, at_ms: int, *, known: bool
) -> None:
    """Keep the statement by which a shopper is withheld, if there is one, as long as it is needed."""
    shopper = shoppers.rows.get(shopper_id)
    if not consent.statement[0]:
        return
    if shopper is None:
        shopper = shoppers.rows[shopper_id] = Shopper(known, at_ms, at_ms)
        shoppers.idle.add(shopper_id, at_ms)
    elif (shopper.consent, shopper.refused, shopper.refused_ms) == consent and (
        at_ms // DAY_MS <= shopper.last_ms // DAY_MS
    ):
        return
    elif not shopper.events:
        shopper.last_ms = max(shopper.last_ms, at_ms)
        shoppers.idle.add(shopper_id, shopper.last_ms)
    shopper.consent, shopper.refused, shopper.refused_ms = consent
    shoppers.dirty_names.add(shopper_id)
    shoppers.refresh_rules(shopper_id, shopper)


def withdraw_purposes(
    shoppers: ShardShoppers, shopper_id: str, shopper: Shopper, purposes: int, at_ms: int
) -> None:
    """Act on a shopper that still counts and refuses more purposes: the output no longer serves them."""
    # First: what belongs to a shopper that was removed earlier in the batch is not this shopper's.
    shoppers.apply_retractions()
    output = shoppers.output
    own = [entry for entry in output.interactions if entry.shopper == shopper_id]
    output.interactions = [entry for entry in output.interactions if entry.shopper != shopper_id]
    output.limited_interactions = [
        replace(entry, refused=entry.refused | purposes)
        if entry.interaction.shopper == shopper_id
        else entry
        for entry in output.limited_interactions
    ]
    output.limited_interactions += [LimitedInteraction(purposes, entry) for entry in own]
    if purposes & PERSONALIZATION:
        output.feedback = [entry for entry in output.feedback if entry.shopper != shopper_id]
        output.observations = [
            observation
            for observation in output.observations
            if shopper_id not in (observation.shopper, observation.merged_into)
        ]
        for session in shopper.open_sessions:
            output.withdrawn_decisions += session.decision_hashes()
            session.decisions = b""
    output.consent_withdrawals.append(ConsentWithdrawal(shopper_id, purposes, at_ms))
    shoppers.mark_active(shopper_id)


def may_merge(shoppers: ShardShoppers, transfer: StateTransfer, event: Event | None) -> bool:
    """Whether a shopper is merged into the user it turned out to be, at an event of that user.

    If not, only its statement is merged: what either said holds for both.
    """
    user_id, other, policy = transfer.shopper, transfer.state, shoppers.config.consent_policy
    shopper = shoppers.rows.get(user_id)
    statement = (
        other.consent if shopper is None else newer_statement(shopper.consent, other.consent)
    )
    event_consent = None if event is None else event.consent
    if not (statement[0] or policy.denies_by_default or event_consent is not None):
        return True
    country = None if event is None else event.country
    if event is not None:
        statement = statement_after(statement, event)
    if other.events:
        if not policy.refused_purposes(statement, country) & ANALYTICS:
            return True
        drop_transfer(shoppers, transfer)
        if transfer.anonymous_id == user_id:
            erase(shoppers, user_id, transfer.at_ms)
    if shopper is None and other.consent[0]:
        shopper = shoppers.rows[user_id] = Shopper(True, transfer.at_ms, transfer.at_ms)
        shoppers.idle.add(user_id, transfer.at_ms)
    if shopper is not None:
        merge_consent(shopper, other)
        shoppers.dirty_names.add(user_id)
        shoppers.refresh_rules(user_id, shopper)
    return False
