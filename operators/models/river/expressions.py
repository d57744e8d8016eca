"""Reads an estimator from the configuration, as in `river.cluster.KMeans(n_clusters=8)`.

Nothing is evaluated: the text is parsed, and only classes of River, literals, `|` (a pipeline) and `+`
(a union of transformers) mean something. To allow another module of River: a line in `MODULES`.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from river.base import Base

from state.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

R = TypeVar("R", bound=Base)

MODULES = (
    *("anomaly", "cluster", "compose", "drift", "drift.binary", "dummy", "ensemble", "facto"),
    *("feature_extraction", "feature_selection", "forest", "imblearn", "linear_model", "metrics"),
    *("misc", "model_selection", "multiclass", "naive_bayes", "neighbors", "optim"),
    *("optim.initializers", "optim.losses", "optim.schedulers", "preprocessing", "proba", "reco"),
    *("rules", "sketch", "stats", "tree", "tree.splitter"),
)
"""Modules whose classes may be named: what learns, and what such classes take as arguments. Not those
that read files or the network, and none of functions."""
TEXT_MAX = 2000


class Kind(NamedTuple):
    """What a key expects: a base class of River, its name in words, an example."""

    base: type[Base]
    words: str
    example: str


def parse_estimator(
    text: str, key: str, kind: Kind, *, seed: int, features: Sequence[str] = ()
) -> Any:
    """The estimator that `text` names, new. Raises ConfigurationError that names the key and the fix.

    Every random part gets `seed`, unless the text gives another: the same input gives the same result.
    A text that is one of the `features` stands for its number, the name under which estimators get it.
    """
    return _ExpressionReader(text, key, kind, seed, features).read()


class _ExpressionReader:
    """Turns one text into an estimator."""

    def __init__(self, text: str, key: str, kind: Kind, seed: int, features: Sequence[str]) -> None:
        self._text = text
        self._key = key
        self._kind = kind
        self._seed = seed
        self._numbers = {name: number for number, name in enumerate(features)}

    def read(self) -> Any:
        if len(self._text) > TEXT_MAX:
            raise self._error(f"longer than {TEXT_MAX} characters")
        try:
            tree = ast.parse(self._text.strip(), mode="eval")
            result = self._value(tree.body)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise self._error(f"cannot be read ({error.__class__.__name__}: {error})") from error
        if not isinstance(result, self._kind.base):
            what = type(result).__name__
            raise self._error(f"{what} is not {self._kind.words}")
        if _is_stochastic(result):
            # An estimator that another one makes by default.
            result = result.clone(_seeded(result._get_params(), self._seed))
        if _is_stochastic(result):
            raise self._error("has a random part that takes no seed")
        return result

    def _error(self, problem: str) -> ConfigurationError:
        shown = self._text if len(self._text) <= 200 else f"{self._text[:200]}..."
        return ConfigurationError(
            f"{self._key}: {shown!r}: {' '.join(problem.split())}; write {self._kind.words}, as in "
            f"{self._kind.example} (docs/river.md)"
        )

    def _value(self, node: ast.expr) -> Any:
        """The value of a part of the text."""
        if isinstance(node, ast.Call):
            return self._instance(node)
        if isinstance(node, ast.BinOp):
            return self._combined(node)
        if isinstance(node, ast.Constant):
            return self._constant(node)
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            values = [self._value(one) for one in node.elts]
            return {ast.List: list, ast.Tuple: tuple, ast.Set: set}[type(node)](values)
        if isinstance(node, ast.Dict) and None not in node.keys:
            names = [self._value(one) for one in node.keys if one is not None]
            return dict(zip(names, map(self._value, node.values), strict=True))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            number = self._value(node.operand)
            if isinstance(number, int | float):
                return -number if isinstance(node.op, ast.USub) else number
        if isinstance(node, ast.Attribute):
            self._class(node)
            raise self._error(f"`{ast.unparse(node)}` needs parentheses: {ast.unparse(node)}()")
        raise self._error(f"`{ast.unparse(node)}` is neither a class of River nor a plain value")

    def _constant(self, node: ast.Constant) -> Any:
        if not isinstance(node.value, int | float | str | None):
            raise self._error(f"`{ast.unparse(node)}` is neither a number nor a text")
        if isinstance(node.value, str):
            return self._numbers.get(node.value, node.value)
        return node.value

    def _combined(self, node: ast.BinOp) -> Any:
        """A pipeline or a union."""
        left, right = self._value(node.left), self._value(node.right)
        if not (isinstance(left, Base) and isinstance(right, Base)):
            raise self._error(f"`{ast.unparse(node)}`: both sides must be estimators")
        try:
            if isinstance(node.op, ast.BitOr):
                return left | right  # type: ignore[operator]
            if isinstance(node.op, ast.Add):
                return left + right  # type: ignore[operator]
        except (TypeError, ValueError, AttributeError) as error:
            raise self._error(f"`{ast.unparse(node)}`: {error}") from error
        raise self._error(f"`{ast.unparse(node)}`: only | and + combine estimators")

    def _instance(self, node: ast.Call) -> Base:
        """An estimator with its arguments."""
        found = self._class(node.func)
        name = ast.unparse(node.func)
        if any(isinstance(one, ast.Starred) for one in node.args):
            raise self._error("* and ** are not read: write each argument")
        positional = [self._value(one) for one in node.args]
        named = {}
        for one in node.keywords:
            if one.arg is None:
                raise self._error("* and ** are not read: write each argument")
            named[one.arg] = self._value(one.value)
        parameters = inspect.signature(found).parameters
        self._check_names(name, named, parameters)
        # `STREAMKMeans` hands its **kwargs on to the `KMeans` that it makes.
        takes_seed = {"seed", "kwargs"} & {*[*parameters][len(positional) :]}
        if takes_seed and named.get("seed") is None:
            named["seed"] = self._seed
        try:
            return found(*positional, **named)
        except Exception as error:
            raise self._error(f"{name}: {error}") from error

    def _check_names(self, name: str, named: Iterable[str], parameters: Any) -> None:
        if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values()):
            return
        for one in named:
            if one not in parameters:
                hint = _did_you_mean(one, parameters)
                known = ", ".join(parameters) or "nothing"
                raise self._error(f"{name} has no parameter `{one}`{hint}; it takes {known}")

    def _class(self, node: ast.expr) -> type[Base]:
        """The class of River that a dotted name names."""
        name = ast.unparse(node)
        prefix, _, short = name.rpartition(".")
        if not name.startswith("river.") or not all(p.isidentifier() for p in name.split(".")):
            raise self._error(f"`{name}` is not a name under `river.`{_elsewhere(name)}")
        module = prefix.removeprefix("river.")
        if module not in MODULES:
            hint = _did_you_mean(module, MODULES, "river.") or _elsewhere(name)
            raise self._error(f"`{prefix}` is no module of River that may be used{hint}")
        classes = _classes(module)
        if short not in classes:
            hint = _did_you_mean(short, classes, f"{prefix}.") or _elsewhere(name)
            raise self._error(f"`{name}` does not exist{hint}")
        return classes[short]


def _classes(module: str) -> dict[str, type[Base]]:
    """The public classes of a module."""
    imported = importlib.import_module(f"river.{module}")
    named = ((name, getattr(imported, name, None)) for name in imported.__all__)
    return {name: one for name, one in named if inspect.isclass(one) and issubclass(one, Base)}


def _elsewhere(name: str) -> str:
    """Where a class of that name, or of nearly the same, is."""
    short = name.rpartition(".")[2]
    places = {one: module for module in MODULES for one in _classes(module)}
    close = difflib.get_close_matches(short, places, n=1, cutoff=0.8)
    return f": did you mean river.{places[close[0]]}.{close[0]}?" if close else ""


def _did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    close = difflib.get_close_matches(name, [*known], n=2)
    return f": did you mean {' or '.join(f'{prefix}{one}' for one in close)}?" if close else ""


def _seeded(parameters: Any, seed: int) -> Any:
    """Parameters as River clones by them, with the seed wherever there is none."""
    if isinstance(parameters, tuple) and len(parameters) == 2 and isinstance(parameters[1], dict):
        return parameters[0], _seeded(parameters[1], seed)
    if not isinstance(parameters, dict):
        return parameters
    return {
        name: seed if name == "seed" and value is None else _seeded(value, seed)
        for name, value in parameters.items()
    }


def _is_stochastic(estimator: Base) -> bool:
    """Whether a random part has no seed."""
    return bool(getattr(estimator, "_is_stochastic", False))
