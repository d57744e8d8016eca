"""A trial of an estimator before a run: it must learn, predict, and be the same after it was stored.

So a model that cannot work here (it reads text, it gives no chances) is an error of the configuration,
and not one of each event.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from operators.models.river.pickles import dump_estimator, load_estimator
from state.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def trial(key: str, text: str) -> Iterator[None]:
    """A context in which an exception means that the estimator cannot be used."""
    try:
        yield
    except ConfigurationError:
        raise
    except Exception as error:
        problem = " ".join(f"{type(error).__name__}: {error}".rstrip(": ").split())
        raise ConfigurationError(
            f"{key}: {text!r} cannot be used: in a trial it raised {problem}; name another, or "
            "correct its parameters (docs/river.md)"
        ) from error


def check_repeats(first: Any, second: Any, predict: Callable[[Any], object]) -> None:
    """Raise ValueError where two estimators that learned the same, or a stored copy, differ."""
    expected = predict(first)
    if predict(second) != expected:
        raise ValueError(
            "it learns something else each time: give its random parts a seed, as seed=7"
        )
    if predict(load_estimator(dump_estimator(first))) != expected:
        raise ValueError("its state cannot be stored: a restored copy predicts something else")
