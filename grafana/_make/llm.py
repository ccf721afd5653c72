"""*LLM*: cost by model, tokens by kind, how much of the input came from a cache, and what has no price."""

from __future__ import annotations

from typing import Final

from grafana._make.frame import Board, Section, route_link
from grafana._make.panels import COUNT, GOOD, NOTICE, PER_SECOND, SHARE, USD, Column, Query, figure, listing, plot
from grafana._make.queries import ENTRY, HOUR_S, by, chosen, increase, rate

_LLM: Final = 'component="llm"'
_PROVIDER: Final = chosen("provider")
_MODEL: Final = chosen("provider", "model")
_COST: Final = "spancost_cost_usd_total"
_USAGE: Final = "spancost_usage_total"
_READ: Final = 'usage_unit=~"cache_(audio_|image_)?read_token"'
_INPUT: Final = 'usage_unit=~"(input|audio_input|image_input|cache_.+)_token"'
_TOKENS: Final = 'usage_unit=~".*token"'
_NO_MODEL: Final = "Usage is counted by provider and operation, not by model: the choice of a model has no effect here."
_SDK: Final = "Services without metrics of their own are not in it."


def _cached_share(labels: str) -> str:
    return f"{rate(_USAGE, labels, _LLM, _PROVIDER, _READ)} / {rate(_USAGE, labels, _LLM, _PROVIDER, _INPUT)}"


BOARD: Final = Board(
    uid="spancost-llm",
    title="LLM cost",
    description="What language models cost, by provider, model and route, and the tokens behind it.",
    labels=(
        ("provider", 'spancost_cost_usd_total{component="llm"}'),
        ("model", 'spancost_cost_usd_total{component="llm"}'),
    ),
    sections=(
        Section(
            "Now",
            (
                figure(
                    "Spend per hour", f"USD per hour of calls of language models. {_SDK}",
                    f"{rate(_COST, '', _LLM, _MODEL)} * {HOUR_S}", unit=USD, width=5, over_time=True,
                ),
                figure(
                    "Tokens per second", f"Tokens of all kinds. {_NO_MODEL}",
                    rate(_USAGE, "", _LLM, _PROVIDER, _TOKENS), unit=PER_SECOND, width=5, over_time=True,
                ),
                figure(
                    "USD per million tokens",
                    "What a million tokens cost on average, input and output together: the mix of models and the "
                    f"share of cached tokens decide it. {_NO_MODEL}",
                    f"{rate(_COST, '', _LLM, _PROVIDER)} / {rate(_USAGE, '', _LLM, _PROVIDER, _TOKENS)} * 1e6",
                    unit=USD, width=5, over_time=True,
                ),
                figure(
                    "Cached share of input",
                    "Tokens read from a cache as a part of all input tokens. What they saved in USD is not in the "
                    "metrics: it depends on the rates of each model, which `spancost explain` shows. " + _NO_MODEL,
                    _cached_share(""), unit=SHARE, width=5, over_time=True,
                ),
                figure(
                    "Calls without a price",
                    "Calls of language models in the time shown whose cost is not known: they are missing in all "
                    "amounts on this page. `increase`, extrapolated.",
                    f"({increase('spancost_unpriced_total', '', _LLM, _PROVIDER)}) "
                    f"or 0 * ({increase('spancost_spans_total', '', _LLM)})",
                    unit=COUNT, steps=((None, GOOD), (0.5, NOTICE)),
                ),
            ),
        ),
        Section(
            "Cost",
            (
                plot(
                    "Cost by model", f"USD per hour of each model. {_SDK}",
                    [Query(f"{rate(_COST, by('provider', 'model'), _LLM, _MODEL)} * {HOUR_S}",
                           "{{provider}} {{model}}")],
                    unit=USD, stacked=True,
                ),
                listing(
                    "Models",
                    "What each model cost in the time shown, by operation. `increase` of the SDK's counter: "
                    f"extrapolated to the edges of the time. {_SDK}",
                    [increase(_COST, by("provider", "model", "operation"), _LLM, _MODEL)],
                    [
                        Column("provider", "Provider"),
                        Column("model", "Model"),
                        Column("operation", "Operation"),
                        Column("Value #A", "Cost", USD),
                    ],
                    width=12, height=9,
                ),
                listing(
                    "Routes by cost of models",
                    f"Which routes call them, in the time shown; `increase`, extrapolated. {_SDK}",
                    [increase(_COST, by("service_name", *ENTRY, "model"), _LLM, _MODEL)],
                    [
                        Column("service_name", "Service"),
                        Column("http_request_method", "Method"),
                        Column("http_route", "Route", link=route_link("http_route")),
                        Column("entrypoint", "Entrypoint", link=route_link("entrypoint")),
                        Column("model", "Model"),
                        Column("Value #A", "Cost", USD),
                    ],
                ),
            ),
        ),
        Section(
            "Tokens",
            (
                plot(
                    "Tokens by kind",
                    "Tokens per second of each kind that has a rate of its own. Input tokens are those that came from "
                    f"no cache. {_NO_MODEL}",
                    [Query(rate(_USAGE, "usage_unit", _LLM, _PROVIDER), "{{usage_unit}}")],
                    unit=PER_SECOND, stacked=True,
                ),
                plot(
                    "Cached share of input by provider",
                    f"Tokens read from a cache as a part of all input tokens of each provider. {_NO_MODEL}",
                    [Query(_cached_share("provider"), "{{provider}}")],
                    unit=SHARE, maximum=1,
                ),
                listing(
                    "Tokens by provider",
                    f"In the time shown, by operation and kind; `increase`, extrapolated. {_NO_MODEL}",
                    [increase(_USAGE, by("provider", "operation", "usage_unit"), _LLM, _PROVIDER)],
                    [
                        Column("provider", "Provider"),
                        Column("operation", "Operation"),
                        Column("usage_unit", "Kind"),
                        Column("Value #A", "Tokens", COUNT),
                    ],
                    width=12, height=9,
                ),
                listing(
                    "Calls without a price by reason",
                    "In the time shown; `increase`, extrapolated. What a reason means and what to do is in the "
                    "reference under Reasons.",
                    [increase("spancost_unpriced_total", by("reason", "provider", "operation"), _LLM, _PROVIDER)],
                    [
                        Column("reason", "Reason"),
                        Column("provider", "Provider"),
                        Column("operation", "Operation"),
                        Column("Value #A", "Calls", COUNT),
                    ],
                    width=12, height=9,
                ),
            ),
        ),
    ),
)  # fmt: skip
