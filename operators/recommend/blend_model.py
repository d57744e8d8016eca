"""How much the place and score that each learner gives an item say: a model that learns online.

To be changed by measurement only: `make quality`. The names of the arrays in `small` are stored.
"""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any

import numpy as np

from operators.tables.array_ops import Sums, sums
from operators.tables.top_partners import run_starts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from state.interactions import Rows, Weights

    SignsOf = Callable[[NDArray[np.intp], Rows], Weights]
    """Signs of items, float32[n, signs], by the rows they are listed in; both ascend together."""

FEATURES = ("place", "log_place", "log_score", "listed")
"""Of an item in a learner's list: 1/place, how early by the logarithm, score against the first one's
by the logarithm, and that it is there."""
PLACES = 24
"""From this place on `log_place` says nothing."""
SCORE_MIN = 1e-3
"""A share of the best score at which `log_score` says nothing."""
RATE = 0.2
"""The first step of the weights; Adagrad makes the later ones smaller."""
STEADY = 1.0
"""Added to the moments of past gradients, so that a few cases do not move a weight by `RATE`."""
CASES_AT_ONCE, CASES_FIRST = 128, 8
"""Cases between two steps of the weights, however the stream is cut: the first steps have fewer."""

DEPTHS = (1, 2, 4)
SITUATIONS = 2 * (len(DEPTHS) + 1)


def situation(context: Rows) -> NDArray[np.intp]:
    """What kind of moment it is, by contexts newest first [n, r] -> [n], below `SITUATIONS`.

    How many items the session holds, 0, 1, 2 to 3, or more, and whether the newest was there before.

    >>> situation(np.array([[-1, -1, -1], [7, -1, -1], [7, 5, 7]], np.int32)).tolist()
    [0, 2, 5]
    """
    depth = np.searchsorted(DEPTHS, (context >= 0).sum(axis=1), side="right")
    newest = context[:, :1]
    came_back = ((context[:, 1:] == newest) & (newest >= 0)).any(axis=1)
    return np.asarray(2 * depth + came_back, np.intp)


def features(item: Rows, score: Weights) -> Weights:
    """Lists [n, learners, places] as float32[n, learners, places, FEATURES], 0 where nothing is."""
    place = np.arange(item.shape[2], dtype=np.float32)
    log_place = np.maximum(1 - np.log1p(place) / np.log1p(np.float32(PLACES)), 0)
    best = np.maximum(score[:, :, :1], np.finfo(np.float32).tiny)
    log_score = 1 - np.log(np.maximum(score / best, SCORE_MIN)) / np.log(SCORE_MIN)
    values = np.empty((*item.shape, len(FEATURES)), np.float32)
    values[..., 0], values[..., 1], values[..., 2], values[..., 3] = (
        1 / (1 + place),
        log_place,
        log_score,
        1,
    )
    values *= (item >= 0)[..., None]
    return values


