"""The state of the personalization step: its parts, and how they are stored.

What grows is stored in journals; without any, a snapshot holds it all. Stored names (`audience`,
`views`, ...) are those of the first release and stay. Only the step and the rebuild see this state
whole: they hand out the parts that a function uses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from operators.catalogue.recent_views import RecentViews
from operators.events.event_clock import EventClock
from operators.publish.aggregates import Aggregates
from operators.publish.counters import Counters
from operators.publish.definitions import Definitions
from operators.publish.report_timer import ReportTimer
from operators.publish.shop_stats import ShopStats
from operators.recommend.recommender import Recommender
from operators.segments.assignment import SegmentAssignment
from operators.segments.changes import ChangeLog
from operators.segments.clusters.replica import ClusterReplica
from operators.segments.configured_segments import ConfiguredSegments, built_in_definitions
from operators.segments.propensity.replica import PropensityReplica
from operators.segments.retirement import SegmentRetirement
from operators.segments.rules.compiler import load_rules
from operators.segments.rules.versions import RuleVersions
from operators.tables.table import add_prefix, strip_prefix
from operators.tables.table_store import LoadedTables, Tables, TableStore
from state.snapshots import LEARN_CODEC, LearnState, pack_arrays, unpack_arrays

if TYPE_CHECKING:
    from operators.segments.membership_index import MembershipIndex
    from operators.tables.table import Arrays
    from state.config import Settings
    from state.journal import Journals

JOURNAL = "learned"  # the stored name of the journal


class PersonalizationState:
    """All parts, each restored from a snapshot or empty.

    `batches` says how many batches came from each partition. `journal_names_erased`: the journal names
    somebody who was erased; it is rewritten as soon as possible, but not more often than the recovery
    folder is copied, or with the last batch.
    """

    def __init__(
        self, settings: Settings, snapshot: bytes | None = None, journals: Journals | None = None
    ) -> None:
        self.settings = settings
        self.recommender = Recommender.from_config(settings.lists)
        self.errors = self.recommender.components.errors
        self.clusters = ClusterReplica()
        self.assignment = SegmentAssignment(settings)
        self.shop = ShopStats()
        self.propensity = PropensityReplica(settings.propensity)
        rules = load_rules(settings)
        self.rules = () if rules is None else rules.rules
        self.rule_versions = RuleVersions(self.rules)
        self.recent_views = RecentViews(settings.triggers.views_max)
        self.change_log = ChangeLog(settings.redis.change_stream_max)
        self.counters = Counters()
        self.clock = EventClock(settings.sessions.allowed_lateness_ms)
        self.batches: dict[str, int] = {}
        self.journal_names_erased = False
        self._journal_rewritten_ms = 0
        self.is_last_batch = False
        self._table_store = TableStore(journals, JOURNAL)
        restored = None if snapshot is None else LEARN_CODEC.decode(snapshot)
        if restored is not None:
            self._restore(restored)
        self._build_publishers(0 if restored is None else restored.figures_ms)

    def _build_publishers(self, last_aggregates_ms: int) -> None:
        """Make what is not stored: it refers to parts as they were restored."""
        settings = self.settings
        fixed = {one.id for one in self.assignment.definitions} | {rule.id for rule in self.rules}
        self.segments = ConfiguredSegments(
            self.memberships,
            self.clusters,
            self.propensity,
            frozenset(fixed),
            built_in_definitions(settings),
        )
        self.retirement = SegmentRetirement(self.segments, self.recommender.shoppers)
        self.definitions = Definitions(
            self.clusters,
            self.assignment,
            self.propensity,
            self.rule_versions,
        )
        self.aggregates = Aggregates(
            self.recommender,
            self.memberships,
            self.definitions,
            self.shop,
            self.counters,
            ReportTimer(
                batch_numbers=self.batches,
                batch_events=settings.source.batch_events,
                every_ms=settings.lists.figures_every_ms,
                last_ms=last_aggregates_ms,
            ),
        )

    @property
    def memberships(self) -> MembershipIndex:
        """Who is in which segment."""
        return self.assignment.memberships

    @property
    def row_count(self) -> int:
        """How many shoppers have a row."""
        return len(self.recommender.shoppers.row_by_id)

    def snapshot(self) -> bytes:
        """The state as versioned bytes."""
        tables = self._stored_tables()
        state = LearnState(
            vocabularies={},
            recommender=pack_arrays(self.recommender.components.scalars()),
            clusters=pack_arrays(self.clusters.scalars()),
            audience=pack_arrays({**self.assignment.scalars(), **self._shop_scalars()}),
            cards={},
            changed_cards=[],
            change_ids=self.change_log.ids,
            ledger=self.counters.state(),
            defined=self.clusters.definitions,
            now_ms=self.clock.newest_event_ms,
            figures_ms=self.aggregates.last_ms,
            clock_ms=self.clock.event_time_ms,
            journal=self._table_store.store(tables, rewrite=self._take_rewrite_due()),
            batches=self.batches,
            propensity=pack_arrays(self.propensity.scalars()),
            rules=self.rule_versions.versions,
            views=pack_arrays(self.recent_views.scalars()),
            is_unclean=self.journal_names_erased,
        )
        if state.journal is None:
            state = msgspec.structs.replace(
                state,
                vocabularies={name: v.ids for name, v in tables.row_indexes.items()},
                recommender=pack_arrays(self.recommender.components.arrays()),
                audience=pack_arrays({**self.assignment.arrays(), **self._shop_scalars()}),
                views=pack_arrays(self.recent_views.arrays()),
            )
        return LEARN_CODEC.encode(state)

    def _shop_scalars(self) -> Arrays:
        """The shop's counts, under their stored names among those of the assignment."""
        return add_prefix("shop/", self.shop.scalars())

    def _restore(self, state: LearnState) -> None:
        stored = {
            "recommender": unpack_arrays(state.recommender),
            "clusters": unpack_arrays(state.clusters),
            "audience": unpack_arrays(state.audience),
            "propensity": unpack_arrays(state.propensity),
            "views": unpack_arrays(state.views),
        }
        loaded = LoadedTables(stored, state.vocabularies, state.cards)
        self._table_store.load(state.journal, loaded)
        self.clock.event_time_ms = state.clock_ms
        self.recommender.components.restore(stored["recommender"])
        self.recommender.components.restore_ids(loaded.ids)
        self.clusters.restore(stored["clusters"], state.defined)
        self.assignment.restore(stored["audience"])
        self.shop.restore(strip_prefix("shop/", stored["audience"]))
        self.propensity.restore(stored["propensity"])
        self.recent_views.restore(stored["views"])
        if state.journal is not None:
            self._stored_tables().mark_stored()
            self.memberships.mark_stored()
        self.change_log.ids = state.change_ids
        self.counters = Counters.from_state(state.ledger)
        self.clock.newest_event_ms = state.now_ms
        self.batches = state.batches
        self.journal_names_erased = state.is_unclean
        self.rule_versions = RuleVersions(self.rules, state.rules)

    def _take_rewrite_due(self) -> bool:
        """Whether the journal is rewritten now because it names somebody who was erased."""
        every_ms, now_ms = self.settings.recovery.checkpoint_s * 1000, self.clock.reporting_time_ms
        if not self.journal_names_erased or (
            not self.is_last_batch and now_ms - self._journal_rewritten_ms < every_ms
        ):
            return False
        self.journal_names_erased, self._journal_rewritten_ms = False, now_ms
        return True

    def _stored_tables(self) -> Tables:
        """The parts that are stored by rows."""
        parts = {
            "recommender": self.recommender.components,
            "audience": self.assignment,
            "views": self.recent_views,
        }
        return Tables(parts, self.recommender.components.row_indexes())
