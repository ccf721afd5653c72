"""Adds the facts that instrumentations leave out: body sizes, consumed capacity, message counts.

Hooks write into the *facts* of a live span, a plain dict that only spancost sees and that is gone
when the span has been priced. They keep sizes, counts, flags and names of resources; never argument
values, bodies, keys or URLs.
"""
