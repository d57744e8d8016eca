"""What every list learner promises; `tests/test_learner_promises.py` holds each of them to it.

To add a learner: one file here with a class of this shape, one line in `registry.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from state.interactions import Interactions, Lists, Requests


@runtime_checkable
class Learner(Protocol):
    """Learns from batches of interactions and names candidates for shoppers.

    Promises: candidates before the first batch are empty, never an error; `candidates` never
    changes what a later call answers (reads do not learn, and do not grow state); the same seed and
    the same batches give the same arrays; rows beyond what was learned are answered, not raised;
    a list never holds an item twice; memory is bounded by the numbers of items and shoppers times
    a constant from the constructor; `from_arrays(arrays())` answers alike and learns on alike.
    """

    name: str

    def learn_many(self, batch: Interactions) -> None:
        """Learn a batch, in its order."""

    def candidates(self, requests: Requests, k: int) -> Lists:
        """At most k items for each request, best first."""

    def arrays(self) -> Mapping[str, NDArray[np.generic]]:
        """The whole state as named arrays, for a snapshot. Not to be changed by the caller."""

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over a state that `arrays` gave, of a learner made with the same arguments."""
