"""What people read."""

from __future__ import annotations

from email import message_from_bytes
from email.policy import default

import pytest

from spancost.budgets.notify import email, slack, text
from tests.budgets.notify.alerts import BREACH, NOW, alert, resolved

PLAIN = """\
BREACHED: Budget llm-monthly, tenant acme: $512.30 of $500.00 (102.5 %)

Tenant acme has spent $512.30 of its $500.00 in November.

Spent:           $512.30 of $500.00 (102.5 %)
Window:          month, from 2026-11-01 00:00 UTC to 2026-12-01 00:00 UTC
Threshold:       100 %
Unpriced:        3 calls have no price: the true spend is higher
Estimated:       $12.00 (2.3 %) rests on an assumption
Most spent by:   $401.50  POST /chat · openai/chat gpt-4o
                 $80.25  POST /search · openai/embeddings text-embedding-3-large
Costliest trace: 4bf92f3577b34da6a3ce929d0e0e4736 ($1.75)
State:           warning → breached, severity critical
Owner:           search-team
Service:         shop (production)
Labels:          cost_center=4711
Scope:           fleet: all processes that share the store
Seen at:         2026-11-22 00:00 UTC
Runbook:         https://runbooks.example.com/llm
"""


def test_an_alert_reads_as_plain_text() -> None:
    assert text.plain(BREACH) == PLAIN


def test_the_log_line_says_what_matters_in_one_line() -> None:
    assert text.log_line(BREACH) == (
        "BREACHED: Budget llm-monthly, tenant acme: $512.30 of $500.00 (102.5 %); window month; 3 unpriced; "
        "most by POST /chat · openai/chat gpt-4o ($401.50); trace 4bf92f3577b34da6a3ce929d0e0e4736; "
        "owner search-team; scope fleet"
    )


@pytest.mark.parametrize(
    ("changes", "title"),
    [
        (
            {"kind": "spike", "rule": "llm-spike", "key": "", "value": 40.0, "limit": 12.5, "limit_usd": None},
            "BREACHED: Spike llm-spike: $40.00, limit $12.50",
        ),
        (
            {"kind": "burn_rate", "rule": "llm-burn", "key": "", "value": 20.25, "limit": 14.4},
            "BREACHED: Burn rate llm-burn: 20.2 times as fast as it lasts (limit 14.4)",
        ),
        (
            {"kind": "forecast", "rule": "llm-forecast", "key": "", "value": 650.0, "limit": 500.0},
            "BREACHED: Forecast llm-forecast: $650.00 expected, limit $500.00",
        ),
        (
            {"kind": "request", "rule": "dear", "key": "", "value": 0.3, "limit": 0.25},
            "BREACHED: Request cost dear: $0.30, limit $0.25",
        ),
        ({"is_test": True}, "TEST, BREACHED: Budget llm-monthly, tenant acme: $512.30 of $500.00 (102.5 %)"),
        (
            {"key": "acme\r\nBcc: a@b.c"},
            "BREACHED: Budget llm-monthly, tenant acme  Bcc: a@b.c: $512.30 of $500.00 (102.5 %)",
        ),
    ],
)
def test_the_title_has_the_figure_of_its_kind(changes: dict[str, object], title: str) -> None:
    assert text.title(alert(**changes)) == title


def test_what_is_resolved_says_so() -> None:
    assert text.title(resolved(spend_usd=20.0)).startswith("RESOLVED: Budget llm-monthly, tenant acme: $20.00 of")


def test_what_is_not_known_is_not_told() -> None:
    least = alert(
        key="", owner="", labels=(), threshold=None, window="", window_start=None, window_end=None, estimated_usd=0.0,
        unpriced=0, is_incomplete=False, contributors=(), costliest_trace_id="", service="", environment="", runbook="",
        limit_usd=None, scope="process",
    )  # fmt: skip
    assert [fact.name for fact in text.facts(least)] == ["Spent", "State", "Scope", "Seen at"]
    assert text.facts(least)[0].value == "$512.30"
    assert "only what one process has spent" in text.plain(least)


def test_slack_gets_blocks_and_a_text_and_sees_no_mentions() -> None:
    said = slack.message(alert(key="<!channel> & co", summary="<@U1> has spent it."))
    header, summary, columns, rest = said["blocks"]
    assert header["text"]["text"].startswith(":rotating_light: BREACHED: Budget llm-monthly, tenant <!channel>")
    assert header["text"]["type"] == "plain_text", "where mentions are text"
    assert summary["text"] == {"type": "mrkdwn", "text": "&lt;@U1&gt; has spent it."}
    assert {"type": "mrkdwn", "text": "*Spent*\n$512.30 of $500.00 (102.5 %)"} in columns["fields"]
    assert "*Most spent by* \n•  $401.50  POST /chat · openai/chat gpt-4o\n" in rest["elements"][0]["text"]
    assert "&lt;!channel&gt; &amp; co" in said["text"]
    assert "<" not in said["text"]


def test_slack_is_given_no_more_than_it_takes() -> None:
    said = slack.message(alert(key="k" * 500, summary="s" * 5000, owner="o" * 5000))
    header, summary, columns, rest = said["blocks"]
    assert len(header["text"]["text"]) == 150
    assert len(summary["text"]["text"]) == 3000
    assert max(len(field["text"]) for field in columns["fields"]) == 2000
    assert len(columns["fields"]) <= 10
    assert len(rest["elements"][0]["text"]) <= 3000


def test_a_letter_has_both_parts_and_escapes_what_it_shows() -> None:
    letter = email.message(alert(key="<b>acme</b>"), "spancost@example.com", ("a@example.com", "b@example.com"))
    read = message_from_bytes(letter.as_bytes(), policy=default)
    assert read["Subject"] == "BREACHED: Budget llm-monthly, tenant <b>acme</b>: $512.30 of $500.00 (102.5 %)"
    assert read["To"] == "a@example.com, b@example.com"
    assert read["Message-ID"] == "<a1f0.3@spancost.invalid>"
    assert read["References"] == "<episode.a1f0@spancost.invalid>"
    assert read["Date"] == "Sun, 22 Nov 2026 00:00:00 +0000"
    plain, page = read.iter_parts()
    assert plain.get_content_type() == "text/plain"
    assert "Owner:           search-team" in plain.get_content()
    assert page.get_content_type() == "text/html"
    assert "&lt;b&gt;acme&lt;/b&gt;" in page.get_content()
    assert "<b>" not in page.get_content()
    assert '<a href="https://runbooks.example.com/llm">' in page.get_content()


def test_a_key_with_line_ends_adds_no_header() -> None:
    letter = email.message(alert(key="acme\r\nBcc: eve@example.com"), "a@example.com", ("b@example.com",))
    assert message_from_bytes(letter.as_bytes(), policy=default)["Bcc"] is None


def test_moments_are_rfc_3339() -> None:
    assert text.instant(NOW + 0.25) == "2026-11-22T00:00:00.250Z"
