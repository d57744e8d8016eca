"""Between a `Shopper` and its row in the columns of the shopper table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from operators.kernels import shopper_columns as c
from operators.shards.rare_fields import Rare
from operators.shoppers.id_hashes import HASH_BYTES
from state.shopper import DECISION_BYTES, Session, Shopper

if TYPE_CHECKING:
    from operators.kernels.shopper_columns import Cells, Reals, Table
    from operators.tables.texts import TextPool

Encoded = tuple["Cells", "Cells", "Cells", "Cells", "Reals"]
"""The columns of a row; its sessions; event hashes with times and types; categories; their weights."""

_FIRST_FIELDS = Shopper.__struct_fields__[: c.AFFINITY_SCALE]
_NO_SESSIONS = np.empty((0, c.SESSION_COLUMNS), np.int64)


def encode_row(shopper: Shopper, texts: TextPool, tick_phase: int) -> tuple[Encoded, Rare | None]:
    """A shopper as cells of the table, and what of it is no column."""
    values = np.array(
        [
            *[getattr(shopper, name) for name in _FIRST_FIELDS],
            shopper.affinity_scale,
            texts.code_of(shopper.currency),
            shopper.absence_start_ms,
            shopper.returned_ms,
            shopper.unconverted_orders,
            len(shopper.open_sessions),
            tick_phase,
        ],
        np.int64,
    )
    hashes = np.empty((len(shopper.recent_event_hashes) // HASH_BYTES, 2), np.int64)
    hashes[:, 0] = np.frombuffer(shopper.recent_event_hashes, "<i8")
    # Of older rows details may be missing, those of the oldest events.
    details = shopper.recent_event_details.rjust(len(shopper.recent_event_hashes), b"\0")
    hashes[:, 1] = np.frombuffer(details, ">i8")
    encoded = (
        values,
        _encode_sessions(shopper.open_sessions) if shopper.open_sessions else _NO_SESSIONS,
        hashes,
        np.array([texts.code_of(name) for name in shopper.affinity], np.int64),
        np.array([*shopper.affinity.values()], np.float64),
    )
    return encoded, Rare.of(shopper)


def decode_row(table: Table, row: int, texts: TextPool, rare: Rare | None) -> Shopper:
    """The shopper of a row."""
    counters, sessions, hashes, codes, weights, _, _, _, _ = table
    columns: list[Any] = counters[row].tolist()
    begin, count = columns[c.HASHES_AT], columns[c.HASHES]
    remembered = hashes[begin : begin + count]
    if oldest := columns[c.OLDEST_HASH]:
        remembered = np.roll(remembered, -oldest, axis=0)
    text_of = texts.text_of
    shopper = Shopper(*columns[: c.AFFINITY_SCALE])
    shopper.known = bool(shopper.known)
    begin, count = columns[c.SESSIONS_AT], columns[c.OPEN_SESSIONS]
    shopper.open_sessions = _decode_sessions(sessions[begin : begin + count])
    shopper.recent_event_hashes = remembered[:, 0].tobytes()
    shopper.recent_event_details = remembered[:, 1].astype(">i8").tobytes()
    begin, count = columns[c.AFFINITIES_AT], columns[c.AFFINITIES]
    shopper.affinity = {
        text_of[code]: weight
        for code, weight in zip(
            codes[begin : begin + count, 0].tolist(),
            weights[begin : begin + count].tolist(),
            strict=True,
        )
    }
    shopper.affinity_scale = columns[c.AFFINITY_SCALE]
    shopper.currency = text_of[columns[c.CURRENCY]]
    shopper.absence_start_ms = columns[c.ABSENCE_START_MS]
    shopper.returned_ms = columns[c.RETURNED_MS]
    shopper.unconverted_orders = columns[c.UNCONVERTED_ORDERS]
    if rare is not None:
        rare.write_to(shopper)
    return shopper


def _encode_sessions(sessions: list[Session]) -> Cells:
    cells = np.zeros((len(sessions), c.SESSION_COLUMNS), np.int64)
    for row, session in zip(cells, sessions, strict=True):
        row[: c.DECISIONS] = (
            session.start_ms,
            session.last_ms,
            session.events,
            session.views,
            session.carts,
            session.purchases,
            session.cart_micros,
            session.intent,
        )
        count = row[c.DECISIONS] = len(session.decisions) // DECISION_BYTES
        packed = np.frombuffer(session.decisions, np.uint8).reshape(count, DECISION_BYTES)
        hashes = np.ascontiguousarray(packed[:, :HASH_BYTES]).view("<i8")[:, 0]
        row[c.DECISION_HASHES : c.DECISION_HASHES + count] = hashes
        row[c.DECISION_PURCHASES : c.DECISION_PURCHASES + count] = packed[:, HASH_BYTES]
    return cells


def _decode_sessions(cells: Cells) -> list[Session]:
    sessions: list[Session] = []
    for row in cells.tolist():
        session = Session(*row[: c.DECISIONS])
        for number in range(row[c.DECISIONS]):
            event_hash = row[c.DECISION_HASHES + number].to_bytes(8, "little", signed=True)
            session.decisions += event_hash + bytes((row[c.DECISION_PURCHASES + number],))
        sessions.append(session)
    return sessions
