"""Names of models: everything that genai-prices lists resolves to itself, and nothing longer takes its price."""

from __future__ import annotations

import pytest
from genai_prices import data_snapshot

from spancost.prices.model_names import Found, ModelNames, UnknownPrice, canonical_provider

_PROVIDERS = data_snapshot.get_snapshot().providers
_NAMES = ModelNames(_PROVIDERS)
_LISTED = [(provider.id, model.id) for provider in _PROVIDERS for model in provider.models]


def _priced_as(provider: str, model: str) -> str:
    found = _NAMES.find(provider, model)
    return f"!{found.reason}" if isinstance(found, UnknownPrice) else f"{found.provider.id}/{found.model.id}"


def _others(suffix: str) -> dict[tuple[str, str], str]:
    """Return those listed models that, with a suffix, do not resolve to themselves."""
    found = {(provider, model): _priced_as(provider, model + suffix) for provider, model in _LISTED}
    return {key: name for key, name in found.items() if name != "/".join(key)}


def test_snapshot_is_the_one_these_figures_are_about() -> None:
    assert len(_LISTED) >= 2330


@pytest.mark.parametrize("suffix", ["", "-2026-01-02", "-20260102", "@20260102"])
def test_every_listed_model_and_each_dated_version_of_it_is_itself(suffix: str) -> None:
    assert _others(suffix) == {}


def test_latest_of_a_model_is_that_model_unless_the_list_says_otherwise() -> None:
    assert _others("-latest") == {
        ("google", "gemini-pro"): "google/gemini-3.1-pro-preview",
        ("mistral", "ministral-8b"): "mistral/ministral-8b-latest",
    }


@pytest.mark.parametrize("suffix", ["-super", "-next-2026-01-02", ".9", "-ultra-latest", "x"])
def test_no_longer_name_takes_the_price_of_a_shorter_one(suffix: str) -> None:
    listed = {name.lower() for _, name in _LISTED}
    taken = {
        (provider, model + suffix)
        for provider, model in _LISTED
        if not _priced_as(provider, model + suffix).startswith("!")
        and not any((model + suffix).lower().startswith(other) for other in listed if len(other) > len(model))
    }
    assert taken == set()


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("anthropic", "claude-sonnet-4-5-next"),
        ("anthropic", "claude-opus-4-5-mini-20260101"),
        ("openai", "gpt-4o-super"),
        ("openai", "gpt-5-mini-experimental"),
        ("aws.bedrock", "anthropic.claude-sonnet-4-5-20250929-turbo-v1:0"),
        ("gcp.vertex_ai", "super-claude-sonnet-4-5"),
        ("gcp.gemini", "gemini-2.5-pro-max"),
        ("azure", "o4-mini-deep"),
        ("openrouter", "openai/gpt-4o:nitro"),
        ("openai", "anthropic/claude-sonnet-4-5"),
        ("azure.ai.openai", "my-deployment"),
        ("aws.bedrock", "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123"),
        ("aws.bedrock", "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abc123"),
        ("openai", "ft:gpt-99:org::id"),
    ],
)
def test_unknown_model_is_unknown(provider: str, model: str) -> None:
    assert _priced_as(provider, model) == "!unknown_model"


_BEDROCK_SONNET = "aws/regional.anthropic.claude-sonnet-4-5-20250929-v1:0"
_SONNET_ID = "anthropic.claude-sonnet-4-5-20250929-v1:0"


