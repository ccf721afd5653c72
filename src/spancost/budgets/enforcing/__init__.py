"""The switch that guards every LLM and boto3 call without a change of the application (`SPANCOST_ENFORCE`).

The clients are wrapped at the one method through which each of their calls goes, once they are imported: nothing is
imported on our account. The wrapper reserves the worst case, and the span of the call is settled by that reservation,
whether an instrumentation has started it outside of the wrapper or starts it inside.
"""
