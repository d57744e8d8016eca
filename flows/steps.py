"""The stored names of the dataflow: its id, its step ids, and the key of steps with one key.

A recovery folder keeps state under `<flow id>.<step id>`. They never change without a migration: a
renamed step starts with empty state, without a warning. `flows/recovery/migration.py` knows former
names, `state/snapshots.py` the format of each step's state.
"""

FLOW_ID = "personalize"

EVENTS = "events"
BY_DEVICE = "by_device"
ARRIVED = "arrived"
ORDER = "order"
TURNS = "turns"
IN_ORDER = "in_order"
IDENTIFY = "identify"
BY_SHOPPER = "by_shopper"
SESSIONIZE = "sessionize"
TOGETHER = "together"
SORTABLE = "sortable"
FEATURES_OF = "features_of"
TRAIN_CLUSTERS = "train_clusters"
OUTCOMES_OF = "outcomes_of"
TRAIN_PROPENSITY = "train_propensity"
INTERACTIONS_OF = "interactions_of"
TRAIN_ITEMS = "train_items"
KPI_EVENTS_OF = "kpi_events_of"
KPIS = "kpis"
KPI_WRITES = "kpi_writes"
WRITTEN = "written"
TRAINED = "trained"
MODELS = "models"
JOINED = "joined"
PERSONALIZE = "personalize"
REDIS = "redis"
CHANGED = "changed"
CHANGES = "changes"
REJECTED = "rejected"
FAILED = "failed"
ERASED = "erased"
SET_ASIDE = "set_aside"
DEAD_LETTERS = "dead_letters"
TICKS = "pulse"  # stored when liveness was called so

SINGLE_KEY = "all"
"""The key of personalization and of the sinks: it decides which worker runs them."""

ORDER_KEY = "order.1"
"""The one key of the step that puts batches in order. It falls on another worker than `SINGLE_KEY`, one
that reads, so that a turn has a short way."""

CLUSTERS_KEY, PROPENSITY_KEY, ITEMS_KEY = "clusters.44", "propensity.5", "items.1"
"""The one key of each step that trains. The number at its end was chosen so that the key falls on
another worker than the others wherever there are enough workers (`flows/cluster/placement.py`; a test
asks Bytewax itself)."""

KPIS_KEY = "kpis.1"
"""The one key of the step of key figures."""


def stored_id(step: str) -> str:
    """The name of a step in a recovery store.

    >>> stored_id(EVENTS)
    'personalize.events'
    """
    return f"{FLOW_ID}.{step}"
