"""What personalization knows of the clusters: numbers, names, and which ended. Trained elsewhere.

`train_clusters` sends changes with every batch, and everything with its first batch after a start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state.training import ClustersTrained


class ClusterReplica:
    """Numbers of the current clusters; name and version by cluster; ended clusters.

    `retired` are clusters whose shoppers have not been moved yet, with the replacement of each, or
    NO_ROW. It and `definitions` are stored.
    """

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.next_id = 0
        self.retired: dict[int, int] = {}
        self.definitions: dict[int, tuple[str, int]] = {}
        self._renamed: dict[int, tuple[str, int]] = {}

    def apply(self, trained: ClustersTrained) -> None:
        """Take in the changes of a batch. A cluster whose replacement ends gets the replacement's
        replacement."""
        self.numbers, self.next_id = trained.numbers, trained.next_id
        for number, replacement in trained.retired:
            self.retired = {
                source: replacement if target == number else target
                for source, target in self.retired.items()
            }
            self.retired[number] = replacement
        renamed = {
            cluster: definition
            for cluster, definition in trained.renamed.items()
            if self.definitions.get(cluster) != definition
        }
        self.definitions.update(renamed)
        self._renamed.update(renamed)

    def take_renamed(self) -> dict[int, tuple[str, int]]:
        """The names that changed since the last call."""
        renamed, self._renamed = self._renamed, {}
        return renamed

    def scalars(self) -> Arrays:
        """What is stored beside the definitions."""
        return {"ended": np.array([*self.retired.items()], np.int64).reshape(-1, 2)}

    def restore(
        self, arrays: Mapping[str, NDArray[np.int64]], definitions: dict[int, tuple[str, int]]
    ) -> None:
        """Restore what `scalars` returned, and the definitions."""
        self.retired = dict(arrays.get("ended", np.empty((0, 2), np.int64)).tolist())
        self.definitions = definitions


def assignments_of(
    trained: Sequence[ClustersTrained], shoppers: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The cluster of each shopper, NO_ROW for none, and its distance to the centre.

    Of several batches the newest assignment counts. KeyError for a shopper that was not assigned.
    """
    newest = trained[-1]
    if newest.shoppers == shoppers:
        return np.frombuffer(newest.labels, np.int64), np.frombuffer(newest.distances, np.float32)
    labels = np.concatenate([np.frombuffer(one.labels, np.int64) for one in trained])
    distances = np.concatenate([np.frombuffer(one.distances, np.float32) for one in trained])
    index_of = {
        shopper: index
        for index, shopper in enumerate(name for one in trained for name in one.shoppers)
    }
    indexes = np.array([index_of[shopper] for shopper in shoppers], np.intp)
    return labels[indexes], distances[indexes]