class Mixture:
    """The chance that an item is next: a softmax over all listed items of what the learners say.

    What a learner says of an item is a weighted sum of `FEATURES`, with weights of its own for each
    `situation` and others for all of them. They follow the gradient of the log-likelihood of what
    came next (multinomial logit, McFadden 1974; steps as in Duchi, Hazan and Singer, "Adaptive
    subgradient methods", JMLR 2011, with full matrices: learners and features say much the same, and
    without them what sets two apart is learned last), whose memory fades over `memory` cases.

    weights float64[SITUATIONS + 1, learners, FEATURES], those for all situations last; `moments`
    float32[SITUATIONS + 1, learners, FEATURES, learners, FEATURES], of the gradients of cases. Beside
    them are weights of `signs`, what is told of an item whoever listed it; the same for all situations.
    """

    def __init__(
        self,
        names: Sequence[str],
        beliefs: Sequence[float],
        memory: int,
        signs: Sequence[float] = (),
    ) -> None:
        self.names = tuple(names)
        self.memory = memory
        self.weights = np.zeros((SITUATIONS + 1, len(names), len(FEATURES)))
        self.weights[-1] = np.array(beliefs)[:, None]
        self.moments = np.zeros((*self.weights.shape, *self.weights.shape[1:]), np.float32)
        self.sign_weights = np.array(signs, np.float64)
        self.sign_squares = np.zeros(len(signs))
        self.cases = 0
        self._wait()

    def with_signs(self, of: Sums, signs: Weights | None) -> Sums:
        """Sums with what signs of their items say added."""
        if signs is None or not len(of.item):
            return of
        return of._replace(score=of.score + signs @ self.sign_weights.astype(np.float32))

    def says(self, item: Rows, score: Weights, situations: NDArray[np.intp]) -> Weights:
        """What each place of lists [n, learners, places] adds to its item's logarithmic chance.

        float32[n, learners * places].
        """
        return self._said(features(item, score), situations)

    def _said(self, values: Weights, situations: NDArray[np.intp]) -> Weights:
        weights = (self.weights[situations] + self.weights[-1]).astype(np.float32)
        said: Weights = np.matmul(values, weights[..., None])[..., 0]
        return said.reshape(len(values), values.shape[1] * values.shape[2])

    @staticmethod
    def chances(of: Sums) -> Weights:
        """The chance of each summed item among those of its row."""
        if not len(of.row):
            return of.score
        first = run_starts(of.row)
        count = np.diff(first, append=len(of.row))
        chance = np.exp(of.score - np.repeat(np.maximum.reduceat(of.score, first), count))
        chance /= np.repeat(np.add.reduceat(chance, first), count)
        return np.asarray(chance, np.float32)

    def learn(
        self,
        item: Rows,
        score: Weights,
        situations: NDArray[np.intp],
        came: Rows,
        signs_of: Callable[[slice], SignsOf | None] = lambda part: None,
    ) -> None:
        """Learn what came after lists [n, learners, places] that stood, in their order."""
        start = 0
        while start < len(came):
            wanted = min(CASES_AT_ONCE, CASES_FIRST + self.cases // 8)
            part = slice(start, start + wanted - len(self._pulls))
            self._pull(item[part], score[part], situations[part], came[part], signs_of(part))
            if len(self._pulls) == wanted:
                self._step()
            start = part.stop

    def _wait(self) -> None:
        """Begin with the next step: no case waits for it."""
        self._pulls: Weights = np.empty((0, self.weights[0].size), np.float32)
        self._situations: NDArray[np.intp] = np.empty(0, np.intp)
        self._sign_pull = np.zeros(len(self.sign_weights))

    def _pull(
        self,
        item: Rows,
        score: Weights,
        situations: NDArray[np.intp],
        came: Rows,
        signs_of: SignsOf | None,
    ) -> None:
        """The gradients of cases, float32[n, learners * FEATURES], which wait for a step."""
        n = len(came)
        values = features(item, score)
        of = sums(item.reshape(n, -1), self._said(values, situations))
        signs = None if signs_of is None else signs_of(of.row, of.item)
        of = self.with_signs(of, signs)
        is_next = of.item == came[of.row]
        hit = np.bincount(of.row[is_next], minlength=n) > 0
        missed = np.where(hit[of.row], is_next - self.chances(of), 0)
        by_place = np.zeros(item.size, np.float32)
        by_place[of.source] = np.repeat(missed, of.sizes)
        pull = np.matmul(by_place.reshape(n, item.shape[1], 1, -1), values)[:, :, 0]
        self._pulls = np.concatenate([self._pulls, pull.reshape(n, -1)])
        self._situations = np.concatenate([self._situations, situations])
        if signs is not None:
            self._sign_pull += missed @ signs

    def _step(self) -> None:
        """A step along the gradients of all cases that waited for it."""
        n, of_signs = len(self._pulls), self._sign_pull
        self._follow(self._pulls, self._situations)
        if of_signs.any():
            self.sign_squares *= (1 - 1 / self.memory) ** n
            self.sign_squares += of_signs**2
            self.sign_weights += RATE * of_signs / np.sqrt(self.sign_squares + STEADY)
        self.cases += n
        self._wait()

    def _follow(self, pull: Weights, situations: NDArray[np.intp]) -> None:
        """A step along gradients float32[n, learners * FEATURES], by the moments of all so far."""
        width = pull.shape[1]
        weights = self.weights.reshape(-1, width)
        moments = self.moments.reshape(-1, width, width)
        moments *= np.float32((1 - 1 / self.memory) ** len(pull))
        for place in (*np.unique(situations).tolist(), SITUATIONS):
            of = pull if place == SITUATIONS else pull[situations == place]
            moments[place] += of.T @ of
            size, way = np.linalg.eigh(moments[place].astype(np.float64))
            step = way.T @ of.sum(axis=0, dtype=np.float64) / np.sqrt(np.maximum(size, 0) + STEADY)
            weights[place] += RATE * (way @ step)

    def small(self) -> dict[str, NDArray[Any]]:
        """The weights and the memory of their steps, by learner, copied."""
        weights = {
            f"weights/{name}": self.weights[:, place].copy()
            for place, name in enumerate(self.names)
        }
        moments = {f"moments/{a}/{b}": self._moments_of(a, b).copy() for a, b in self._pairs()}
        signs = {"sign_weights": self.sign_weights, "sign_squares": self.sign_squares}
        width = len(FEATURES)
        pulls = {
            f"pulls/{name}": self._pulls[:, width * place : width * (place + 1)]
            for place, name in enumerate(self.names)
        }
        waiting = {
            "pull_situations": self._situations,
            "sign_pull": self._sign_pull,
            "cases": np.array([self.cases]),
        }
        rest = {**pulls, **waiting, **signs}
        return {**weights, **moments, **{name: array.copy() for name, array in rest.items()}}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `small` gave; a learner that is not in it keeps what it began with."""
        for place, name in enumerate(self.names):
            self.weights[:, place] = arrays.get(f"weights/{name}", self.weights[:, place])
            if f"squares/{name}" in arrays:  # of a release whose matrices were diagonal
                diagonal = np.arange(len(FEATURES))
                moments = self.moments[:, place, :, place]
                moments[:, diagonal, diagonal] = arrays[f"squares/{name}"]
        for a, b in self._pairs():
            if f"moments/{a}/{b}" in arrays:
                self._moments_of(a, b)[:] = arrays[f"moments/{a}/{b}"]
                self._moments_of(b, a)[:] = arrays[f"moments/{a}/{b}"].transpose(0, 2, 1)
        if "sign_weights" in arrays and len(arrays["sign_weights"]) == len(self.sign_weights):
            self.sign_weights = arrays["sign_weights"].astype(np.float64)
            self.sign_squares = arrays["sign_squares"].astype(np.float64)
        if "cases" in arrays:
            self._restore_waiting(arrays)

    def _restore_waiting(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.cases = int(arrays["cases"][0])
        self._situations = arrays["pull_situations"].astype(np.intp)
        nothing = np.zeros((len(self._situations), len(FEATURES)), np.float32)
        of_learners = [arrays.get(f"pulls/{name}", nothing) for name in self.names]
        self._pulls = np.concatenate(of_learners, axis=1).astype(np.float32)
        if len(arrays["sign_pull"]) == len(self.sign_weights):
            self._sign_pull = arrays["sign_pull"].astype(np.float64)

    def _pairs(self) -> Iterator[tuple[str, str]]:
        """Each learner with itself and those after it."""
        return combinations_with_replacement(self.names, 2)

    def _moments_of(self, one: str, other: str) -> Weights:
        """The moments of two learners, a view of float32[SITUATIONS + 1, FEATURES, FEATURES]."""
        place, other_place = self.names.index(one), self.names.index(other)
        moments: Weights = self.moments[:, place, :, other_place]
        return moments
