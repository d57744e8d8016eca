"""`sequence:`: events one after the other, in time, of one item or of any.

How the answer is found: of each event of a step, when the chains that lead to it began at the
latest. Later events of the step before it began later and are nearer, so one pass over each step is
enough.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, ClassVar

import msgspec

from operators.kernels import rule_layout as layout
from operators.kernels.rule_layout import FOREVER
from operators.segments.rules import windows
from operators.segments.rules.conditions.base import NO, Condition
from operators.segments.rules.digests import digest
from operators.segments.rules.filters import FILTER_KEYS, Filter, parse_filter
from operators.segments.rules.quantities import format_duration
from operators.segments.rules.windows_needed import WindowKind, WindowUse
from operators.segments.rules.yaml_values import DURATION_EXAMPLE, duration_ms_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from operators.segments.rules.conditions.base import Answer, RuleParser
    from operators.segments.rules.instructions import InstructionWriter
    from operators.segments.rules.yaml_nodes import YamlNode
    from state.shopper import RuleState, Shopper

STEP_EVENTS_MAX = 64
"""Of each step the newest so many events are kept, or items of events."""
_TYPES_WITHOUT_ITEMS = frozenset({"page_view", "search", "identify", "consent"})


class Step(msgspec.Struct, frozen=True):
    """A step of a sequence: an event at most `within_ms` after that of the step before."""

    events: Filter
    within_ms: int | None = None


class Sequence(Condition, frozen=True, tag=True, omit_defaults=True):
    """Events one after the other, the first of them in the last `within_ms`.

    With `absent`, since the last of them `absent.within_ms` have passed and no such event has come up to
    now. With `same_item`, there is an item for which all of this is true.
    """

    is_costly: ClassVar[bool] = True

    steps: tuple[Step, ...]
    absent: Step | None
    within_ms: int
    same_item: bool = False

    def compile(self, gap_ms: int) -> Answer:
        if not self.same_item:
            return self._compile_any_items()
        answers_by_item = self._compile_by_item()
        return lambda shopper_id, shopper, state, now_ms: max(
            answers_by_item(state, now_ms), default=NO
        )

    def emit(self, writer: InstructionWriter, is_negated: bool) -> None:
        keys, absent = self._window_keys()
        quiet_ms = -1 if self.absent is None else self.absent.within_ms or 0
        absent_kind = -1 if absent is None else writer.kinds[absent]
        at = len(writer.sequences)
        writer.sequences += [len(keys), self.within_ms, quiet_ms, absent_kind]
        for key, step in zip(keys, self.steps, strict=True):
            writer.sequences += [writer.kinds[key], step.within_ms or FOREVER]
        operation = layout.SEQUENCE_OF_ITEM if self.same_item else layout.SEQUENCE
        writer.write(operation, is_negated, at)

    def describe(self) -> str:
        text = self.steps[0].events.describe()
        for step in self.steps[1:]:
            text += f", then {step.events.describe()}"
            if step.within_ms is not None:
                text += f" within {format_duration(step.within_ms)}"
        if self.absent is not None and self.absent.within_ms is not None:
            text += f", then no {self.absent.events.describe()}"
            text += f" for {format_duration(self.absent.within_ms)}"
        if self.same_item:
            text += ", all of the same item"
        return f"{text}, begun in the last {format_duration(self.within_ms)}"

    def describe_as_part(self) -> str:
        return f"({self.describe()})"

    def windows_used(self, is_positive: bool = True) -> Iterable[WindowUse]:
        for n, step in enumerate(self.steps):
            is_last = n == len(self.steps) - 1
            yield WindowUse(self._step_window(step), is_positive, only_if_late=not is_last)
        if self.absent is not None:
            yield WindowUse(self._absent_window(self.absent), not is_positive)

    def describe_value(self, shopper: Shopper, state: RuleState, now_ms: int, gap_ms: int) -> str:
        if not self.same_item:
            return ""
        items = sum(answer > 0 for answer in self._compile_by_item()(state, now_ms))
        return f"of {items} item{'' if items == 1 else 's'}"

    def _step_window(self, step: Step) -> WindowKind:
        """The window of a step, by item or not."""
        form, measured = ("items", "items") if self.same_item else ("times", "count")
        key = digest(form, step.events)
        return WindowKind(key, step.events, form, measured, STEP_EVENTS_MAX)

    def _absent_window(self, absent: Step) -> WindowKind:
        """The window of the event that must not come: the newest of each item, or of all."""
        events = absent.events
        if self.same_item:
            key = digest("keyed", events, "items")
            return WindowKind(key, events, "keyed", "items", STEP_EVENTS_MAX)
        return WindowKind(digest("times", events), events, "times", "count", 1)

    def _window_keys(self) -> tuple[list[int], int | None]:
        """The keys of the windows of the steps, and of that of the absent event."""
        keys = [self._step_window(step).key for step in self.steps]
        return keys, None if self.absent is None else self._absent_window(self.absent).key

    def _compile_any_items(self) -> Answer:
        keys, absent = self._window_keys()
        chain_answer = self._compile_chain()

        def sequence(shopper_id: str, shopper: Shopper, state: RuleState, now_ms: int) -> int:
            packed = [state.windows.get(key, b"") for key in keys]
            newest_absent = b""
            if absent is not None:
                newest_absent = state.windows.get(absent, b"")[-windows.TIME_BYTES :]
            # The newest event is the one that must not come, or a step never came.
            if packed[-1][-windows.TIME_BYTES :] <= newest_absent or not all(packed):
                return NO
            absent_ms = int.from_bytes(newest_absent, "big") if newest_absent else -1
            steps = [windows.unpack_times(window) for window in packed]
            return chain_answer(steps, absent_ms, now_ms)

        return sequence

    def _compile_by_item(self) -> Callable[[RuleState, int], list[int]]:
        """The answer for each item that all steps had, at a time (ms)."""
        keys, absent = self._window_keys()
        needed = {key: keys.count(key) for key in keys}
        chain_answer = self._compile_chain()

        def answers_by_item(state: RuleState, now_ms: int) -> list[int]:
            times_by_item = {
                key: windows.times_by_key(state.windows.get(key, b"")) for key in needed
            }
            steps = [times_by_item[key] for key in keys]
            absent_window = b"" if absent is None else state.windows.get(absent, b"")
            absent_ms = {item: at_ms for at_ms, item in windows.unpack_pairs(absent_window)}
            return [
                chain_answer([step[item] for step in steps], absent_ms.get(item, -1), now_ms)
                for item in steps[0]
                if all(
                    len(times_by_item[key].get(item, ())) >= count for key, count in needed.items()
                )
            ]

        return answers_by_item

    def _compile_chain(self) -> Callable[[list[list[int]], int, int], int]:
        """The answer from the times of each step, when the absent event last came, and now."""
        spans_ms = [step.within_ms or FOREVER for step in self.steps[1:]]
        quiet_ms = None if self.absent is None else self.absent.within_ms
        within_ms = self.within_ms

        def chain_answer(steps: list[list[int]], absent_ms: int, now_ms: int) -> int:
            ends = steps[0][bisect_right(steps[0], now_ms - within_ms) :]
            begins = ends
            for span_ms, events in zip(spans_ms, steps[1:], strict=True):
                previous_ends, previous_begins, ends, begins = ends, begins, [], []
                for at_ms in events:
                    index = bisect_left(previous_ends, at_ms) - 1
                    if index >= 0 and at_ms <= previous_ends[index] + span_ms:
                        ends.append(at_ms)
                        begins.append(previous_begins[index])
            if quiet_ms is None:
                return begins[-1] + within_ms if begins else NO
            soonest_ms = FOREVER
            for at_ms, begin_ms in zip(reversed(ends), reversed(begins), strict=True):
                if at_ms <= absent_ms:
                    break
                if at_ms + quiet_ms <= now_ms:
                    return begin_ms + within_ms
                if at_ms + quiet_ms < begin_ms + within_ms:
                    soonest_ms = at_ms + quiet_ms
            return -soonest_ms

        return chain_answer


def parse_sequence(
    parser: RuleParser, entry: YamlNode, fields: Mapping[str, YamlNode]
) -> Condition:
    """`sequence:` with `event:`, then `then:` and at the end perhaps `then no:`."""
    entry.check_keys(fields, ("sequence", "same", "within"), "`sequence`")
    entries = fields["sequence"].items("steps, `- event: cart_add` first")
    if "within" not in fields:
        entry.raise_error(
            f"`within:` is missing: how long ago the first step may be; {DURATION_EXAMPLE}"
        )
    within_ms = duration_ms_of(fields["within"])
    same_item = "same" in fields
    if same_item and fields["same"].text("`item`") != "item":
        fields["same"].raise_error("steps can be of the same `item` only: write `same: item`")
    steps: list[Step] = []
    absent: Step | None = None
    for n, step_entry in enumerate(entries):
        key, step = _parse_step(step_entry, is_first=n == 0, same_item=same_item, absent=absent)
        if key == "then no":
            absent = step
        else:
            steps.append(step)
    if len(entries) < 2:
        fields["sequence"].raise_error("has one step: add `- then: ...` or write it as `event:`")
    if absent is not None and absent.within_ms is not None and absent.within_ms >= within_ms:
        fields["within"].raise_error(
            "must be longer than that of the last step, or no shopper is ever in it"
        )
    return Sequence(tuple(steps), absent, within_ms, same_item)


def _parse_step(
    entry: YamlNode, *, is_first: bool, same_item: bool, absent: Step | None
) -> tuple[str, Step]:
    """A step and the key it begins with; `absent` is a `then no` that came before it."""
    fields = entry.fields("a step, as in `then: checkout_start`")
    key = "event" if is_first else "then no" if "then no" in fields else "then"
    if key not in fields:
        entry.raise_error("begins with `event:`" if is_first else "write `then:` or `then no:`")
    if absent is not None:
        entry.raise_error("`then no` is about all that comes after: let it be the last step")
    entry.check_keys(fields, (key, *FILTER_KEYS, *(() if is_first else ("within",))), f"`{key}`")
    within_ms = duration_ms_of(fields["within"]) if "within" in fields else None
    step = Step(parse_filter(fields, key), within_ms)
    if same_item and (itemless := _TYPES_WITHOUT_ITEMS & {*step.events.types}):
        fields[key].raise_error(f"`{min(itemless)}` has no items: remove it, or `same: item`")
    if key == "then no" and within_ms is None:
        entry.raise_error(
            f"`within:` is missing: how long nothing must have come; {DURATION_EXAMPLE}"
        )
    return key, step
