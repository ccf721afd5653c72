"""Real servers for tests: an OTLP receiver, moto, the LLM wire server, processes."""
