"""Everything that is learned over all shoppers, as one state: its parts, and how it is stored.

What grows is stored in journals; without any, a snapshot holds it all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from operators.catalogue.item_cards import Cards
from operators.catalogue.recent_views import Views
from operators.publish.counters import Ledger
from operators.recommend.recommender import Recommender
from operators.segments.assignment import Standing
from operators.segments.changes import ChangeLog
from operators.segments.clusters.model import Clusters
from operators.segments.lifts import Lifts
from operators.segments.propensity.propensity import Propensity
from operators.segments.retirement import Retiring
from operators.segments.rules.compiler import rule_segments
from operators.segments.rules.versions import RuleVersions
from operators.segments.segment_scan import Census
from operators.shoppers.features import FEATURES
from operators.tables.table_store import Loaded, StoredTables, Tables
from state.resp import bulk
from state.segments import cluster_id
from state.snapshots import LEARNED, LearnedState, pack_arrays, unpack_arrays
from state.times import DAY_MS

if TYPE_CHECKING:
    from operators.segments.clusters.model import Quality
    from operators.segments.membership_index import Audience
    from state.config import Settings
    from state.interactions import Times
    from state.journal import Journals


class _Tails(dict[int, str]):
    def __missing__(self, cluster: int) -> str:
        text = bulk("cluster") + bulk(cluster_id(cluster)) + bulk("cluster_distance")
        self[cluster] = text
        return text


class Learned:
    """The parts. `is_unclean`: the journal names who was erased; it is written anew as soon as may be,
    but not more often than the recovery folder is copied, or where the recording `is_over`. `now_ms` is
    the newest event time seen, `clock_ms` the newest that all of the source has reached, by which time
    passes for segments; `batches` how many came of each partition.

    `defined` are name and version of each cluster. Not stored: `told_definitions`, whether Redis is
    sure to have them, and `quality`, as of how many events.
    """

    def __init__(
        self, settings: Settings, snapshot: bytes | None = None, journals: Journals | None = None
    ) -> None:
        self.settings = settings
        clusters = settings.clusters
        self.recommender = Recommender.of(settings.lists)
        self.faults = self.recommender.faults
        self.clusters = Clusters(
            clusters.numbers,
            len(FEATURES),
            half_life_points=clusters.half_life_points or None,
            seed=clusters.seed,
            radius=clusters.radius if clusters.algorithm == "dbstream" else None,
        )
        self.standing = Standing(settings)
        self.census = Census()
        self.lifts = Lifts()
        self.propensity = Propensity(settings.propensity)
        rules = rule_segments(settings)
        self.rules = () if rules is None else rules.rules
        self.rule_versions = RuleVersions(self.rules)
        self.cards = Cards(drop_min=settings.triggers.price_drop_min)
        self.views = Views(settings.triggers.views_max)
        self.changes = ChangeLog(settings.redis.change_stream_max)
        self.ledger = Ledger()
        self.defined: dict[int, tuple[str, int]] = {}
        self.told_definitions = False
        self.quality: tuple[int, Quality] | None = None
        self.figures_ms = 0
        self.now_ms = 0
        self.clock_ms = 0
        self.batches: dict[str, int] = {}
        self.is_unclean = False
        self._cleaned_ms = 0
        self.is_over = False
        self.tails = _Tails()
        """What a profile says of each cluster, packed but for the distance."""
        self.retiring = Retiring()
        self._stored = StoredTables(journals)
        if snapshot is not None:
            self._restore(LEARNED.decode(snapshot))

    @property
    def audience(self) -> Audience:
        """Who is in which segment."""
        return self.standing.audience

    @property
    def rows_held(self) -> int:
        """Shoppers and items there are rows for."""
        return len(self.recommender.shoppers.rows) + len(self.recommender.items.rows)

    @property
    def moment_ms(self) -> int:
        """How far time has come: with the events, and in an idle shop without."""
        return max(self.now_ms, self.clock_ms)

    @property
    def heard_ms(self) -> int:
        """How far time has come by when events were received, by which minutes are over."""
        return max(self.standing.shop.heard_ms, self.clock_ms)

    def idle_ms(self) -> Times:
        """How long the shopper of each row may do nothing until it is put away."""
        known, state = self.audience.known, self.settings.state
        return np.where(known, state.known_idle_days * DAY_MS, state.idle_days * DAY_MS)

    def hear(self, watermark_ms: int) -> None:
        """How far the source has come: events may be so much older than what it has reached."""
        if watermark_ms > 0:
            reached_ms = watermark_ms + self.settings.sessions.allowed_lateness_ms
            self.clock_ms = max(self.clock_ms, reached_ms)

    def snapshot(self) -> bytes:
        """The state as versioned bytes."""
        tables = self._tables()
        state = LearnedState(
            vocabularies={},
            recommender=pack_arrays(self.recommender.small()),
            clusters=pack_arrays(self.clusters.small()),
            audience=pack_arrays(self.standing.small()),
            cards={},
            changed_cards=sorted(self.cards.changed),
            change_ids=self.changes.ids,
            ledger=self.ledger.state(),
            defined=self.defined,
            now_ms=self.now_ms,
            figures_ms=self.figures_ms,
            clock_ms=self.clock_ms,
            told=self.recommender.of_items.told,
            journal=self._stored.store(tables, anew=self._clean()),
            batches=self.batches,
            propensity=pack_arrays(self.propensity.small()),
            rules=self.rule_versions.versions,
            views=pack_arrays(self.views.small()),
            is_unclean=self.is_unclean,
        )
        if state.journal is None:
            state = msgspec.structs.replace(
                state,
                vocabularies={name: v.ids for name, v in tables.vocabularies.items()},
                recommender=pack_arrays(self.recommender.arrays()),
                clusters=pack_arrays(self.clusters.arrays()),
                audience=pack_arrays(self.standing.arrays()),
                propensity=pack_arrays(self.propensity.arrays()),
                views=pack_arrays(self.views.arrays()),
                cards=self.cards.rows,
            )
        return LEARNED.encode(state)

    def _restore(self, state: LearnedState) -> None:
        stored = {
            "recommender": unpack_arrays(state.recommender),
            "clusters": unpack_arrays(state.clusters),
            "audience": unpack_arrays(state.audience),
            "propensity": unpack_arrays(state.propensity),
            "views": unpack_arrays(state.views),
        }
        loaded = Loaded(stored, state.vocabularies, state.cards)
        self._stored.load(state.journal, loaded)
        self.clock_ms = state.clock_ms
        self.recommender.restore(stored["recommender"], loaded.ids)
        self.clusters.restore(stored["clusters"])
        self.standing.restore(stored["audience"])
        self.propensity.restore(stored["propensity"])
        self.views.restore(stored["views"])
        self.cards = Cards(
            loaded.cards,
            set(state.changed_cards),
            drop_min=self.settings.triggers.price_drop_min,
        )
        recommender = self.recommender
        recommender.facts.learn(recommender.items.live(), (), self.cards.rows)
        recommender.facts.take_turned()
        if state.journal is not None:
            self._tables().settle()
            self.audience.settled()
        if not self.recommender.content.items:
            # Stored by a release without that learner.
            self.recommender.describe(sorted(loaded.cards), loaded.cards)
        self.changes.ids = state.change_ids
        self.ledger = Ledger.of(state.ledger)
        self.defined = state.defined
        self.now_ms = state.now_ms
        self.figures_ms = state.figures_ms
        self.recommender.of_items.told = state.told
        self.batches = state.batches
        self.is_unclean = state.is_unclean
        self.rule_versions = RuleVersions(self.rules, state.rules)

    def _clean(self) -> bool:
        """Whether the journal is to be written anew now because of whom it names."""
        every_ms, now_ms = self.settings.recovery.checkpoint_s * 1000, self.moment_ms
        if not self.is_unclean or (not self.is_over and now_ms - self._cleaned_ms < every_ms):
            return False
        self.is_unclean, self._cleaned_ms = False, now_ms
        return True

    def _tables(self) -> Tables:
        """What is stored by rows."""
        parts = {
            "recommender": self.recommender,
            "clusters": self.clusters,
            "audience": self.standing,
            "propensity": self.propensity,
            "views": self.views,
        }
        return Tables(parts, self.recommender.vocabularies(), self.cards)
