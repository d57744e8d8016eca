"""What a rule says: conditions as values, as `reading` makes them of `segments.yaml`.

Times in ms, money in millionths, shares in millionths. A condition's text names what it means, so its
digest is the name of the state it needs: two rules that look at the same events share one window.
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec

EXACT_COUNT_MAX = 256
"""Counts up to here are exact: of each window the newest so many events are kept."""
STEP_EVENTS_MAX = 64
"""Of each step of a sequence the newest so many events are kept, or items of events."""


class Bounds(msgspec.Struct, frozen=True):
    """A range of whole numbers, both ends within; `words` is how it reads (`at least 3`)."""

    low: int | None
    high: int | None
    words: str


class Filter(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which events count: of these types, and of those all that is said here.

    One item of the event has to fit `categories` (a path or what is below it), `brands`, `items` and
    `price` together. `value` is that of the event. `query` is contained, whatever the case.
    """

    types: tuple[str, ...]
    categories: tuple[str, ...] = ()
    brands: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    price: Bounds | None = None
    value: Bounds | None = None
    campaign_source: tuple[str, ...] = ()
    campaign_medium: tuple[str, ...] = ()
    campaign_name: tuple[str, ...] = ()
    device: tuple[str, ...] = ()
    country: tuple[str, ...] = ()
    list: tuple[str, ...] = ()
    query: tuple[str, ...] = ()

    @property
    def matches_items(self) -> bool:
        """Whether it looks at single items."""
        return bool(self.categories or self.brands or self.items or self.price is not None)


class All(msgspec.Struct, frozen=True, tag=True):
    """Every one of them."""

    parts: tuple[Node, ...]


class Any(msgspec.Struct, frozen=True, tag=True):
    """At least one of them."""

    parts: tuple[Node, ...]


class Not(msgspec.Struct, frozen=True, tag=True):
    """The opposite."""

    part: Node


class Number(msgspec.Struct, frozen=True, tag=True):
    """A number of the profile or of the session within a range; never true where there is none."""

    feature: str
    bounds: Bounds


class Text(msgspec.Struct, frozen=True, tag=True):
    """A text of the profile or the session that is one of these."""

    feature: str
    values: tuple[str, ...]


class Window(msgspec.Struct, frozen=True, tag=True):
    """What a shopper's events of the last `within_ms` come to, those of ever for None.

    `measure` is `count`, `distinct <what>` or `sum of <what>`.
    """

    events: Filter
    measure: str
    bounds: Bounds
    within_ms: int | None


class Step(msgspec.Struct, frozen=True):
    """A step of a sequence: an event at most `within_ms` after that of the step before."""

    events: Filter
    within_ms: int | None = None


class Sequence(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Events one after the other, the first of them in the last `within_ms`.

    With `absent`, and `absent.within_ms` since the last of them without such an event, up to now. With
    `same_item` there is an item of which all that is so.
    """

    steps: tuple[Step, ...]
    absent: Step | None
    within_ms: int
    same_item: bool = False


class Holdout(msgspec.Struct, frozen=True, tag=True):
    """A share of the shoppers (millionths), chosen by a hash of salt and shopper: always the same."""

    share: int
    salt: str


Node = All | Any | Not | Number | Text | Window | Sequence | Holdout


class Rule(msgspec.Struct, frozen=True):
    """A segment of `segments.yaml`. References to others are resolved in `when`, not in `said`."""

    id: str
    name: str
    description: str
    when: Node
    words: str

    @property
    def digest(self) -> int:
        """What names the condition: another one has another digest."""
        return digest(self.when)


_encode = msgspec.json.Encoder(order="deterministic").encode


def digest(*parts: object) -> int:
    """A number of 63 bits that is the same in every run. Stored: it must not change."""
    content = _without_words(msgspec.to_builtins(parts))
    return int.from_bytes(blake2b(_encode(content), digest_size=8).digest(), "big") >> 1


def _without_words(content: object) -> object:
    if isinstance(content, dict):
        return {name: _without_words(value) for name, value in content.items() if name != "words"}
    if isinstance(content, list | tuple):
        return [_without_words(value) for value in content]
    return content
