"""Finds the lists of a page: one round trip to Redis where the process knows cards and popular lists.

When Redis does not answer: the last answer to the same question, then what is popular as last seen, then
no items; always marked as degraded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serving.storefront.answers import ListAnswer, ShopperAnswer
from serving.storefront.assembly import Assembly, KnownShopper, ReasonTexts
from serving.storefront.reads import UnavailableError
from serving.storefront.shared import Recent, command_for, parse_list
from state import keys

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from serving.storefront.reads import TimedReads
    from serving.storefront.requests import PageRequest, SlotRequest
    from serving.storefront.shared import SharedValues
    from state.store import ReadCommand

REMEMBERED_ANSWERS = 10_000
"""Answers kept for a Redis that is away, and lists kept for their next part; some 5 KB each."""
_NEEDED_FIELDS = ("refused", "top_category")
"""Fields of a profile on which lists depend."""
_TRIPS_MAX = 20
"""A page of eight slots needs fewer; a guard against a loop, not a limit that a page may reach."""


class Finder:
    """Finds lists for shoppers, and what a page may know of them. For one event loop."""

    def __init__(
        self,
        reads: TimedReads,
        shared: SharedValues,
        clock_ms: Callable[[], int],
        *,
        list_key: bytes,
        shopper_fields: tuple[str, ...] = (),
    ) -> None:
        self._reads = reads
        self._shared = shared
        self._clock_ms = clock_ms
        self._list_key = list_key
        self._shopper_fields = shopper_fields
        self._fields = tuple(dict.fromkeys((*_NEEDED_FIELDS, *shopper_fields)))
        self._last_answers: Recent[ListAnswer] = Recent(REMEMBERED_ANSWERS)
        self._reasons = ReasonTexts()
        self._shown: Recent[tuple[str, ...]] = Recent(REMEMBERED_ANSWERS)

    async def find(self, shopper_id: str, page: PageRequest) -> list[ListAnswer]:
        """The lists of a page for a shopper, "" for everybody."""
        assembly = None
        answers: list[ListAnswer] = []
        try:
            shopper = await self._read_shopper(shopper_id, page)
            assembly = self._assembly(shopper, page)
            for request in page.slots:
                # One by one: those found before a failure are kept.
                answers.append(await self._find_one(shopper_id, request, assembly))  # noqa: PERF401
        except UnavailableError:
            rest = page.slots[len(answers) :]
            assembly = assembly or self._assembly(KnownShopper(), page)
            answers += [self._degraded(shopper_id, request, assembly) for request in rest]
        return answers

    def find_popular(self, page: PageRequest) -> list[ListAnswer]:
        """The popular list for each slot, from the process alone: for a server that is overloaded."""
        assembly = self._assembly(KnownShopper(), page)
        return [self._from_memory(request, assembly) for request in page.slots]

    async def shopper(self, shopper_id: str) -> ShopperAnswer:
        """Segments and profile of a shopper, as far as a page may know them: a page and its content may
        know nothing of one who refuses personalization."""
        try:
            shopper = await self._read_shopper(shopper_id, None)
        except UnavailableError:
            return ShopperAnswer({}, {}, degraded=True)
        if shopper.refuses_personalization:
            return ShopperAnswer({}, {})
        shown = {
            name: shopper.profile[name] for name in self._shopper_fields if name in shopper.profile
        }
        return ShopperAnswer(shopper.segments, shown)

    async def _find_one(
        self, shopper_id: str, request: SlotRequest, assembly: Assembly
    ) -> ListAnswer:
        shown_before = self._shown.get(request.list_id) if request.list_id else None
        answer = await self._read_while(assembly.assemble(request, shown_before or ()))
        shown = (*(shown_before or ()), *(item.id for item in answer.items))
        self._shown.store(answer.list_id, shown)
        self._last_answers.store((shopper_id, request), answer)
        return answer

    async def _read_while(self, steps: Generator[list[str], None, ListAnswer]) -> ListAnswer:
        """Read what an assembly needs until it is done."""
        try:
            needed = next(steps)
            for _ in range(_TRIPS_MAX):
                while not (stale := self._shared.stale(needed)):
                    needed = steps.send(None)
                await self._read_shared(stale)
                needed = steps.send(None)
        except StopIteration as end:
            answer: ListAnswer = end.value
            return answer
        raise UnavailableError

    async def _read_shared(self, stale: list[str]) -> None:
        replies = await self._reads.read([command_for(key) for key in stale])
        for key, reply in zip(stale, replies, strict=True):
            self._shared.store(key, reply)

    async def _read_shopper(self, shopper_id: str, page: PageRequest | None) -> KnownShopper:
        """What Redis knows of a shopper. An id that is a user's by now takes a second round trip."""
        if not shopper_id:
            return KnownShopper()
        slots = dict.fromkeys([keys.SLOT, *(one.slot for one in page.slots)]) if page else {}
        stale = self._shared.stale(_likely_keys(page)) if page else []
        commands = self._commands_of(shopper_id, slots)
        replies = await self._reads.read(
            [("GET", keys.alias_key(shopper_id)), *commands, *map(command_for, stale)]
        )
        for key, reply in zip(stale, replies[1 + len(commands) :], strict=True):
            self._shared.store(key, reply)
        alias, found = replies[0], replies[1 : 1 + len(commands)]
        if alias:
            shopper_id = alias.decode()
            found = await self._reads.read(self._commands_of(shopper_id, slots))
        return self._shopper_of(shopper_id, slots, found)

    def _commands_of(self, shopper_id: str, slots: dict[str, None]) -> list[ReadCommand]:
        return [
            ("HGETALL", keys.segments_key(shopper_id)),
            ("HMGET", keys.profile_key(shopper_id), *self._fields),
            *(("GET", keys.top_key(shopper_id, slot)) for slot in slots),
        ]

    def _shopper_of(
        self, shopper_id: str, slots: dict[str, None], replies: list[Any]
    ) -> KnownShopper:
        entered = replies[0]
        segments = entered.items() if isinstance(entered, dict) else _pairs(entered)
        profile = zip(self._fields, replies[1], strict=True)
        lists = zip(slots, replies[2:], strict=True)
        return KnownShopper(
            shopper_id,
            {slot: parse_list(reply) for slot, reply in lists if reply},
            {segment.decode(): int(since_ms) for segment, since_ms in segments},
            {name: value.decode() for name, value in profile if value is not None},
        )

    def _assembly(self, shopper: KnownShopper, page: PageRequest) -> Assembly:
        return Assembly(
            shopper,
            self._shared.get,
            self._clock_ms(),
            list_key=self._list_key,
            reasons=self._reasons,
            repeat=page.repeat,
        )

    def _degraded(self, shopper_id: str, request: SlotRequest, assembly: Assembly) -> ListAnswer:
        last = self._last_answers.get((shopper_id, request))
        if last is not None:
            return assembly.repeat_answer(last)
        return self._from_memory(request, assembly)

    def _from_memory(self, request: SlotRequest, assembly: Assembly) -> ListAnswer:
        """What can be listed from the process alone."""
        steps = assembly.assemble(request)
        try:
            while True:
                next(steps)
        except StopIteration as end:
            answer: ListAnswer = end.value
            answer.degraded = True
            return answer


def _likely_keys(page: PageRequest) -> list[str]:
    """Shared keys that a page needs in most cases: read together with the shopper's own."""
    wanted = [keys.popular_key()]
    for request in page.slots:
        if request.slot == "product" and request.item:
            wanted.append(keys.similar_key(request.item))
        if request.slot == "cart":
            wanted += map(keys.bought_key, request.cart)
        if request.slot == "category" and request.category:
            wanted.append(keys.popular_key("category", request.category))
    return wanted


def _pairs(flat: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    return zip(flat[::2], flat[1::2], strict=True)
