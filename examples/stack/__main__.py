"""`python -m examples.stack` runs the demo with all backends."""

from __future__ import annotations

import sys

from examples.stack.demo import main

if __name__ == "__main__":
    sys.exit(main())
