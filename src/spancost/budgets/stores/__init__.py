"""Where budgets are kept: `memory` for one process, `sqlite` for one machine, `redis` for a fleet."""
