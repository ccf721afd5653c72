"""Asks a Prometheus server by its HTTP API; any server that speaks it will do (Mimir, Thanos, VictoriaMetrics)."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any, Final, NoReturn, cast
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlencode, urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from spancost.errors import SpancostError

TIMEOUT_S: Final = 10.0
MAX_BYTES: Final = 64 * 1024 * 1024
_MAX_GET: Final = 1500
"""Questions longer than this go into the body: proxies cut long URLs."""
_MAX_SAID: Final = 4096
_ACCEPTED: Final = "a URL of a Prometheus server, such as http://localhost:9090"


class PrometheusServerError(SpancostError):
    """The server does not answer, or not as a Prometheus server does."""


class QueryRefusedError(PrometheusServerError):
    """The server has understood that this is a query, and refuses it; the message is the server's reason."""


class _NoRedirect(HTTPRedirectHandler):
    """Answers from elsewhere are not ours, and a password is not for elsewhere."""

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: Any) -> None:
        return None


def server_shown(url: str) -> str:
    """Return the URL of a server without user, password and query.

    Raises:
        PrometheusServerError: It is no URL of a server.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise PrometheusServerError(_ACCEPTED) from None
    if parts.scheme not in ("http", "https") or not host:
        raise PrometheusServerError(_ACCEPTED)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))


class PrometheusServer:
    """A server that can be asked.

    Args:
        url: May carry user and password, and a path.

        headers: For every question, such as `X-Scope-OrgID` of Mimir.

        timeout_s: Seconds for one answer.

    Raises:
        PrometheusServerError: It is no URL of a server.
    """

    def __init__(self, url: str, *, headers: Mapping[str, str] | None = None, timeout_s: float = TIMEOUT_S) -> None:
        self.shown: Final = server_shown(url)
        """Its URL without user and password."""
        self._timeout_s = timeout_s
        self._headers = {"Accept": "application/json", **(headers or {})}
        self._opener: OpenerDirector = build_opener(_NoRedirect)
        parts = urlsplit(url)
        if parts.username is not None:
            credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            self._headers["Authorization"] = f"Basic {base64.b64encode(credentials).decode()}"

    def get(self, path: str, parameters: Mapping[str, str]) -> Any:
        """Return `data` of an answer.

        Args:
            path: Below `/api/v1/`, such as `query_range`.

            parameters: Of the question.

        Raises:
            QueryRefusedError: The query is wrong, or asks for too much.

            PrometheusServerError: The server does not answer, or not as Prometheus does.
        """
        asked = urlencode(parameters)
        url = f"{self.shown}/api/v1/{path}"
        is_long = len(asked) > _MAX_GET and path in ("query", "query_range", "query_exemplars")
        request = (
            Request(url, data=asked.encode(), headers=self._headers)
            if is_long
            else Request(f"{url}?{asked}", headers=self._headers)
        )
        try:
            with self._opener.open(request, timeout=self._timeout_s) as response:
                body = response.read(MAX_BYTES + 1)
        except HTTPError as error:
            self._refused(error)
        except (URLError, OSError, HTTPException, ValueError) as error:
            why = getattr(error, "reason", None) or str(error) or type(error).__name__
            raise PrometheusServerError(f"{self.shown} does not answer: {why}") from None
        if len(body) > MAX_BYTES:
            raise PrometheusServerError(f"{self.shown} answers with more than {MAX_BYTES // 1024 // 1024} MiB")
        try:
            return json.loads(body)["data"]
        except (ValueError, KeyError, TypeError):
            raise self.strange_answer() from None

    def strange_answer(self) -> PrometheusServerError:
        """Return the error for an answer that Prometheus would not give."""
        return PrometheusServerError(f"{self.shown} does not answer as a Prometheus server does")

    def _refused(self, error: HTTPError) -> NoReturn:
        with error:
            try:
                said: Any = json.loads(error.read(_MAX_SAID))
            except (ValueError, OSError, HTTPException):
                said = None
        reason = cast("dict[str, object]", said).get("error") if isinstance(said, dict) else None
        if error.code in (400, 422, 503) and isinstance(reason, str):
            raise QueryRefusedError(reason) from None
        raise PrometheusServerError(f"{self.shown} answers HTTP {error.code}") from None
