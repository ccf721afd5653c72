"""`spancost budgets`: how budgets stand, for people, for monitoring and for trying out who is told."""
