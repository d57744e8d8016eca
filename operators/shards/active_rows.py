"""What is published of shoppers that are rows of the table: profile, newest session, feature row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from operators.kernels import fold as kernels
from operators.kernels import shopper_columns as c
from operators.shards.rare_fields import NOTHING
from operators.shoppers.profile_changes import Written
from state.shopper import Session, Shopper

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from operators.kernels.shopper_columns import Reals, Table
    from operators.shards.rare_fields import Rare
    from operators.tables.texts import TextPool

_SHARE = 12
"""The column of a feature row with the share of the top category."""


def written_before(columns: Sequence[int], currency: str) -> Written:
    """What Redis holds of a shopper, by its columns before the batch (`BEFORE_COLUMNS`)."""
    session = columns[c.PROFILE_COLUMNS :]
    return Written(
        bool(columns[c.KNOWN]),
        columns[c.FIRST_MS],
        columns[c.LAST_MS],
        columns[c.VIEWS],
        columns[c.CARTS],
        (
            columns[c.PURCHASES],
            columns[c.UNITS],
            columns[c.REVENUE_MICROS],
            columns[c.UNCONVERTED_ORDERS],
            columns[c.LAST_PURCHASE_MS],
            currency,
        ),
        (columns[c.VIEWED_PRICE_MICROS], columns[c.VIEWED_PRICES]),
        columns[c.SESSIONS],
        columns[c.SESSION_MS],
        columns[c.SESSION_EVENTS],
        (
            session[c.START_MS],
            session[c.END_MS],
            session[c.SESSION_VIEWS],
            session[c.SESSION_CARTS],
            session[c.SESSION_PURCHASES],
            session[c.CART_MICROS],
            session[c.INTENT],
        )
        if columns[c.OPEN_SESSIONS]
        else None,
    )


class ActiveRows(NamedTuple):
    """Shoppers by id, each with its place in the columns."""

    places: Mapping[str, int]
    columns: list[list[int]]
    sessions: list[list[Any]]
    features: Reals
    categories: list[str]
    currencies: list[str]
    rare: list[Rare]

    @classmethod
    def of(
        cls, table: Table, rows: Mapping[str, int], texts: TextPool, rare: Mapping[int, Rare]
    ) -> ActiveRows:
        """The shoppers of some rows."""
        counters, sessions, _, _, _, _, _, _, _ = table
        row_numbers = np.array([*rows.values()], np.int64)
        features = np.empty((len(rows), c.FEATURE_COLUMNS))
        categories = np.empty(len(rows), np.int64)
        kernels.write_active(table, row_numbers, features, categories)
        columns = counters[row_numbers, : c.SESSIONS_AT + 1]
        newest = columns[:, c.SESSIONS_AT] + columns[:, c.OPEN_SESSIONS] - 1
        text_of = texts.text_of
        return cls(
            {name: place for place, name in enumerate(rows)},
            columns.tolist(),
            sessions[np.maximum(newest, 0), : c.DECISIONS].tolist(),
            features,
            [text_of[code] for code in categories.tolist()],
            [text_of[code] for code in columns[:, c.CURRENCY].tolist()],
            [rare.get(row, NOTHING) for row in rows.values()],
        )

    def shopper(self, place: int) -> Shopper:
        """As much of a shopper as is published, with its newest session."""
        columns: list[Any] = self.columns[place]
        rare, session = self.rare[place], self.sessions[place]
        shopper = Shopper(*columns[: c.AFFINITY_SCALE])
        shopper.known = bool(shopper.known)
        if columns[c.OPEN_SESSIONS]:
            shopper.open_sessions = [Session(*session)]
        shopper.currency = self.currencies[place]
        shopper.unconverted_orders = columns[c.UNCONVERTED_ORDERS]
        if rare is not NOTHING:
            rare.write_to(shopper)
        return shopper

    def top_category(self, place: int) -> tuple[str, float]:
        """The category with the largest count, and its share of all."""
        return self.categories[place], float(self.features[place, _SHARE])


NO_ROWS = ActiveRows({}, [], [], np.empty((0, c.FEATURE_COLUMNS)), [], [], [])
