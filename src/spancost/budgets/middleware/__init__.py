"""Middleware that asks the budgets before a request is served, and answers 429 where they refuse it."""
