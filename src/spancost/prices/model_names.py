"""Which model of the price list a span means.

genai-prices matches many names by their beginning, so that a new `claude-sonnet-4-5-next` would silently cost what
`claude-sonnet-4-5` costs. Here a longer name is taken for a known model only if what is left over is harmless: a date,
`-latest`, a version of the same model, a region. Anything else is unknown, and so is every name that says nothing
about the model (deployments, application inference profiles): map those under `models:`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from genai_prices.types import MatchLogic, ModelInfo, Provider

_PROVIDER_ALIASES: Final = {
    "amazon_bedrock": "aws",
    "aws.bedrock": "aws",
    "aws_bedrock": "aws",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "az.ai.inference": "azure",
    "az.ai.openai": "azure",
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "azure_ai": "azure",
    "azure_ai_inference": "azure",
    "azure_openai": "azure",
    "fireworks_ai": "fireworks",
    "fireworksai": "fireworks",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex.agent": "google",
    "gcp.vertex_ai": "google",
    "gemini": "google",
    "google_ai_studio": "google",
    "google_genai": "google",
    "google_generative_ai": "google",
    "google.vertex": "google",
    "google_vertexai": "google",
    "vertex": "google",
    "vertex_ai": "google",
    "vertexai": "google",
    "mistral_ai": "mistral",
    "mistralai": "mistral",
    "moonshot": "moonshotai",
    "moonshot_ai": "moonshotai",
    "together_ai": "together",
    "togetherai": "together",
    "voyage": "voyageai",
    "voyage_ai": "voyageai",
    "ibm.watsonx.ai": "watsonx",
    "watsonx.ai": "watsonx",
    "x_ai": "x-ai",
    "xai": "x-ai",
    "z_ai": "zai",
    "zai_org": "zai",
}
"""Provider names of OpenTelemetry and of instrumentations, and the one that genai-prices has for them."""

_API_SUFFIX: Final = re.compile(r"\.(chat|completion|completions|embedding|generative-ai|image|messages|responses)\b.*")
"""What some SDKs put after the provider: `openai.chat`, `google.generative-ai`."""

_NO_PROVIDER: Final = frozenset(
    {
        "_other",
        "gateway",
        "haystack",
        "huggingface",
        "langchain",
        "litellm",
        "litellm_proxy",
        "llama_index",
        "llamaindex",
        "other",
        "pydantic_ai",
        "semantic_kernel",
        "unknown",
        "vercel",
    }
)
"""Names that say who made the span and not who was called."""

_SELF_HOSTED: Final = frozenset(
    {
        "gpt4all",
        "hosted_vllm",
        "llama.cpp",
        "llama_cpp",
        "llamafile",
        "lm_studio",
        "lmstudio",
        "localai",
        "ollama",
        "ollama_chat",
        "sglang",
        "text_generation_inference",
        "tgi",
        "transformers",
        "triton",
        "vllm",
    }
)
"""Servers that one runs oneself: they cost machine time, which no price list knows."""

_BEDROCK_ID: Final = re.compile(
    r"(?:[a-z]{2,6}(?:-gov)?\.)?"
    r"(?:ai21|amazon|anthropic|cohere|deepseek|meta|mistral|moonshotai|openai|qwen|stability|twelvelabs|writer|zai)\."
)
_BEDROCK_ARN: Final = re.compile(r"arn:[a-z-]+:bedrock:[^/]*:(?:foundation-model|inference-profile)/(.+)")
_MAKERS_ON_BEDROCK: Final = frozenset({"", "anthropic", "cohere", "meta", "mistral", "openai"})
_REGIONS: Final = frozenset({"ap", "apac", "data-zone", "eu", "global", "global-standard", "jp", "us"})

REGION_FALLBACK: Final = "region_fallback"
"""The name asks for processing in a region, and the price list has no price of its own for it."""

_DATE: Final = r"[-@]\d{4}-?\d{2}-?\d{2}"
_ALWAYS_HARMLESS: Final = re.compile(rf"(?:{_DATE}|[-@:]latest|@default)$")
_HARMLESS_ON_GOOGLE: Final = re.compile(r"-00\d$")
_HARMLESS_ON_AWS: Final = re.compile(r"-v1(?::\d)?(?::\d+k)?$")
_HARMLESS_ON: Final = {"aws": (_HARMLESS_ON_AWS,), "google": (_HARMLESS_ON_GOOGLE,)}
_HARMLESS_AFTER_MATCH: Final = re.compile(
    rf"(?:{_DATE}-v\d(?::\d)?(?::\d+k)?|{_DATE}|[-@:]latest|@default|-v1(?::\d)?(?::\d+k)?|:\d|-00\d|-\d{{4}}"
    r"|-(?:preview|exp)(?:-\d{2,4})?(?:-\d{2,4})?(?:-\d{4})?)$"
)
"""What may follow where the price list itself matches the beginning of a name: also previews and short dates."""
_HARMLESS_BEFORE_MATCH: Final = re.compile(r"(?:[a-z]{2,6}(?:-gov)?\.)?(?:[a-z0-9-]+[./])?")
"""Region and maker: `us.anthropic.`."""
_MAX_NAME: Final = 200
_FINE_TUNED: Final = re.compile(r"(ft:[^:]+)(?::.*)?")


@dataclass(frozen=True, slots=True)
class UnknownPrice:
    """No price, and why."""

    reason: str


class Found(NamedTuple):
    """A model of the price list."""

    provider: Provider
    """Who is paid."""
    model: ModelInfo
    owned: bool
    """The model is in that provider's own list, not in that of its maker."""
    basis: tuple[str, ...]
    """What was assumed."""