@pytest.mark.parametrize(
    ("provider", "model", "expected"),
    [
        ("openai", "gpt-4o-2024-08-06", "openai/gpt-4o"),
        ("openai", "GPT-4o-20240806", "openai/gpt-4o"),
        ("openai", "openai/gpt-4o", "openai/gpt-4o"),
        ("openai", "computer-use-preview", "openai/computer-use"),
        ("openai", "ft:gpt-4o-2024-08-06:org::id", "openai/ft:gpt-4o"),
        ("openai", "ft:gpt-4o-mini-2024-07-18:acme:support:abc", "openai/ft:gpt-4o-mini"),
        ("anthropic", "claude-3-5-sonnet-20241022", "anthropic/claude-3-5-sonnet"),
        ("anthropic", "us." + _SONNET_ID, _BEDROCK_SONNET),
        ("aws.bedrock", _SONNET_ID, _BEDROCK_SONNET),
        ("aws.bedrock", "us." + _SONNET_ID, _BEDROCK_SONNET),
        ("aws.bedrock", "eu." + _SONNET_ID, _BEDROCK_SONNET),
        ("aws.bedrock", "jp." + _SONNET_ID, _BEDROCK_SONNET),
        ("aws.bedrock", "apac." + _SONNET_ID, _BEDROCK_SONNET),
        ("aws.bedrock", "global." + _SONNET_ID, "aws/global." + _SONNET_ID),
        ("aws.bedrock", f"arn:aws:bedrock:us-east-1::foundation-model/{_SONNET_ID}", _BEDROCK_SONNET),
        ("aws.bedrock", f"arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.{_SONNET_ID}", _BEDROCK_SONNET),
        ("aws.bedrock", "apac.amazon.nova-lite-v1:0", "aws/amazon.nova-lite-v1:0"),
        ("gcp.gemini", "gemini-2.5-flash-001", "google/gemini-2.5-flash"),
        ("gcp.gen_ai", "models/gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("gcp.gen_ai", "gemini-2.5-flash-preview-05-20", "google/gemini-2.5-flash-preview"),
        ("gcp.gen_ai", "gemini-2.5-pro-preview-06-05", "google/gemini-2.5-pro"),
        ("gcp.vertex_ai", "publishers/google/models/gemini-2.5-pro", "google/gemini-2.5-pro"),
        ("vertexai", "projects/p/publishers/anthropic/models/claude-sonnet-4-5@20250929", "google/claude-sonnet-4-5"),
        ("azure.ai.openai", "gpt-35-turbo", "azure/gpt-3.5-turbo"),
        ("azure.ai.inference", "Phi-4", "azure/phi-4"),
        ("azure.ai.openai", "o4-mini-2025-04-16", "azure/o4-mini"),
        ("x_ai", "grok-4-0709", "x-ai/grok-4-0709"),
        ("Cohere", "command-r-plus-08-2024", "cohere/command-r-plus"),
        ("groq", "openai/gpt-oss-120b", "groq/openai/gpt-oss-120b"),
        ("openrouter", "anthropic/claude-sonnet-4.5", "openrouter/anthropic/claude-sonnet-4.5"),
        ("", "gpt-4o", "openai/gpt-4o"),
        ("", "anthropic/claude-sonnet-4-5", "anthropic/claude-sonnet-4-5"),
        ("litellm", "bedrock/us." + _SONNET_ID, _BEDROCK_SONNET),
        ("llamaindex", "gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("gateway", "anthropic/claude-sonnet-4.5", "anthropic/claude-sonnet-4-5"),
    ],
)  # fmt: skip
def test_known_model_is_found_under_the_names_that_spans_use(provider: str, model: str, expected: str) -> None:
    assert _priced_as(provider, model) == expected


@pytest.mark.parametrize("model", ["eu/gpt-4o-2024-08-06", "us/gpt-4o", "data-zone/gpt-4o"])
def test_region_in_a_name_that_the_list_does_not_price_apart_is_marked(model: str) -> None:
    found = _NAMES.find("azure.ai.openai", model)
    assert isinstance(found, Found)
    assert (found.model.id, found.basis) == ("gpt-4o", ("region_fallback",))


@pytest.mark.parametrize("provider", ["ollama", "Ollama", "vllm", "hosted_vllm", "lm-studio", "llama.cpp"])
def test_server_of_your_own_is_no_provider_and_not_free(provider: str) -> None:
    assert _priced_as(provider, "llama3") == "!self_hosted"


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("gcp.gen_ai", "google"),
        ("gemini", "google"),
        ("google.generative-ai", "google"),
        ("google.vertex.chat", "google"),
        ("azure.ai.inference", "azure"),
        ("azure-openai.chat", "azure"),
        ("amazon-bedrock", "aws"),
        ("openai.responses", "openai"),
        ("anthropic.messages", "anthropic"),
        ("MistralAI", "mistral"),
        ("x_ai", "x-ai"),
        ("X-AI", "x-ai"),
        ("fireworks_ai", "fireworks"),
        ("together-ai", "together"),
        ("ibm.watsonx.ai", "watsonx"),
        ("huggingface_fireworks-ai", "huggingface_fireworks-ai"),
        ("LangChain", ""),
        ("_OTHER", ""),
    ],
)
def test_provider_has_one_name(name: str, canonical: str) -> None:
    assert canonical_provider(name) == canonical


def test_provider_that_the_list_does_not_have_is_unknown() -> None:
    assert _priced_as("ibm.watsonx.ai", "ibm/granite-3-8b-instruct") == "!unknown_provider"
    assert _priced_as("nobody", "gpt-5-mini") == "!unknown_provider"
    assert _priced_as("openai", "") == "!no_model"
