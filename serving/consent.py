"""Which shoppers may be exported: an export to another system needs consent to ads."""

from __future__ import annotations

CONSENT_FIELDS = ("refused", "consent", "last_ms")
"""Profile fields that decide: refused purposes, last consent, a field of every profile."""
ADS = "ads"


def may_be_exported(profile: dict[str, str], consent_default: str) -> bool:
    """Whether a shopper may be exported, that is, does not refuse ads.

    `consent_default` is `allow` or `deny`, for a shopper without a profile.


    >>> may_be_exported({"refused": "ads", "consent": "analytics=1,personalization=1,ads=0"}, "allow")
    False
    >>> may_be_exported({"last_ms": "5"}, "deny"), may_be_exported({}, "deny")
    (True, False)
    """
    if not profile:
        return consent_default == "allow"
    # Profiles of older releases lack the field `refused`.
    is_refused = f"{ADS}=0" in profile.get("consent", "").split(",")
    return not is_refused and ADS not in profile.get("refused", "").split(",")
