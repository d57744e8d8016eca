"""`holdout: 10 %`: a share of the shoppers that a hash picks, always the same ones."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, ClassVar

from operators.kernels import rule_layout as layout
from operators.segments.rules.conditions.base import NO, YES, Condition
from operators.segments.rules.quantities import parse_share_micros
from state.money import MICROS_PER_UNIT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from operators.segments.rules.conditions.base import Answer, RuleParser
    from operators.segments.rules.instructions import InstructionWriter
    from operators.segments.rules.yaml_nodes import YamlNode


class Holdout(Condition, frozen=True, tag=True):
    """A share of the shoppers (millionths), chosen by a hash of `salt` and the shopper's id."""

    is_costly: ClassVar[bool] = True

    share: int
    salt: str

    def compile(self, gap_ms: int) -> Answer:
        is_held_out = self._compile_truth()
        return lambda shopper_id, shopper, state, now_ms: YES if is_held_out(shopper_id) else NO

    def emit(self, writer: InstructionWriter, is_negated: bool) -> None:
        truth = writer.shopper_truth(self, self._compile_truth())
        writer.write(layout.TRUTH, is_negated, truth, 1)

    def _compile_truth(self) -> Callable[[str], bool]:
        share = self.share
        salt_hash = blake2b(self.salt.encode(), digest_size=8)

        def is_held_out(shopper_id: str) -> bool:
            shopper_hash = salt_hash.copy()
            shopper_hash.update(b"\0" + shopper_id.encode())
            number = int.from_bytes(shopper_hash.digest(), "big")
            return number % MICROS_PER_UNIT < share

        return is_held_out

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
