"""A row of Google Analytics' export to BigQuery, as far as it is looked at."""

from __future__ import annotations

import msgspec

from operators.readers.fast.ga4_items import Ga4Line

Whole = int | str | None
"""A whole number: a text in most exports."""


class RowValue(msgspec.Struct, gc=False):
    """The value of a parameter: one of these."""

    string_value: str | None = None
    int_value: Whole = None
    float_value: float | None = None
    double_value: float | None = None


class RowParam(msgspec.Struct, gc=False):
    """A parameter."""

    key: str
    value: RowValue | None = None


class RowEcommerce(msgspec.Struct, gc=False):
    """An order."""

    transaction_id: str | None = None
    purchase_revenue: float | None = None


class RowDevice(msgspec.Struct, gc=False):
    """The device."""

    category: str | None = None


class RowPlace(msgspec.Struct, gc=False):
    """Where the shopper is."""

    country: str | None = None


class RowPrivacy(msgspec.Struct, gc=False):
    """What the shopper agreed to."""

    analytics_storage: str | None = None
    ads_storage: str | None = None


class RowTraffic(msgspec.Struct, gc=False):
    """The first campaign of the shopper."""

    name: str | None = None
    source: str | None = None
    medium: str | None = None
    term: str | None = None
    content: str | None = None


class RowCollected(msgspec.Struct, gc=False):
    """The campaign of the event."""

    manual_campaign_name: str | None = None
    manual_source: str | None = None
    manual_medium: str | None = None
    manual_term: str | None = None
    manual_content: str | None = None


class ExportRow(msgspec.Struct, gc=False):
    """A row."""

    event_name: str
    event_timestamp: Whole = None
    event_params: list[RowParam] | None = None
    items: list[Ga4Line] | None = None
    user_pseudo_id: str | None = None
    user_id: str | None = None
    event_bundle_sequence_id: Whole = None
    batch_page_id: Whole = None
    batch_ordering_id: Whole = None
    batch_event_index: Whole = None
    ecommerce: RowEcommerce | None = None
    device: RowDevice | None = None
    geo: RowPlace | None = None
    privacy_info: RowPrivacy | None = None
    traffic_source: RowTraffic | None = None
    collected_traffic_source: RowCollected | None = None
