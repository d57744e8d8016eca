"""`holdout: 10 %`: a share of the shoppers that a hash picks, always the same ones."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, ClassVar

from operators.segments.rules.conditions.base import NO, YES, Condition
from operators.segments.rules.quantities import parse_share_micros
from state.money import MICROS_PER_UNIT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from operators.segments.rules.conditions.base import Answer, RuleParser
    from operators.segments.rules.yaml_nodes import YamlNode
    from state.shopper import RuleState, Shopper


class Holdout(Condition, frozen=True, tag=True):
    """A share of the shoppers (millionths), chosen by a hash of `salt` and the shopper's id."""

    is_costly: ClassVar[bool] = True

    share: int
    salt: str

    def compile(self, gap_ms: int) -> Answer:
        share = self.share
        salt_hash = blake2b(self.salt.encode(), digest_size=8)

        def held_out(shopper_id: str, shopper: Shopper, state: RuleState, now_ms: int) -> int:
            shopper_hash = salt_hash.copy()
            shopper_hash.update(b"\0" + shopper_id.encode())
            number = int.from_bytes(shopper_hash.digest(), "big")
            return YES if number % MICROS_PER_UNIT < share else NO

        return held_out

    def describe(self) -> str:
        return f"held out ({self.share * 100 / MICROS_PER_UNIT:g} %)"


def parse_holdout(parser: RuleParser, entry: YamlNode, fields: Mapping[str, YamlNode]) -> Condition:
    """`holdout: 10 %`, with `salt:` or the id of the segment as salt."""
    entry.check_keys(fields, ("holdout", "salt"), "`holdout`")
    share = parse_share_micros(fields["holdout"].text("a share, as in `10 %`"))
    if not share:
        fields["holdout"].raise_error("is not a share: write `10 %`, at most `100 %`")
    salt = parser.current_segment()
    if "salt" in fields:
        salt = fields["salt"].text("any word: another one holds out others")
    return Holdout(share, salt)
