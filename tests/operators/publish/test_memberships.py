"""What Redis says of memberships is what the flow knows, also after a run whose end was lost, or a
Redis that came back empty."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.recovery.orphaned_changes import ChangeStreamReader
from operators.personalize.rebuild import item_writes, shared_writes
from operators.publish import segment_stats
from operators.segments.segment_scan import SegmentScan
from state import keys
from state.store import Store
from tests.learned import SETTINGS, batches
from tests.operators.tables.test_table_store import learn
from tests.personalization import Personalization, Snapshots

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from state.config import Settings
    from state.messages import ShardPart

Members = dict[str, dict[str, int]]


class Telling:
    """A learning step that writes to Redis."""

    def __init__(
        self, store: Store, snapshot: Snapshots | None = None, settings: Settings = SETTINGS
    ) -> None:
        self.learning = Personalization(
            settings, snapshot, orphaned_changes=ChangeStreamReader(store)
        )
        self.store = store

    def learn(self, some: Sequence[Sequence[ShardPart]]) -> Telling:
        for batch in some:
            self.store.send(learn(self.learning, batch))
        self.store.flush()
        return self

    def known(self) -> Members:
        """Who is in which segment since when."""
        learned = self.learning.state
        members: Members = {segment: {} for _, segment in learned.memberships.registry.active()}
        for name, row in learned.recommender.shoppers.row_by_id.items():
            for segment, since_ms in learned.memberships.memberships_of(row):
                members[segment][name] = since_ms
        return members

    def said(self) -> Members:
        """The same as Redis says it."""
        client = self.store.client
        return {
            segment: {
                name.decode(): int(at_ms)
                for name, at_ms in client.zrange(keys.members_key(segment), 0, -1, withscores=True)
            }
            for segment in self.known()
        }

    def said_of_shoppers(self) -> Members:
        """The same by the keys of the shoppers."""
        members: Members = {segment: {} for segment in self.known()}
        for name in self.learning.state.recommender.shoppers.ids:
            for segment, at_ms in self.store.client.hgetall(keys.segments_key(name)).items():
                members[segment.decode()][name] = int(at_ms)
        return members


def connect(redis_url: str) -> Store:
    store = Store(redis_url, timeout_ms=2000, patience_s=5)
    store.client.flushall()
    return store


def test_what_a_lost_run_said_of_memberships_does_not_stay(redis_url: str) -> None:
    """It had read the same events, but cut into other batches."""
    store = connect(redis_url)
    snapshot = Telling(store).learn(batches()[:10]).learning.snapshot()
    lost = Telling(store, snapshot).learn(batches(size=100)[15:])
    resumed = Telling(store, snapshot).learn(batches()[10:])
    assert lost.known() != resumed.known()
    assert resumed.said() == resumed.said_of_shoppers() == resumed.known()
    store.close()


def test_shoppers_only_the_lost_run_had_placed_before_they_were_merged(redis_url: str) -> None:
    store = connect(redis_url)
    snapshot = Telling(store).learn(batches()[:10]).learning.snapshot()
    Telling(store, snapshot).learn(batches(size=50)[30:])
    resumed = Telling(store, snapshot).learn(batches(size=1500)[1:])
    assert resumed.said() == resumed.known()
    store.close()


def test_a_shop_in_which_everybody_is_new_converts_as_they_do(redis_url: str) -> None:
    """Who was merged into a user is no shopper, and the user bought what they did."""
    store = connect(redis_url)
    telling = Telling(store).learn(batches())
    assert any(one[b"kind"] == b"merge" for one in changes(store))
    learned = telling.learning.state
    now_ms = learned.clock.newest_event_ms
    found = SegmentScan().scan(learned.memberships, now_ms, last=True)
    new = learned.memberships.registry.find("lifecycle-new")
    assert learned.memberships.sizes.total[new] == len(telling.known()["lifecycle-new"])
    assert found.active[new] == found.all_active
    bought = {
        name
        for name, row in learned.recommender.shoppers.row_by_id.items()
        if learned.memberships.memberships_of(row)
        and store.client.hget(keys.profile_key(name), "purchases") not in (None, b"0")
    }
    day = segment_stats.day_stats(learned.memberships, found, now_ms)
    assert day.fields_of(-1)["buyers_1d"] == len(bought) > 0
    # Who ordered with the first event was not new before it.
    assert 0 < int(day.fields_of(new)["buyers_1d"]) <= len(bought)
    store.close()


def changes(store: Store) -> Iterator[dict[bytes, bytes]]:
    for stream in range(keys.CHANGE_STREAMS):
        for _, said in store.client.xrange(keys.change_stream_key(stream)):
            yield said


def test_a_redis_that_came_back_empty_is_told_everything_again(redis_url: str) -> None:
    store = connect(redis_url)
    telling = Telling(store).learn(batches()[:18])
    before = {
        pattern: dict(store.rows(pattern))
        for pattern in ("ps:1:segment:*:definition", "ps:1:item:*", "ps:1:popular:*")
    }
    store.client.flushall()
    for writes in shared_writes(telling.learning.state, 0, 100):
        store.send(writes)
    for writes in item_writes(telling.learning.items, 100):
        store.send(writes)
    telling.learn(batches()[18:])
    assert telling.said() == telling.said_of_shoppers() == telling.known()
    for pattern, rows in before.items():
        assert rows.keys() <= dict(store.rows(pattern)).keys()
    store.close()
