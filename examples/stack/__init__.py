"""The backends around spancost as real processes on loopback: Collector, Prometheus, Alertmanager, a trace UI."""
