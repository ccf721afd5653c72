"""Posts an alert as JSON to any receiver: all its fields, with a key by which repetitions are known."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

from spancost.budgets.alert import Alert
from spancost.budgets.notify.http_post import basic_authorization, post
from spancost.budgets.notify.references import Reference, Value, read

SIGNATURE: Final = "X-Spancost-Signature"
"""`sha256=` and the HMAC of the body, hexadecimal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAccess:
    """How a receiver is reached, and what it wants to see of us."""

    url: Value
    bearer: Reference | None = None
    user: str = ""
    password: Reference | None = None
    ca_file: str | None = None

    @property
    def has_secrets(self) -> bool:
        """True if something must not travel in clear."""
        return self.bearer is not None or self.password is not None

    def headers(self) -> dict[str, str]:
        """Return the headers that let us in.

        Raises:
            DeliveryError: A secret is not where it should be.
        """
        if self.bearer is not None:
            return {"Authorization": f"Bearer {self.bearer.read()}"}
        if self.password is not None:
            return {"Authorization": basic_authorization(self.user, self.password.read())}
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookChannel:
    """A generic webhook."""

    access: HttpAccess
    secret: Reference | None = None
    """Key of the signature."""

    def send(self, alert: Alert, *, timeout_s: float) -> None:
        """Post `Alert.as_dict()`; a receiver that keeps the `Idempotency-Key`s it has seen counts each alert once.

        Args:
            alert: What is told.

            timeout_s: Longest time.

        Raises:
            DeliveryError: It was not accepted.
        """
        body = alert.as_json().encode()
        headers = {"Idempotency-Key": alert.id, **self.access.headers()}
        if self.secret is not None:
            headers[SIGNATURE] = "sha256=" + hmac.new(self.secret.read().encode(), body, hashlib.sha256).hexdigest()
        post(
            read(self.access.url),
            body,
            headers,
            timeout_s=timeout_s,
            needs_https=self.access.has_secrets,
            ca_file=self.access.ca_file,
        )
