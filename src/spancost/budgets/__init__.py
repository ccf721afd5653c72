"""Budgets: rules about money, where their sums are kept, who is told, and what is stopped.

    charges of a flush ─▶ matching (which rule, whose key) ─▶ store ─▶ view (sums of everybody) ─▶ states ─▶ notify

Nothing here is on the span path: a flush hands over what was charged, on the publishing thread. Guards are the other
door: they ask the store before a call is made. This package knows nothing of OpenTelemetry's SDK.
"""
