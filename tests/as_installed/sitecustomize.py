"""Programs that tests start see what an installation has: `installed.py` puts this folder on their path.

scikit-learn and pandas are there for comparisons in tests and benchmarks alone. River takes them in
where it finds them, which nearly doubles the time until a flow begins.
"""

import sys

for _name in ("pandas", "sklearn"):
    sys.modules[_name] = None  # type: ignore[assignment]
