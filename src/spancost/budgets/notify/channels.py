"""Reads one entry of `budgets.notify` of the configuration, and makes the channel that it describes.

Secrets are given as `NAME_env` or `NAME_file` only. What is refused is never shown where it could be a secret that was
put into the wrong place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, cast
from urllib.parse import parse_qsl, urlsplit

from spancost.budgets.notify.references import ENV, FILE, Reference, Value
from spancost.budgets.notify.sending import SendsAlerts
from spancost.budgets.rules import Channel
from spancost.config import values
from spancost.config.values import PartError
from spancost.errors import suggest

DEFAULT_CHANNEL: Final = Channel(name="log", type="log")
"""The channel of a configuration that names none."""
HIDDEN: Final = "..."
"""Stands for a refused value that may be a secret."""
NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_FUNCTION: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*|[\w.-]{1,100}")
_ADDRESS: Final = re.compile(r"[^\s<>,;:\"@]+@[^\s<>,;:\"@]+")
_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}")
_TOKEN_NAME: Final = re.compile(r"token|key|secret|sig|auth|pass|pwd|code|credential", re.IGNORECASE)
_TOKEN_VALUE: Final = re.compile(r"[A-Za-z0-9_+/=.-]{20,}")
_MAX_TEXT: Final = 1000

_Parser = Callable[[object], Any]


class _Type(NamedTuple):
    """What a type of channel is given."""

    plain: Mapping[str, _Parser]
    secrets: tuple[str, ...] = ()
    """Each of them as `NAME_env` or `NAME_file`."""
    needed: tuple[str, ...] = ()
    """Plain or secret."""

    def accepted(self) -> list[str]:
        return [*self.plain, *(f"{name}_{kind}" for name in self.secrets for kind in (ENV, FILE))]


def open_url(value: object) -> str:
    """Read a URL that holds no secret."""
    accepted = "https://HOST/PATH without user and password; a URL that is a secret is given by url_env or url_file"
    try:
        parts = urlsplit(_text(value))
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise PartError("", HIDDEN, accepted) from None
    if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc:
        raise PartError("", HIDDEN, accepted)
    for name, given in parse_qsl(parts.query, keep_blank_values=True):
        if _TOKEN_NAME.search(name) or _TOKEN_VALUE.fullmatch(given):
            raise PartError("", HIDDEN, f"a URL with a token is a secret: url_env or url_file ({host}: ?{name}=)")
    return _text(value)


def _text(value: object) -> str:
    said = values.text(value)
    if len(said) > _MAX_TEXT or not said.isprintable():
        raise ValueError(f"one line of at most {_MAX_TEXT} characters")
    return said


def _variable(value: object) -> str:
    if not isinstance(value, str) or not _VARIABLE.fullmatch(value):
        raise ValueError("the name of an environment variable, such as SLACK_WEBHOOK_URL, not the secret itself")
    return value


def _path(value: object) -> str:
    said = _text(value)
    if "://" in said:
        raise ValueError("the path of a file, such as /run/secrets/slack, not the secret itself")
    return said


def _function(value: object) -> str:
    if not isinstance(value, str) or not _FUNCTION.fullmatch(value):
        raise ValueError("module:function, or the name that a function was registered under by register_callback")
    return value


def _address(value: object) -> str:
    if not isinstance(value, str) or not _ADDRESS.fullmatch(value.strip()):
        raise ValueError("an e-mail address, such as finops@example.com")
    return value.strip()


def _addresses(value: object) -> tuple[str, ...]:
    found = tuple(_address(one) for one in values.texts(value))
    if not found:
        raise ValueError("at least one e-mail address, such as [finops@example.com]")
    return found


def _host(value: object) -> str:
    if not isinstance(value, str) or not _HOST.fullmatch(value.strip()):
        raise ValueError("the name of a host, such as smtp.example.com")
    return value.strip()


def _tls(value: object) -> str:
    said = "off" if value is False else value  # `off` in YAML
    if said not in ("starttls", "ssl", "off"):
        raise ValueError("one of starttls, ssl, off")
    return str(said)


def _region(value: object) -> str:
    if value not in ("us", "eu"):
        raise ValueError("one of us, eu")
    return str(value)


_HTTP: Final[Mapping[str, _Parser]] = {"user": _text, "ca_file": _path}
_TYPES: Final[Mapping[str, _Type]] = {
    "log": _Type({}),
    "webhook": _Type({"url": open_url, **_HTTP}, ("url", "secret", "bearer", "password"), ("url",)),
    "slack": _Type({}, ("url",), ("url",)),
    "pagerduty": _Type({"region": _region}, ("routing_key", "url"), ("routing_key",)),
    "alertmanager": _Type(
        {"url": open_url, "hold": values.hours_or_more, **_HTTP}, ("url", "bearer", "password"), ("url",)
    ),
    "email": _Type(
        {
            "host": _host,
            "port": values.port,
            "from": _address,
            "to": _addresses,
            "tls": _tls,
            "user": _text,
            "ca_file": _path,
        },
        ("user", "password"),
        ("host", "from", "to"),
    ),
    "callback": _Type({"function": _function}, (), ("function",)),
}
TYPES: Final = tuple(_TYPES)


def read_channel(name: str, given: Mapping[str, object]) -> Channel:
    """Read one entry of `budgets.notify`.

    Args:
        name: Its key.

        given: Its section.

    Raises:
        PartError: Something in it is wrong; says where, and what is accepted. Of the entry as a whole it shows the
            keys alone.
        ValueError: The name is wrong.
    """
    if not NAME.fullmatch(name):
        raise ValueError("a name of up to 64 letters, digits and any of _.-, such as ops")
    type_name = given.get("type")
    if not isinstance(type_name, str) or type_name not in _TYPES:
        if type_name is None:
            raise PartError(".type", None, f"a type: one of {', '.join(TYPES)}")
        raise PartError(".type", type_name, suggest(str(type_name)[:40], TYPES))
    kind = _TYPES[type_name]
    settings = {key: _setting(kind, type_name, key, value) for key, value in given.items() if key != "type"}
    for one in kind.needed:
        if not {one, f"{one}_{ENV}", f"{one}_{FILE}"} & settings.keys():
            raise PartError("", ", ".join(given), f"a {type_name} channel needs {_ways(kind, one)}")
    for one in {*kind.plain, *kind.secrets}:
        ways = [key for key in (one, f"{one}_{ENV}", f"{one}_{FILE}") if key in settings]
        if len(ways) > 1:
            raise PartError(f".{ways[1]}", HIDDEN, f"one of {' and '.join(ways)}, not both")
    _check_credentials(settings)
    return Channel(name=name, type=type_name, settings=tuple(sorted(settings.items())))


def open_channel(channel: Channel) -> SendsAlerts:
    """Return what sends to a channel. Nothing is connected to, and no secret is read, before an alert is sent.

    Args:
        channel: As `read_channel` returns it.

    Raises:
        ValueError: There is no such type.
    """
    given = dict(channel.settings)
    opener = _OPENERS.get(channel.type)
    if opener is None:
        raise ValueError(suggest(channel.type, TYPES))
    return opener(given)


def _setting(kind: _Type, type_name: str, key: str, value: object) -> Any:
    if key in kind.secrets and key not in kind.plain:
        raise PartError(f".{key}", HIDDEN, f"a secret is not written here: {_ways(kind, key)}")
    parser = kind.plain.get(key)
    if parser is None and key in kind.accepted():
        parser = _variable if key.endswith(f"_{ENV}") else _path
    if parser is None:
        known = f"unknown key of a {type_name} channel: {suggest(key, ('type', *kind.accepted()), limit=50)}"
        raise PartError(f".{key}", HIDDEN, known)
    shown = value if key in kind.plain and key not in ("url", "user") else HIDDEN
    try:
        return parser(value)
    except PartError as error:
        raise PartError(f".{key}{error.part}", error.value, str(error)) from None
    except ValueError as error:
        raise PartError(f".{key}", shown, str(error)) from None


def _ways(kind: _Type, name: str) -> str:
    ways = [name] if name in kind.plain else []
    ways += [f"{name}_{ENV}", f"{name}_{FILE}"] if name in kind.secrets else []
    return " or ".join([", ".join(ways[:-1]), ways[-1]]) if len(ways) > 1 else ways[0]


def _check_credentials(settings: Mapping[str, object]) -> None:
    shown = ", ".join(settings)
    has_password = {"password_env", "password_file"} & settings.keys()
    if {"user", "user_env", "user_file"} & settings.keys() and not has_password:
        raise PartError("", shown, "a user needs a password: password_env or password_file")
    if has_password and not {"user", "user_env", "user_file"} & settings.keys():
        raise PartError("", shown, "a password needs a user: user")
    if has_password and {"bearer_env", "bearer_file"} & settings.keys():
        raise PartError("", shown, "a user with a password, or a bearer, not both")
    if has_password and settings.get("tls") == "off":
        raise PartError(".tls", "off", "starttls or ssl: a password would travel in clear")


def _reference(given: Mapping[str, Any], name: str) -> Reference | None:
    for kind in (ENV, FILE):
        place = given.get(f"{name}_{kind}")
        if place is not None:
            return Reference(kind, place)
    return None


def _value(given: Mapping[str, Any], name: str) -> Value:
    return _reference(given, name) or cast("str", given.get(name, ""))


def _access(given: Mapping[str, Any]) -> Any:
    from spancost.budgets.notify.webhook import HttpAccess

    return HttpAccess(
        url=_value(given, "url"),
        bearer=_reference(given, "bearer"),
        user=given.get("user", ""),
        password=_reference(given, "password"),
        ca_file=given.get("ca_file"),
    )


def _open_log(given: Mapping[str, Any]) -> SendsAlerts:
    from spancost.budgets.notify.log import LogChannel

    return LogChannel()


def _open_webhook(given: Mapping[str, Any]) -> SendsAlerts:
    from spancost.budgets.notify.webhook import WebhookChannel

    return WebhookChannel(access=_access(given), secret=_reference(given, "secret"))


def _open_slack(given: Mapping[str, Any]) -> SendsAlerts:
    from spancost.budgets.notify.slack import SlackChannel

    return SlackChannel(url=_value(given, "url"))


def _open_pagerduty(given: Mapping[str, Any]) -> SendsAlerts:
    from spancost.budgets.notify.pagerduty import URLS, PagerDutyChannel

    routing_key = _reference(given, "routing_key")
    if routing_key is None:
        raise ValueError("a pagerduty channel needs routing_key_env or routing_key_file")
    return PagerDutyChannel(routing_key=routing_key, url=_reference(given, "url") or URLS[given.get("region", "us")])


def _open_alertmanager(given: Mapping[str, Any]) -> SendsAlerts:
    from spancost.budgets.notify.alertmanager import DEFAULT_HOLD_S, AlertmanagerChannel

    return AlertmanagerChannel(access=_access(given), hold_s=given.get("hold", DEFAULT_HOLD_S))


def _open_email(given: Mapping[str, Any]) -> SendsAlerts:
    from spancost.budgets.notify.email import PORTS, STARTTLS, EmailChannel

    tls = given.get("tls", STARTTLS)
    return EmailChannel(
        host=given["host"],
        port=given.get("port", PORTS[tls]),
        sender=given["from"],
        recipients=given["to"],
        tls=tls,
        user=_value(given, "user"),
        password=_reference(given, "password"),
        ca_file=given.get("ca_file"),
    )


def _open_callback(given: Mapping[str, Any]) -> SendsAlerts:
    from spancost.budgets.notify.callback import CallbackChannel

    return CallbackChannel(function=given["function"])


_OPENERS: Final[Mapping[str, Callable[[Mapping[str, Any]], SendsAlerts]]] = {
    "log": _open_log,
    "webhook": _open_webhook,
    "slack": _open_slack,
    "pagerduty": _open_pagerduty,
    "alertmanager": _open_alertmanager,
    "email": _open_email,
    "callback": _open_callback,
}
