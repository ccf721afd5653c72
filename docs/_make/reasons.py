"""The page of why something has no price, and of what was assumed where a figure is estimated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from spancost.bounds import AT_LEAST, AT_MOST, UNKNOWN, bound_of
from spancost.cli._reasons import ADVICE
from spancost.prices.docs import table

_TEXT: Final = """\
# Reasons and assumptions

## Why something is unpriced

A charge with the status `unpriced` carries one of these words: as `spancost.reason` on the span, as the label `reason`
of `spancost_unpriced_total`, as the key `reason` of reports. `spancost doctor` lists those of a ledger with this
advice. It is never counted as $0.

{reasons}

## What an estimate assumes

A charge with the status `estimated` carries what was assumed: as `spancost.basis` on the span, as the key `basis` of
reports. Several stand with commas. Some assumptions err to one side only: then the true cost is at most, or at least,
what was charged.

{bases}

Assumptions about the quantity of an HTTP API say the quantity: `quantity:1`, or what the rule of that API names.
"""

_TRUE_COST: Final = {AT_MOST: "at most this", AT_LEAST: "at least this", UNKNOWN: ""}
BASES: Final = {
    "region_fallback": "there is no price for that region: the price of the vendor's default region was taken",
    "assumed_region": "no region is known: us-east-1 was taken, as `spancost run` says",
    "assumed_machine": "no machine is known: m6i.large was taken, as `spancost run` says",
    "share:1": "no other process is known to share the machine, and no lease file could be used",
    "container_limit": "the container has no request: its limit was taken for it",
    "no_cpu_request": "the container says nothing of vCPUs: only its memory is charged, a lower bound",
    "no_memory_request": "the container says nothing of memory: only its vCPUs are charged, a lower bound",
    "even_container_split": "containers of a Fargate task share it evenly, since nothing is reserved",
    "linux_price": "a Windows machine at the price of Linux",
    "seen_size": "the size of the container is what the process sees of it",
    "plan_by_cores": "the App Service plan follows from its tier and the vCPUs that the process sees",
    "spot_at_on_demand": "a spot machine at the price on demand",
    "size_ratio": "the size is not in the price list: the price of another size of the family was scaled",
    "span_time": "billed time was taken from the span, which is a little shorter than what is billed",
    "client_assumed_internet": "nothing says where the client is: it was taken to be on the internet",
    "to_any_region": "an upload to another region, at the rate of most regions; a few near ones cost less",
    "cdn_cache_not_seen": "answers may have come from the CDN's cache, which was not seen",
    "size:1_unit": "the size of an item is not known: one unit was taken",
    "size:1_chunk": "the size of a message is not known: one chunk was taken",
    "retried": "the call was retried: it is one charge",
    "failed_request": "a failed call that is billed all the same",
    "cached_tokens_not_reported": "the span does not say how much of the input was cached: none was taken",
    "reasoning_not_reported": "the output count leaves reasoning out: a lower bound",
    "output_from_total": "what the stated total has more than input and output was taken for reasoning",
    "tokens_from_characters": "the call shows no usage: four characters of its texts were taken for a token",
    "tokens_from_text": "the call shows no usage: the tokens of its texts were counted",
    "stream_cut_short": "a stream was left before its end: the output count is a lower bound",
    "request_model": "the answer names no model: the requested one was taken",
    "machine_time": "a model on a machine of your own, by the time of the call",
    "computed_by_instrumentation": "the list has no price; a cost that a library computed stands in",
    "bad_reported_cost": "the provider's own figure is no amount: the list price was taken",
    "audio_at_text_rate": "the list has no price for audio tokens: the one of text was taken",
    "audio_cache_overlap": "how many of the cached tokens were audio is not said: as few as the counts allow",
    "image_cache_overlap": "how many of the cached tokens were images is not said: as few as the counts allow",
    "class:STANDARD": "the storage class of the object is not known: STANDARD was taken",
    "table_class:STANDARD": "the class of the table is not known: STANDARD was taken",
    "mode:provisioned": "the mode of the stream is not known: provisioned was taken",
    "tier:standard": "the tier of the parameter is not known: standard was taken",
    "pages:1": "the number of pages is not known: one was taken",
    "pages:partial": "pages of a document that failed in part",
    "key:ECC": "the kind of the key pair is not known: an elliptic curve was taken",
    "metrics:1": "the number of metrics is not known: one was taken",
    "traces:1": "the number of traces is not known: one was taken",
    "search:1_metric": "how many metrics a search finds is not known: one was taken",
    "response:6_MB": "the size of a streamed answer is not known: 6 MB, which are free, were taken",
    "source_class:STANDARD": "the storage class of the source is not known: STANDARD was taken",
    "tier:GET": "the tier of a retrieval is not known: that of a GET was taken",
    "job:started_elsewhere": "the work was started by another process, so some of its settings are not known",
}
"""Sentence per assumption."""


def page() -> str:
    """Return the text of the page."""
    return _TEXT.format(reasons=_table("Reason", "What to do", ADVICE), bases=_bases())


def _bases() -> str:
    rows = [(f"`{name}`", text, _TRUE_COST[bound_of(name)]) for name, text in sorted(BASES.items())]
    return "\n".join(table(("Assumption", "Meaning", "True cost"), rows))


def _table(word: str, meaning: str, rows: Mapping[str, str]) -> str:
    return "\n".join(table((word, meaning), [(f"`{name}`", text) for name, text in sorted(rows.items())]))
