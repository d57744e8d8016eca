"""`python -m flows` is `penstock`."""

import os
import sys

from flows.cli import main
from flows.supervised import is_supervised

if __name__ == "__main__":
    code = main()
    if is_supervised():
        # Threads of a cluster outlive its flow, and the interpreter cannot end in order under them.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