def canonical_provider(provider: str) -> str:
    """Return one name for the names that a provider goes by; empty where the name does not say who was called."""
    return _canonical(provider[:_MAX_NAME])


@lru_cache(maxsize=512)
def _canonical(provider: str) -> str:
    name = provider.strip().lower()
    known = _PROVIDER_ALIASES.get(name)
    if known is not None:
        return known
    name = _API_SUFFIX.sub("", name)
    spelled = name.replace("-", "_")
    if spelled in _NO_PROVIDER:
        return ""
    return spelled if spelled in _SELF_HOSTED else _PROVIDER_ALIASES.get(spelled, name)


class ModelNames:
    """Finds models by name; made once per price list.

    Args:
        providers: Providers of genai-prices.
    """

    def __init__(self, providers: Sequence[Provider]) -> None:
        self._providers = list(providers)
        self._by_id = {provider.id: provider for provider in self._providers}
        self._listed: dict[str, _Listed] = {}

    def find(self, provider: str, model: str) -> Found | UnknownPrice:
        """Return the model that a span means.

        Args:
            provider: As the span says: `openai`, `aws.bedrock`; may be empty.

            model: As the span says, in any case.
        """
        if not model:
            return UnknownPrice("no_model")
        name = canonical_provider(provider)
        if name in _SELF_HOSTED:
            return UnknownPrice("self_hosted")
        known_provider = False
        for owner_name, ref, basis in _readings(name, model.strip().lower()):
            owner = self._provider(owner_name, ref)
            if owner is None:
                continue
            known_provider = True
            for listed in (owner, *self._fallbacks(owner)):
                info = self._model(listed, ref)
                if info is not None:
                    return Found(owner, info, listed is owner, basis)
        return UnknownPrice("unknown_model" if known_provider or not name else "unknown_provider")

    def _provider(self, name: str, ref: str) -> Provider | None:
        if name in self._by_id:
            return self._by_id[name]
        if name:
            return next(
                (one for one in self._providers if one.provider_match and one.provider_match.is_match(name)), None
            )
        if _BEDROCK_ID.match(ref):
            return self._by_id.get("aws")
        return next((one for one in self._providers if one.model_match and one.model_match.is_match(ref)), None)

    def _fallbacks(self, owner: Provider) -> Iterator[Provider]:
        for name in owner.fallback_model_providers or ():
            if name in self._by_id:
                yield self._by_id[name]

    def _model(self, provider: Provider, ref: str) -> ModelInfo | None:
        listed = self._listed.get(provider.id)
        if listed is None:
            listed = self._listed[provider.id] = _Listed(provider)
        return listed.find(ref)


