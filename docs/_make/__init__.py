"""Makes the pages under `docs/reference/` that follow from the code."""
