"""Fields of a shopper that few have, or that no kernel looks into: kept beside the columns, by row."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from state.shopper import ConsentStatement, Order, RefusalTimes, RuleState, Shopper


class Rare(NamedTuple):
    """Fields of `Shopper`, by its names."""

    orders: dict[bytes, Order]
    consent: ConsentStatement
    rule_state: RuleState | None
    unconverted_micros: dict[str, int] | None
    refused: int
    refused_ms: RefusalTimes
    published_devices: tuple[str, ...]

    @classmethod
    def of(cls, shopper: Shopper) -> Rare | None:
        """What a shopper has of these; None where it has nothing, as most."""
        rare = cls(*[getattr(shopper, name) for name in cls._fields])
        return None if rare == NOTHING else rare

    def write_to(self, shopper: Shopper) -> None:
        """Set these fields of a shopper."""
        for name, value in zip(self._fields, self, strict=True):
            setattr(shopper, name, value)


NOTHING = Rare({}, (0, None, None, None), None, None, 0, (0, 0, 0), ())
