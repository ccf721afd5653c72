"""A simulated fleet that sends OTLP, and what the stack takes for it: `python -m tests.benchmarks.scale`."""
