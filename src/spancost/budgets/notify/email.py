"""Tells people by e-mail: one message by SMTP, as plain text and as HTML."""

from __future__ import annotations

import html
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import TYPE_CHECKING, Final

from spancost._guard import logger
from spancost.budgets.alert import RESOLVED, Alert
from spancost.budgets.notify import text
from spancost.budgets.notify.http_post import hang_up_after
from spancost.budgets.notify.references import Reference, Value, read
from spancost.budgets.notify.sending import DeliveryError

if TYPE_CHECKING:
    import smtplib
    import ssl

STARTTLS: Final = "starttls"
SSL: Final = "ssl"
OFF: Final = "off"
TLS: Final = (STARTTLS, SSL, OFF)
PORTS: Final = {STARTTLS: 587, SSL: 465, OFF: 25}
_DOMAIN: Final = "spancost.invalid"
"""Of message ids: they are for telling repetitions and threads, and lead nowhere."""
_COLOURS: Final = {"critical": "#b3261e", "warning": "#9a6700", "info": "#0b57d0"}
_CALM: Final = "#1a7f37"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailChannel:
    """A mail server that takes messages for others."""

    host: str
    port: int
    sender: str
    recipients: tuple[str, ...]
    tls: str = STARTTLS
    """One of `TLS`."""
    user: Value = ""
    password: Reference | None = None
    ca_file: str | None = None

    def send(self, alert: Alert, *, timeout_s: float) -> None:
        """Hand a message over. A repetition has the same `Message-ID`, by which most mail systems show it once.

        Args:
            alert: What is told.

            timeout_s: Longest time.

        Raises:
            DeliveryError: No recipient was accepted, or nobody knows.
        """
        import smtplib
        import ssl

        user = read(self.user)
        password = self.password.read() if self.password is not None else ""
        try:
            context = None if self.tls == OFF else ssl.create_default_context(cafile=self.ca_file)
        except OSError:
            raise DeliveryError(f"{self.host}: the certificates of ca_file cannot be read") from None
        letter = message(alert, self.sender, self.recipients)
        deadline = time.monotonic() + timeout_s
        try:
            self._hand_over(letter, user, password, context, deadline)
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            said = f"{self.host}: all recipients are refused ({', '.join(map(str, sorted(set(codes))))})"
            raise DeliveryError(said, is_final=all(code >= 500 for code in codes)) from None
        except smtplib.SMTPAuthenticationError as error:  # the password may be about to change
            raise DeliveryError(f"{self.host}: user and password are refused ({error.smtp_code})") from None
        except smtplib.SMTPResponseException as error:
            said = f"{self.host} answered {error.smtp_code}"
            raise DeliveryError(said, is_final=error.smtp_code >= 500) from None
        except smtplib.SMTPNotSupportedError:
            raise DeliveryError(f"{self.host}: does not offer what is needed: STARTTLS, or a login") from None
        except ssl.SSLCertVerificationError as error:
            raise DeliveryError(f"{self.host}: its certificate is not trusted: {error.verify_message}") from None
        except smtplib.SMTPException as error:
            if time.monotonic() >= deadline:  # it was hung up on
                raise DeliveryError(f"{self.host}: no answer in time") from None
            raise DeliveryError(f"{self.host}: no mail server answers ({type(error).__name__})") from None
        except TimeoutError:
            raise DeliveryError(f"{self.host}: no answer in time") from None
        except OSError as error:
            raise DeliveryError(f"{self.host}: {error.strerror or type(error).__name__}") from None
        except ValueError as error:  # of a header or a line: it may hold what was to be sent
            raise DeliveryError(f"{self.host}: the message cannot be sent ({type(error).__name__})") from None

    def _hand_over(
        self, letter: EmailMessage, user: str, password: str, context: ssl.SSLContext | None, deadline: float
    ) -> None:
        import smtplib

        hang_up: threading.Timer | None = None
        server = self._connected(context, max(0.001, deadline - time.monotonic()))
        try:
            if server.sock is not None:
                hang_up = hang_up_after(deadline - time.monotonic(), server.sock)
            if self.tls == STARTTLS:
                server.starttls(context=context)
                if hang_up is not None and server.sock is not None:
                    hang_up.cancel()
                    hang_up = hang_up_after(deadline - time.monotonic(), server.sock)
            if user:
                server.login(user, password)
            refused = server.send_message(letter)
            if refused:
                codes = ", ".join(sorted({str(code) for code, _ in refused.values()}))
                logger.warning(
                    "%s refuses %d of %d recipients of an alert (%s)",
                    self.host,
                    len(refused),
                    len(self.recipients),
                    codes,
                )
            with suppress(smtplib.SMTPException, OSError):  # it has taken the message
                server.quit()
        finally:
            if hang_up is not None:
                hang_up.cancel()
            server.close()

    def _connected(self, context: ssl.SSLContext | None, timeout_s: float) -> smtplib.SMTP:
        import smtplib
        import socket

        name = socket.gethostname()  # the full name would be asked of DNS, which takes its time
        if self.tls == SSL:
            return smtplib.SMTP_SSL(self.host, self.port, local_hostname=name, timeout=timeout_s, context=context)
        return smtplib.SMTP(self.host, self.port, local_hostname=name, timeout=timeout_s)


def message(alert: Alert, sender: str, recipients: tuple[str, ...]) -> EmailMessage:
    """Return what is sent."""
    letter = EmailMessage()
    letter["Subject"] = text.title(alert)
    letter["From"] = sender
    letter["To"] = ", ".join(recipients)
    letter["Date"] = format_datetime(datetime.fromtimestamp(alert.at, UTC))
    letter["Message-ID"] = _message_id(alert.id)
    letter["References"] = _message_id(f"episode.{alert.episode or alert.id}")
    letter["Auto-Submitted"] = "auto-generated"
    letter.set_content(text.plain(alert))
    letter.add_alternative(page(alert), subtype="html")
    return letter


def page(alert: Alert) -> str:
    """Return the HTML part: a heading, a sentence and a table, without anything to be fetched."""
    colour = _CALM if alert.status == RESOLVED else _COLOURS.get(alert.severity, _COLOURS["warning"])
    rows = "\n".join(
        '<tr><th style="text-align:left;vertical-align:top;padding:3px 16px 3px 0;font-weight:600;'
        f'white-space:nowrap">{_escaped(fact.name)}</th>'
        f'<td style="padding:3px 0">{"<br>".join(map(_linked, fact.lines))}</td></tr>'
        for fact in text.facts(alert)
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><body style="font-family:sans-serif;font-size:14px;color:#1f1f1f">\n'
        f'<h2 style="font-size:18px;border-left:6px solid {colour};padding-left:10px">'
        f"{_escaped(text.title(alert))}</h2>\n<p>{_escaped(text.summary(alert))}</p>\n"
        f'<table style="border-collapse:collapse">\n{rows}\n</table>\n</body></html>\n'
    )


def _linked(line: str) -> str:
    escaped = _escaped(line)
    if line.startswith(("https://", "http://")) and " " not in line:
        return f'<a href="{escaped}">{escaped}</a>'
    return escaped


def _escaped(line: str) -> str:
    return html.escape(line, quote=True)


def _message_id(name: str) -> str:
    safe = "".join(sign if sign.isascii() and (sign.isalnum() or sign in "._-") else "-" for sign in name)
    return f"<{safe[:200]}@{_DOMAIN}>"
