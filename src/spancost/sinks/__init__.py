"""Where the money goes: metrics (OpenTelemetry, Prometheus) and the ledger."""
