"""What it costs: the dated price book and the look-up order. Knows nothing of OpenTelemetry."""
