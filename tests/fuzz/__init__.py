"""Made-up input for everything that reads what others write.

Each target runs for 10 seconds in `make test-long`; longer with `python -m pytest tests/fuzz --fuzz-seconds 600`, or
`SPANCOST_FUZZ_SECONDS`. A failure names the seed: `--fuzz-seed`, or `SPANCOST_FUZZ_SEED`, begins with it.
"""
