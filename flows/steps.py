"""The stored names of the dataflow: its id, its step ids, and the key of steps with one key.

A recovery folder keeps state under `<flow id>.<step id>`. They never change without a migration: a
renamed step starts with empty state, without a warning. Some Python names differ from the stored ones;
a comment gives the reason. `state/snapshots.py` lists the format of each step's state.
"""

FLOW_ID = "personalize"

EVENTS = "events"
BY_DEVICE = "by_device"
VISIT_DEVICES = "visit_devices"
BY_USER = "by_user"
VISIT_USERS = "visit_users"
TO_SINGLE_KEY = "together"  # stored when the step gathered all shards' results
PERSONALIZE = "learn"  # stored before the step also made segments and lists
FEATURES_OF = "features_of"
TRAIN_CLUSTERS = "train_clusters"
OUTCOMES_OF = "outcomes_of"
TRAIN_PROPENSITY = "train_propensity"
INTERACTIONS_OF = "interactions_of"
TRAIN_ITEMS = "train_items"
TRAINED = "trained"
MODELS = "models"
TO_PERSONALIZE = "to_personalize"
REDIS = "redis"
CHANGED = "changed"
CHANGES = "changes"
REJECTED = "rejected"
FAILED = "failed"
ERASED = "forgotten"  # stored when an erasure was called so
MERGE_DEAD_LETTERS = "set_aside"  # stored when dead letters were called so
DEAD_LETTERS = "dead_letters"
TICKS = "pulse"  # stored when liveness was called so

SINGLE_KEY = "all"
"""The key of personalization and of the sinks: it decides which worker runs them."""

CLUSTERS_KEY, PROPENSITY_KEY, ITEMS_KEY = "clusters.44", "propensity.5", "items.1"
"""The one key of each step that trains. The number at its end was chosen so that the key falls on
another worker than the others wherever there are enough workers (`flows/cluster/placement.py`; a test
asks Bytewax itself)."""


def stored_id(step: str) -> str:
    """The name of a step in a recovery store.

    >>> stored_id(EVENTS)
    'personalize.events'
    """
    return f"{FLOW_ID}.{step}"
