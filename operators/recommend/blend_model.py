"""The weights of the learners' candidates by position and score: a model that learns online.

To be changed by measurement only: `make quality`. The names of the arrays in `scalars` are stored.
"""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any

import numpy as np

from operators.kernels.ranking.blend import gradients
from operators.kernels.ranking.blend_features import (
    CONTEXT_CLASSES,
    FEATURES,
    position_features,
)
from operators.tables.table import TableState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from operators.kernels.ranking.blend import Feedback
    from state.arrays import Rows, Weights

LEARNING_RATE = 0.2
"""The step size of the weights; Adagrad makes later steps smaller."""
DAMPING = 1.0
"""Added to the moments of past gradients, so that a few cases do not move a weight by
`LEARNING_RATE`."""
CASES_PER_STEP, CASES_PER_FIRST_STEP = 128, 8
"""Cases of one step, whatever the batches are; the first steps have fewer."""


class BlendModel(TableState):
    """The probability that an item is clicked next: a softmax over all candidates.

    An item's score is the sum of what the learners' lists add: features of its position and score there
    (`FEATURES`), with weights of each learner for each class of contexts and others for all of them. The
    weights follow the gradient of the log-likelihood of the next clicks (multinomial logit, McFadden
    1974; steps as in Duchi, Hazan and Singer, "Adaptive subgradient methods", JMLR 2011, with full
    matrices: learners and features are strongly correlated, and without them the difference of two is
    learned last). What is learned decays over `memory_cases` cases.

    weights float64[CONTEXT_CLASSES + 1, learners, FEATURES], those for all classes last; `moments`
    float32[CONTEXT_CLASSES + 1, learners, FEATURES, learners, FEATURES], of the gradients of cases.
    `feedback_weights` are the weights of feedback features, which belong to the item, whoever lists it.
    """

    def __init__(
        self,
        names: Sequence[str],
        prior_weights: Sequence[float],
        memory_cases: int,
        feedback_weights: Sequence[float] = (),
    ) -> None:
        self.names = tuple(names)
        self.memory_cases = memory_cases
        self.weights = np.zeros((CONTEXT_CLASSES + 1, len(names), len(FEATURES)))
        self.weights[-1] = np.array(prior_weights)[:, None]
        self.moments = np.zeros((*self.weights.shape, *self.weights.shape[1:]), np.float32)
        self.feedback_weights = np.array(feedback_weights, np.float64)
        self.feedback_squares = np.zeros(len(feedback_weights))
        self.cases = 0
        self._reset_gradients()

    def class_weights(self) -> Weights:
        """The weights of each class of contexts, float32[CONTEXT_CLASSES, learners, FEATURES]."""
        return np.asarray(self.weights[:-1] + self.weights[-1], np.float32)

    def learn(
        self,
        item: Rows,
        score: Weights,
        context_classes: NDArray[np.int8],
        clicked: Rows,
        feedback_of: Callable[[slice], Feedback],
    ) -> None:
        """Learn the clicks that came after lists [n, learners, positions], in order of time."""
        start = 0
        while start < len(clicked):
            wanted = min(CASES_PER_STEP, CASES_PER_FIRST_STEP + self.cases // 8)
            part = slice(start, start + wanted - len(self._gradients))
            self._add_gradients(
                item[part], score[part], context_classes[part], clicked[part], feedback_of(part)
            )
            if len(self._gradients) == wanted:
                self._step()
            start = part.stop

    def _reset_gradients(self) -> None:
        """Begin the next step without any case."""
        self._gradients: Weights = np.empty((0, self.weights[0].size), np.float32)
        self._gradient_classes: NDArray[np.intp] = np.empty(0, np.intp)
        self._feedback_gradient = np.zeros(len(self.feedback_weights))

    def _add_gradients(
        self,
        item: Rows,
        score: Weights,
        context_classes: NDArray[np.int8],
        clicked: Rows,
        feedback: Feedback,
    ) -> None:
        """Add the gradients of cases, float32[n, learners * FEATURES], to the next step."""
        place, log_place = position_features(item.shape[2])
        gradient = np.empty((len(clicked), item.shape[1], len(FEATURES)), np.float32)
        gradients(
            item,
            score,
            context_classes,
            clicked,
            self.class_weights(),
            place,
            log_place,
            feedback,
            self.feedback_weights.astype(np.float32),
            gradient,
            self._feedback_gradient,
        )
        self._gradients = np.concatenate([self._gradients, gradient.reshape(len(clicked), -1)])
        self._gradient_classes = np.concatenate([self._gradient_classes, context_classes])

    def _step(self) -> None:
        """Take a step along the gradients of its cases."""
        n, feedback_gradient = len(self._gradients), self._feedback_gradient
        self._apply_gradients(self._gradients, self._gradient_classes)
        if feedback_gradient.any():
            self.feedback_squares *= (1 - 1 / self.memory_cases) ** n
            self.feedback_squares += feedback_gradient**2
            self.feedback_weights += (
                LEARNING_RATE * feedback_gradient / np.sqrt(self.feedback_squares + DAMPING)
            )
        self.cases += n
        self._reset_gradients()

    def _apply_gradients(self, gradient: Weights, context_classes: NDArray[np.intp]) -> None:
        """A step along gradients float32[n, learners * FEATURES], by the moments of all so far."""
        width = gradient.shape[1]
        weights = self.weights.reshape(-1, width)
        moments = self.moments.reshape(-1, width, width)
        moments *= np.float32((1 - 1 / self.memory_cases) ** len(gradient))
        for row in (*np.unique(context_classes).tolist(), CONTEXT_CLASSES):
            gradients = gradient if row == CONTEXT_CLASSES else gradient[context_classes == row]
            moments[row] += gradients.T @ gradients
            eigenvalues, eigenvectors = np.linalg.eigh(moments[row].astype(np.float64))
            step = (
                eigenvectors.T
                @ gradients.sum(axis=0, dtype=np.float64)
                / np.sqrt(np.maximum(eigenvalues, 0) + DAMPING)
            )
            weights[row] += LEARNING_RATE * (eigenvectors @ step)

    def scalars(self) -> dict[str, NDArray[Any]]:
        """The weights, the moments and the gradients of the next step, by learner, copied."""
        weights = {
            f"weights/{name}": self.weights[:, index].copy()
            for index, name in enumerate(self.names)
        }
        moments = {f"moments/{a}/{b}": self._moments_of(a, b).copy() for a, b in self._pairs()}
        feedback = {"sign_weights": self.feedback_weights, "sign_squares": self.feedback_squares}
        width = len(FEATURES)
        gradients = {
            f"pulls/{name}": self._gradients[:, width * index : width * (index + 1)]
            for index, name in enumerate(self.names)
        }
        pending = {
            "pull_situations": self._gradient_classes,
            "sign_pull": self._feedback_gradient,
            "cases": np.array([self.cases]),
        }
        rest = {**gradients, **pending, **feedback}
        return {**weights, **moments, **{name: array.copy() for name, array in rest.items()}}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from the arrays of a snapshot; a learner that is not in them keeps its prior weights."""
        for index, name in enumerate(self.names):
            self.weights[:, index] = arrays.get(f"weights/{name}", self.weights[:, index])
            if f"squares/{name}" in arrays:  # of a release whose matrices were diagonal
                diagonal = np.arange(len(FEATURES))
                moments = self.moments[:, index, :, index]
                moments[:, diagonal, diagonal] = arrays[f"squares/{name}"]
        for a, b in self._pairs():
            if f"moments/{a}/{b}" in arrays:
                self._moments_of(a, b)[:] = arrays[f"moments/{a}/{b}"]
                self._moments_of(b, a)[:] = arrays[f"moments/{a}/{b}"].transpose(0, 2, 1)
        if "sign_weights" in arrays and len(arrays["sign_weights"]) == len(self.feedback_weights):
            self.feedback_weights = arrays["sign_weights"].astype(np.float64)
            self.feedback_squares = arrays["sign_squares"].astype(np.float64)
        if "cases" in arrays:
            self._restore_gradients(arrays)

    def _restore_gradients(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.cases = int(arrays["cases"][0])
        self._gradient_classes = arrays["pull_situations"].astype(np.intp)
        nothing = np.zeros((len(self._gradient_classes), len(FEATURES)), np.float32)
        by_learner = [arrays.get(f"pulls/{name}", nothing) for name in self.names]
        self._gradients = np.concatenate(by_learner, axis=1).astype(np.float32)
        if len(arrays["sign_pull"]) == len(self.feedback_weights):
            self._feedback_gradient = arrays["sign_pull"].astype(np.float64)

    def _pairs(self) -> Iterator[tuple[str, str]]:
        """Each learner with itself and those after it."""
        return combinations_with_replacement(self.names, 2)

    def _moments_of(self, first: str, second: str) -> Weights:
        """The moments of two learners, a view of float32[CONTEXT_CLASSES + 1, FEATURES, FEATURES]."""
        index, other_index = self.names.index(first), self.names.index(second)
        moments: Weights = self.moments[:, index, :, other_index]
        return moments
