"""Lets dear modules load when something of them is used, and not at the start.

`river.drift` imports `scipy.stats` for one detector of several: .4 s and 40 MB of every start.
"""

from __future__ import annotations

import importlib.util
import sys


def defer_import(name: str) -> None:
    """Make a submodule load at the first use of one of its attributes: `from package import name`
    does not load it any more, `import package.name` does.

    Nothing happens if it is loaded already.
    """
    if name in sys.modules:
        return
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        return
    loader = importlib.util.LazyLoader(spec.loader)
    spec.loader = loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader.exec_module(module)
    package, _, attribute = name.rpartition(".")
    # Where the attribute is missing, an import looks at the module itself, which loads it.
    setattr(sys.modules[package], attribute, module)
