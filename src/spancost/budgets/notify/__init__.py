"""How people are told of budgets: one module a channel, and the queue that delivers."""
