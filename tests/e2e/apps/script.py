"""A plain script that knows nothing of prices: `script.py JOBS` does that many jobs and ends.

With a further argument it says `done` and waits to be ended by a signal.
"""

from __future__ import annotations

import sys
import threading
import time

from opentelemetry import trace

from tests.e2e.apps.llm_call import call_llm

WORK_S = 0.01

_tracer = trace.get_tracer("e2e.script")


def main(jobs: int) -> None:
    """Do the jobs one after the other."""
    for _ in range(jobs):
        with _tracer.start_as_current_span("job"):
            time.sleep(WORK_S)
            call_llm()


if __name__ == "__main__":
    main(int(sys.argv[1]))
    if len(sys.argv) > 2:
        print("done", flush=True)
        threading.Event().wait()
