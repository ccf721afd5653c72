"""Wraps the clients when they are imported, and lets their calls through again when the switch is off."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from spancost import names
from spancost._guard import logger
from spancost.budgets.enforcing import aws_clients, llm_clients
from spancost.budgets.enforcing.guarded_call import Describe, Wanted, guarded, guarded_async
from spancost.capture.facts import hook_failed

if TYPE_CHECKING:
    from spancost.engine import CostEngine

_PLACE: Final = "enforce"
_MARK: Final = "_spancost_enforced"
_SDK_BASES: Final = ("SyncAPIClient", "AsyncAPIClient")
_on: frozenset[str] = frozenset()
"""Components whose calls are guarded now."""
_wrapped: Final[list[tuple[type, str, Callable[..., Any], Callable[..., Any]]]] = []
"""Class, name of the method, the wrapper, and what it wraps."""
_registered: Final[set[str]] = set()
"""Modules whose import we are told of: that cannot be taken back, so it is asked for once."""


def enforce(components: Sequence[str]) -> Callable[[], None]:
    """Guard the calls of the known clients from now on, of those already imported and of those to come; never raises.

    Args:
        components: `llm`, `aws`.

    Returns:
        A function that ends it: the calls go through as if there was no wrapper.
    """
    global _on
    _on = frozenset(components)
    try:
        _watch_imports()
    except Exception:
        hook_failed(_PLACE)
    return let_go


def let_go() -> None:
    """Guard no call any more."""
    global _on
    _on = frozenset()
    while _wrapped:
        owner, name, wrapper, original = _wrapped.pop()
        # Under an instrumentation that has been put over it, it stays, and lets everything through.
        if owner.__dict__.get(name) is wrapper:
            setattr(owner, name, original)


def _watch_imports() -> None:
    for module in _PATCHES:
        if module in _registered:
            _patch(sys.modules.get(module))
    missing = [module for module in _PATCHES if module not in _registered]
    if not missing:
        return
    try:
        from wrapt import register_post_import_hook
    except ImportError:  # comes with every opentelemetry-instrumentation so far
        for module in missing:
            _patch(sys.modules.get(module))
        logger.warning("budgets.enforce guards only clients that were imported before spancost: wrapt is not installed")
        return
    for module in missing:
        _registered.add(module)
        register_post_import_hook(_patch, module)


def _patch(module: Any) -> None:
    """Wrap the clients of a module that has been imported; never raises."""
    if module is None or not _on:
        return
    try:
        _PATCHES[module.__name__](module)
    except Exception:
        hook_failed(_PLACE)


def _patch_sdk(module: Any) -> None:
    for name in _SDK_BASES:
        _wrap(getattr(module, name), "request", llm_clients.describe, _is_llm_on)


def _patch_botocore(module: Any) -> None:
    _wrap(module.BaseClient, "_make_api_call", _describe_boto, _is_any_on)


def _patch_aiobotocore(module: Any) -> None:
    _wrap(module.AioBaseClient, "_make_api_call", _describe_boto, _is_any_on)


_PATCHES: Final[Mapping[str, Callable[[Any], None]]] = {
    "openai._base_client": _patch_sdk,
    "anthropic._base_client": _patch_sdk,
    "botocore.client": _patch_botocore,
    "aiobotocore.client": _patch_aiobotocore,
}


def _wrap(owner: type, name: str, describe: Describe, is_on: Callable[[], bool]) -> None:
    if name not in owner.__dict__:
        raise AttributeError(f"{owner.__module__}.{owner.__name__} has no {name} of its own: its calls are not guarded")
    original = owner.__dict__[name]
    below: Any = original
    while below is not None:
        if _MARK in getattr(below, "__dict__", {}) and not isinstance(below, type):
            return  # still there from before, below an instrumentation
        below = getattr(below, "__wrapped__", None)
    make = guarded_async if inspect.iscoroutinefunction(original) else guarded
    wrapper = make(original, describe, is_on)
    wrapper.__dict__[_MARK] = True
    setattr(owner, name, wrapper)
    _wrapped.append((owner, name, wrapper, original))


def _is_llm_on() -> bool:
    return names.LLM in _on


def _is_any_on() -> bool:
    return bool(_on)


def _describe_boto(engine: CostEngine, client: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Wanted | None:
    """Return what a call of an AWS client is about; a Bedrock model is one of `llm`."""
    if aws_clients.calls_model(client, args, kwargs):
        return aws_clients.describe_model(engine, client, args, kwargs) if names.LLM in _on else None
    return aws_clients.describe_aws(engine, client, args, kwargs) if names.AWS in _on else None
