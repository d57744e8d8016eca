"""Online estimators on plain arrays: they know neither shoppers nor segments nor lists.

Change by measurement (`python -m benchmarks.clusters`, `benchmarks.factors`), and against the oracle
that a file names; the names of arrays are stored.
"""

from operators.models.deferred_imports import defer_import

# Before any module here imports River, which imports the first and the last of them.
defer_import("scipy.stats")
defer_import("scipy.optimize")
defer_import("scipy.integrate")
