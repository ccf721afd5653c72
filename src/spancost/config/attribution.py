"""Read the section `attribution:` of `spancost.yaml`: rules, and the baggage keys that may be read.

Each function raises `ValueError(what is accepted)`, as those of `spancost.config.values` do; where a part of the
setting is wrong it is a `PartError` that names it.
"""

from __future__ import annotations

import re
from typing import Final, cast

from spancost import names
from spancost.attribution_rules import PLACEHOLDER, ROOT_MATCHERS, AttributionRule, Pairs
from spancost.config.values import glob, mapping, scalar, within
from spancost.errors import PartError, suggest
from spancost.window import MAX_FREE_LABELS, MAX_LABEL_NAME, MAX_LABEL_VALUE

_MATCHERS: Final = (*ROOT_MATCHERS, "span", "resource")
_TARGETS: Final = (*names.ATTRIBUTION_LABELS, "labels")
_KEYS: Final = (*_MATCHERS, *_TARGETS)
_MAX_BAGGAGE_KEYS: Final = 32
_LABEL_NAME: Final = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.-]{{0,{MAX_LABEL_NAME - 1}}}")
_METHOD: Final = re.compile(r"[^a-z]+")
_RULE: Final = (
    "a rule with matchers (route, method, entrypoint, span, resource) and targets (feature, tenant, team, labels), "
    "such as {route: '/cart/*', feature: checkout}"
)
_BAGGAGE: Final = "a baggage key such as tenant, or {key: customer-id, label: tenant}"
_LABEL: Final = f"the name of a label: feature, tenant, team, or up to {MAX_LABEL_NAME} letters, digits and any of _.-"


def rules(value: object) -> tuple[AttributionRule, ...]:
    """Read the list of rules."""
    if not isinstance(value, list):
        raise ValueError(f"a list of rules; each is {_RULE}")  # noqa: TRY004
    return tuple(within(f"[{number}]", _rule, entry) for number, entry in enumerate(cast("list[object]", value)))


def baggage(value: object) -> tuple[tuple[str, str], ...]:
    """Read which baggage keys give which labels: pairs of key and label."""
    if not isinstance(value, list):
        raise ValueError(f"a list; each entry is {_BAGGAGE}")  # noqa: TRY004
    entries = cast("list[object]", value)
    if len(entries) > _MAX_BAGGAGE_KEYS:
        raise ValueError(f"at most {_MAX_BAGGAGE_KEYS} keys")
    return tuple(within(f"[{number}]", _baggage_key, entry) for number, entry in enumerate(entries))


def _rule(value: object) -> AttributionRule:
    given = mapping(value, _RULE)
    for key, item in given.items():
        if key not in _KEYS:
            raise PartError(f".{key}", item, "unknown key: " + suggest(key, _KEYS))
    globs = {key: within(f".{key}", glob, given[key]) for key in ROOT_MATCHERS if key in given}
    if "method" in globs and not _METHOD.fullmatch(globs["method"]):
        raise PartError(".method", globs["method"], "a method in capital letters, as spans have it, such as POST")
    span = within(".span", _attribute_globs, given["span"]) if "span" in given else ()
    resource = within(".resource", _attribute_globs, given["resource"]) if "resource" in given else ()
    if not (globs or span or resource):
        raise ValueError(f"at least one matcher: one of {', '.join(_MATCHERS)}; entrypoint: '*' is all work")
    targets = {key: within(f".{key}", _target, given[key]) for key in names.ATTRIBUTION_LABELS if key in given}
    labels = within(".labels", _labels, given["labels"]) if "labels" in given else ()
    if not targets and not labels:
        raise ValueError(f"at least one target: one of {', '.join(_TARGETS)}")
    return AttributionRule(**globs, span=span, resource=resource, **targets, labels=labels)


def _baggage_key(value: object) -> tuple[str, str]:
    if isinstance(value, str):
        return within("", _text, value), _label_name(value.strip())
    given = mapping(value, _BAGGAGE)
    if sorted(given) != ["key", "label"]:
        raise ValueError(_BAGGAGE)
    return within(".key", _text, given["key"]), within(".label", _label_name, given["label"])


def _attribute_globs(value: object) -> Pairs:
    accepted = "names of attributes with a glob each, such as {http.request.header.x_tenant: '*'}"
    given = mapping(value, accepted)
    if not given:
        raise ValueError(accepted)
    return tuple((name, within(f".{name}", glob, item)) for name, item in given.items())


def _labels(value: object) -> Pairs:
    accepted = "names of free labels with a value each, such as {cost_center: '4711'}"
    given = mapping(value, accepted)
    if not given:
        raise ValueError(accepted)
    if len(given) > MAX_FREE_LABELS:
        raise ValueError(f"at most {MAX_FREE_LABELS} labels")
    for name, item in given.items():
        if name in names.ATTRIBUTION_LABELS:
            raise PartError(f".{name}", item, f"no free label of that name: {name} is a target of its own")
        within(f".{name}", _label_name, name)
    return tuple((name, within(f".{name}", _target, item)) for name, item in given.items())


def _label_name(value: object) -> str:
    if not isinstance(value, str) or not _LABEL_NAME.fullmatch(value):
        raise ValueError(_LABEL)
    return value


def _target(value: object) -> str:
    text = scalar(value, "a value such as checkout, or a reference such as '{http.request.header.x_tenant}'")
    if not PLACEHOLDER.fullmatch(text):
        raise ValueError("text with at most one attribute in braces, such as 'customer-{http.request.header.x_tenant}'")
    if len(text) > MAX_LABEL_VALUE:
        raise ValueError(f"at most {MAX_LABEL_VALUE} characters")
    return text


def _text(value: object) -> str:
    return scalar(value, _BAGGAGE)