class _Listed:
    """The names of one provider's models, compiled."""

    def __init__(self, provider: Provider) -> None:
        self._suffixes = (_ALWAYS_HARMLESS, *_HARMLESS_ON.get(provider.id, ()))
        self._exact = {info.id.lower(): info for info in reversed(provider.models)}
        self._parts: list[tuple[_Part, ModelInfo]] = []
        for info in provider.models:
            for part in _parts_of(info.match):
                if part.kind == "equals":
                    self._exact.setdefault(part.text, info)
                else:
                    self._parts.append((part, info))

    def find(self, ref: str) -> ModelInfo | None:
        shorter: str | None = ref
        while shorter is not None:
            if (known := self._exact.get(shorter)) is not None:
                return known
            for part, info in self._parts:
                if part.kind == "regex" and re.fullmatch(part.text, shorter):
                    return info
            shorter = self._without_suffix(shorter)
        core = _end_of_core(ref)
        return next((info for part, info in self._parts if part.matches_harmlessly(ref, core)), None)

    def _without_suffix(self, ref: str) -> str | None:
        for pattern in self._suffixes:
            tail = pattern.search(ref)
            if tail is not None and tail.start():
                return ref[: tail.start()]
        return None


class _Part(NamedTuple):
    """One of the alternatives by which the price list recognises a model."""

    kind: str
    """`equals`, `starts`, `ends`, `contains` or `regex`."""
    text: str
    also: MatchLogic | None
    """What must match besides."""

    def matches_harmlessly(self, ref: str, core: int) -> bool:
        """True if it matches up to the end of the name's core, and what stands before is harmless."""
        start, end = self._span(ref)
        if end < core or _HARMLESS_BEFORE_MATCH.fullmatch(ref, 0, start) is None:
            return False
        return self.also is None or self.also.is_match(ref)

    def _span(self, ref: str) -> tuple[int, int]:
        length = len(self.text)
        if self.kind == "starts":
            return (0, length) if ref.startswith(self.text) else _NOWHERE
        if self.kind == "ends":
            return (len(ref) - length, len(ref)) if ref.endswith(self.text) else _NOWHERE
        if self.kind == "contains":
            start = ref.find(self.text)
            return (start, start + length) if start >= 0 else _NOWHERE
        found = re.search(self.text, ref)
        return found.span() if found is not None and found[0] else _NOWHERE


_NOWHERE: Final = (0, -1)


def _parts_of(clause: MatchLogic, also: MatchLogic | None = None) -> Iterator[_Part]:
    from genai_prices import types

    if isinstance(clause, types.ClauseOr):
        for one in clause.or_:
            yield from _parts_of(one, also)
    elif isinstance(clause, types.ClauseAnd):
        for one in clause.and_:
            yield from _parts_of(one, clause)
    elif isinstance(clause, types.ClauseEquals):
        yield _Part("equals" if also is None else "starts", clause.equals.lower(), also)
    elif isinstance(clause, types.ClauseStartsWith):
        yield _Part("starts", clause.starts_with.lower(), also)
    elif isinstance(clause, types.ClauseEndsWith):
        yield _Part("ends", clause.ends_with.lower(), also)
    elif isinstance(clause, types.ClauseContains):
        yield _Part("contains", clause.contains.lower(), also)
    else:
        yield _Part("regex" if also is None else "search", clause.regex, also)


def _readings(provider: str, ref: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield (provider, model, basis) for the ways in which a name can be read, the most literal first."""
    arn = _BEDROCK_ARN.fullmatch(ref)
    if arn is not None:
        yield "aws", arn[1], ()
        return
    fine_tuned = _FINE_TUNED.fullmatch(ref)
    if fine_tuned is not None:
        ref = fine_tuned[1]
    yield provider, ref, ()
    if provider in _MAKERS_ON_BEDROCK and _BEDROCK_ID.match(ref):
        yield "aws", ref, ()
    _, path, last = ref.rpartition("models/")
    if path:
        yield provider, last, ()
        return
    basis: tuple[str, ...] = ()
    prefix, slash, rest = ref.partition("/")
    while slash:
        maker = canonical_provider(prefix)
        if prefix in _REGIONS:
            basis = (REGION_FALLBACK,)
        elif not provider:
            provider = maker
        elif maker != provider and (provider, maker) not in _HOSTED:
            return
        yield provider, rest, basis
        prefix, slash, rest = rest.partition("/")


_HOSTED: Final = frozenset({("azure", "openai"), ("google", "anthropic"), ("azure", "anthropic"), ("aws", "anthropic")})
"""(Host, maker) of names such as `anthropic/claude-...` on Vertex AI."""


def _end_of_core(ref: str) -> int:
    """Return where the name ends when all that is harmless at its end is taken off."""
    end = len(ref)
    while (tail := _HARMLESS_AFTER_MATCH.search(ref, 0, end)) is not None and tail.start():
        end = tail.start()
    return end
