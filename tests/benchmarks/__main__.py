"""`python -m tests.benchmarks`: what spancost adds to spans and requests, as a table and as JSON lines."""

from __future__ import annotations

import sys

from tests.benchmarks.runner import main

sys.exit(main())
