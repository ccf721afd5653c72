"""E-mail, handed to a real mail server on a loopback port."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from spancost.budgets.notify.channels import open_channel, read_channel
from spancost.budgets.notify.sending import DeliveryError
from tests.budgets.notify.alerts import BREACH
from tests.support.own_certificate import own_certificate
from tests.support.processes import ReservedPort

PASSWORD = "pass-word-of-a-test"


class MailBox:
    """Takes messages, with an answer of its own where a test wants it."""

    def __init__(self) -> None:
        self.taken: list[Envelope] = []
        self.on_data = "250 OK"
        self.refused: dict[str, str] = {}
        self.was_encrypted = False

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.was_encrypted = session.ssl is not None
        if self.on_data.startswith("2"):
            self.taken.append(envelope)
        return self.on_data


def let_in(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    return AuthResult(success=data.login == b"spancost" and data.password == PASSWORD.encode(), handled=False)


class Server:
    """A mail server with STARTTLS and a login."""

    def __init__(self, folder: Path) -> None:
        self.box = MailBox()
        self.certificate, key = own_certificate(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        self.context = context

    def started(self, **options: Any) -> Controller:
        reserved = ReservedPort()
        reserved.release()
        controller = Controller(self.box, hostname="127.0.0.1", port=reserved.number, **options)
        controller.start()
        return controller


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


@pytest.fixture
def plain(server: Server) -> Iterator[int]:
    controller = server.started()
    yield controller.port
    controller.stop()


@pytest.fixture
def with_login(server: Server) -> Iterator[int]:
    controller = server.started(
        tls_context=server.context, require_starttls=True, auth_required=True, authenticator=let_in
    )
    yield controller.port
    controller.stop()


def send(port: int, timeout_s: float = 5.0, **given: Any) -> None:
    known = {
        "type": "email",
        "host": "127.0.0.1",
        "port": port,
        "from": "spancost@example.com",
        "to": ["a@example.com"],
    }
    open_channel(read_channel("mail", {**known, **given})).send(BREACH, timeout_s=timeout_s)


def test_a_letter_arrives(server: Server, plain: int) -> None:
    send(plain, tls="off", to=["a@example.com", "b@example.com"])
    [envelope] = server.box.taken
    assert envelope.mail_from == "spancost@example.com"
    assert envelope.rcpt_tos == ["a@example.com", "b@example.com"]
    assert isinstance(envelope.content, bytes)
    letter = message_from_bytes(envelope.content, policy=default)
    assert letter["Subject"].strip() == "BREACHED: Budget llm-monthly, tenant acme: $512.30 of $500.00 (102.5 %)"
    assert letter["Message-ID"] == "<a1f0.3@spancost.invalid>"
    body = letter.get_body(("plain",))
    assert body is not None
    assert "POST /chat · openai/chat gpt-4o" in body.get_content()


def test_a_login_travels_encrypted_and_its_password_is_read_each_time(
    server: Server, with_login: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {
        "user": "spancost",
        "password_env": "SMTP_PASSWORD",
        "ca_file": str(server.certificate),
    }
    monkeypatch.setenv("SMTP_PASSWORD", f"not-{PASSWORD}")
    with pytest.raises(DeliveryError, match="user and password are refused") as raised:
        send(with_login, **given)
    assert not raised.value.is_final, "the password may be changed"
    assert PASSWORD not in str(raised.value)
    monkeypatch.setenv("SMTP_PASSWORD", PASSWORD)
    send(with_login, **given)
    assert server.box.was_encrypted
    assert len(server.box.taken) == 1


def test_a_server_of_an_unknown_certificate_gets_nothing(
    server: Server, with_login: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMTP_PASSWORD", PASSWORD)
    with pytest.raises(DeliveryError, match="not trusted"):
        send(with_login, user="spancost", password_env="SMTP_PASSWORD")
    assert server.box.taken == []


def test_nothing_is_sent_in_clear_where_tls_is_wanted(server: Server, plain: int) -> None:
    with pytest.raises(DeliveryError, match="does not offer what is needed"):
        send(plain)
    assert server.box.taken == []


def test_the_connection_may_be_encrypted_from_its_start(server: Server) -> None:
    controller = server.started(ssl_context=server.context)
    try:
        send(controller.port, tls="ssl", ca_file=str(server.certificate))
    finally:
        controller.stop()
    assert len(server.box.taken) == 1


@pytest.mark.parametrize(("answer", "is_final"), [("451 later", False), ("554 no", True)])
def test_a_message_that_is_refused_for_now_is_tried_again(
    server: Server, plain: int, answer: str, is_final: bool
) -> None:
    server.box.on_data = answer
    with pytest.raises(DeliveryError, match=answer[:3]) as raised:
        send(plain, tls="off")
    assert raised.value.is_final is is_final


@pytest.mark.parametrize(("answer", "is_final"), [("450 busy", False), ("550 unknown", True)])
def test_it_fails_only_where_nobody_gets_it(
    server: Server, plain: int, answer: str, is_final: bool, caplog: pytest.LogCaptureFixture
) -> None:
    server.box.refused = {"gone@example.com": answer}
    send(plain, tls="off", to=["a@example.com", "gone@example.com"])
    assert len(server.box.taken) == 1
    assert f"127.0.0.1 refuses 1 of 2 recipients of an alert ({answer[:3]})" in caplog.text
    with pytest.raises(DeliveryError, match="all recipients are refused") as raised:
        send(plain, tls="off", to=["gone@example.com"])
    assert raised.value.is_final is is_final


def test_a_server_that_hangs_is_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(DeliveryError, match="in time") as raised:
        send(silent.getsockname()[1], timeout_s=0.2, tls="off")
    assert not raised.value.is_final


def test_a_server_that_is_away_is_tried_again() -> None:
    reserved = ReservedPort()
    reserved.release()
    with pytest.raises(DeliveryError, match=r"127\.0\.0\.1") as raised:
        send(reserved.number, tls="off")
    assert not raised.value.is_final
