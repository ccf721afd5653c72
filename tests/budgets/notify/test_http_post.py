"""One POST: what it sends, how long it takes, and what is told of a failure."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry import context
from opentelemetry.instrumentation.utils import is_http_instrumentation_enabled, is_instrumentation_enabled

from spancost.budgets.notify.http_post import post, without_instrumentation
from spancost.budgets.notify.sending import DeliveryError
from tests.support.alert_receiver import AlertReceiver, Posted, Reply, always
from tests.support.own_certificate import own_certificate
from tests.support.processes import ReservedPort

SECRET = "B00T/very-secret-path"


@pytest.fixture
def receiver() -> Iterator[AlertReceiver]:
    with AlertReceiver() as started:
        yield started


def failure(receiver: AlertReceiver, reply: Reply, timeout_s: float = 5.0) -> DeliveryError:
    receiver.reply = always(reply)
    with pytest.raises(DeliveryError) as raised:
        post(f"{receiver.url}/{SECRET}?x=1", b"{}", {}, timeout_s=timeout_s)
    assert SECRET not in str(raised.value)
    assert "127.0.0.1" in str(raised.value)
    return raised.value


def test_a_body_arrives_with_its_headers(receiver: AlertReceiver) -> None:
    post(f"{receiver.url}/{SECRET}?x=1", b'{"a":1}', {"Idempotency-Key": "7"}, timeout_s=5.0)
    [posted] = receiver.seen
    assert posted.path == f"/{SECRET}?x=1"
    assert posted.body == b'{"a":1}'
    assert posted.headers["idempotency-key"] == "7"
    assert posted.headers["content-type"] == "application/json"
    assert posted.headers["user-agent"] == "spancost"


@pytest.mark.parametrize(
    ("status", "is_final"),
    [
        *((status, True) for status in (400, 401, 403, 404, 410, 413)),
        *((status, False) for status in (408, 425, 429, 500, 502, 503)),
    ],
)
def test_what_would_be_refused_again_is_final(receiver: AlertReceiver, status: int, is_final: bool) -> None:
    error = failure(receiver, Reply(status))
    assert error.is_final is is_final
    assert str(status) in str(error)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("0.5", 0.5), ("-3", 0.0), ("1e99", 86_400.0), ("inf", None), ("soon", None)],
)
def test_the_receiver_may_say_when_to_come_again(receiver: AlertReceiver, header: str, seconds: float | None) -> None:
    assert failure(receiver, Reply(429, {"Retry-After": header})).retry_after_s == seconds


def test_the_receiver_may_say_when_to_come_again_as_a_date(receiver: AlertReceiver) -> None:
    error = failure(receiver, Reply(503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}))
    assert error.retry_after_s == 0.0


def test_a_redirect_is_not_followed(receiver: AlertReceiver) -> None:
    with AlertReceiver() as other:
        error = failure(receiver, Reply(307, {"Location": f"{other.url}/stolen"}))
        assert error.is_final
        assert other.seen == []


def test_a_word_of_the_receiver_is_told_and_nothing_longer(receiver: AlertReceiver) -> None:
    assert str(failure(receiver, Reply(400, body=b"invalid_blocks"))).endswith("400 invalid_blocks")
    assert str(failure(receiver, Reply(404, body=f"no /{SECRET} here".encode()))).endswith("404")


def test_a_receiver_that_hangs_or_hangs_up_is_tried_again(receiver: AlertReceiver) -> None:
    error = failure(receiver, Reply(hangs=True), timeout_s=0.2)
    assert (error.is_final, str(error)) == (False, "127.0.0.1: no answer in time")
    assert not failure(receiver, Reply(hangs_up=True)).is_final


def test_a_receiver_that_drips_is_hung_up_on(receiver: AlertReceiver) -> None:
    assert str(failure(receiver, Reply(drips=True), timeout_s=0.3)) == "127.0.0.1: no answer in time"


def test_what_was_accepted_is_delivered_whatever_follows(receiver: AlertReceiver) -> None:
    receiver.reply = always(Reply(headers={"Content-Length": "100000"}))
    post(receiver.url, b"{}", {}, timeout_s=5.0)


def test_a_post_needs_no_thread_of_its_own_when_the_interpreter_ends(
    receiver: AlertReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(timer: threading.Timer) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Timer, "start", start)
    post(receiver.url, b"{}", {}, timeout_s=5.0)
    assert len(receiver.seen) == 1


def test_a_large_answer_is_not_read_to_its_end(receiver: AlertReceiver) -> None:
    receiver.reply = always(Reply(body=b"x" * 5_000_000))
    post(receiver.url, b"{}", {}, timeout_s=5.0)


def test_a_refused_connection_is_tried_again() -> None:
    port = ReservedPort()
    port.release()
    with pytest.raises(DeliveryError, match=r"127\.0\.0\.1") as raised:
        post(f"{port.url}/{SECRET}", b"{}", {}, timeout_s=1.0)
    assert not raised.value.is_final
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "SECRET",
        "ftp://x/SECRET",
        "https:///SECRET",
        "http://[SECRET",
        "https://host:SECRET/",
        "https://host/SECRET path",
        "https://host/SECRET\n",
        "https://host/SECRETä",
    ],
)
def test_a_url_that_is_none_is_not_shown(url: str) -> None:
    with pytest.raises(DeliveryError) as raised:
        post(url, b"{}", {}, timeout_s=1.0)
    assert "SECRET" not in str(raised.value)
    assert not raised.value.is_final, "it may be mended in its file"


def test_a_secret_does_not_travel_in_clear() -> None:
    with pytest.raises(DeliveryError, match=r"hooks\.example\.com: https is needed"):
        post(f"http://hooks.example.com/{SECRET}", b"{}", {}, timeout_s=1.0)


def test_certificates_are_checked(receiver: AlertReceiver, tmp_path: Path) -> None:
    certificate, key = own_certificate(tmp_path)
    receiver.stop()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    receiver.tls = context
    receiver.start()
    url = receiver.url.replace("http://", "https://")
    with pytest.raises(DeliveryError, match="not trusted") as raised:
        post(url, b"{}", {}, timeout_s=5.0)
    assert not raised.value.is_final
    assert receiver.seen == []
    post(url, b"{}", {}, timeout_s=5.0, ca_file=str(certificate))
    assert len(receiver.seen) == 1


def test_a_proxy_of_the_environment_is_used(receiver: AlertReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", receiver.url.replace("http://", "http://me:word@"))
    monkeypatch.setenv("no_proxy", "direct.example.com")
    post("http://alerts.example.com:8080/in?x=1", b"{}", {}, timeout_s=5.0, needs_https=False)
    [posted] = receiver.seen
    assert posted.path == "http://alerts.example.com:8080/in?x=1"
    assert posted.headers["host"] == "alerts.example.com:8080"
    assert posted.headers["proxy-authorization"] == "Basic bWU6d29yZA=="


def test_https_goes_through_a_tunnel_of_the_proxy(receiver: AlertReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", receiver.url)
    with pytest.raises(DeliveryError, match=r"hooks\.example\.com: ") as raised:
        post(f"https://hooks.example.com/{SECRET}", b"{}", {}, timeout_s=5.0)
    assert receiver.seen == [], "no proxy of ours takes CONNECT, and nothing is sent without it"
    assert not raised.value.is_final


def test_instrumentations_are_switched_off_for_the_post_alone(receiver: AlertReceiver) -> None:
    before = context.get_current()
    with without_instrumentation():
        assert not is_instrumentation_enabled()
        assert not is_http_instrumentation_enabled()
        keys = (context._SUPPRESS_INSTRUMENTATION_KEY, context._SUPPRESS_HTTP_INSTRUMENTATION_KEY)  # pyright: ignore[reportPrivateUsage]
        assert all(context.get_value(key) for key in (*keys, "suppress_instrumentation"))
    assert is_instrumentation_enabled()
    assert context.get_current() == before
    seen: list[Posted] = receiver.seen
    post(receiver.url, b"{}", {}, timeout_s=5.0)
    assert "traceparent" not in seen[0].headers
