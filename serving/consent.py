"""Who may be handed on: what leaves the house of a shopper is ads, and needs that consent."""

from __future__ import annotations

CONSENT_FIELDS = ("refused", "consent", "last_ms")
"""What of a profile decides: what is refused as of the last event, the last statement, the profile."""
ADS = "ads"


def may_be_exported(profile: dict[str, str], consent_default: str) -> bool:
    """Whether a shopper does not refuse ads; `consent_default` is `allow` or `deny`, for one
    without a profile.

    >>> may_be_exported({"refused": "ads", "consent": "analytics=1,personalization=1,ads=0"}, "allow")
    False
    >>> may_be_exported({"last_ms": "5"}, "deny"), may_be_exported({}, "deny")
    (True, False)
    """
    if not profile:
        return consent_default == "allow"
    # Profiles of former releases say nothing of what is refused.
    is_refused = f"{ADS}=0" in profile.get("consent", "").split(",")
    return not is_refused and ADS not in profile.get("refused", "").split(",")
