"""The demo's shop starts as real processes, answers its load, exports its last spans, and leaves nothing running."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from examples.shop.load import READ_INVOICE, ROUTES, request_count, run_load
from examples.shop.stack import APPS, Stack
from tests.support.otlp_receiver import OtlpReceiver
from tests.support.processes import StackError, answers

_PER_ROUTE = 2
_A_MINUTE_MILLIS = 60_000


@pytest.mark.e2e
def test_shop_answers_its_load_and_exports_the_last_spans_when_it_stops(tmp_path: Path) -> None:
    with OtlpReceiver() as receiver:
        # Nothing is exported before the end: all that arrives was written while stopping.
        with Stack(tmp_path, otlp_endpoint=receiver.url, export_interval_millis=_A_MINUTE_MILLIS) as stack:
            result = run_load(stack.urls, per_route=_PER_ROUTE)
            health_urls = [f"{url}/health" for url in stack.urls.values()]
            assert "shop_orders_placed_total" in stack.scrape("storefront")
            assert "shop_questions_asked_total" in stack.scrape("assistant")
            assert "shop_invoices_written_total" in stack.scrape("office")
        assert stack.alive() == []
        assert not any(answers(url) for url in health_urls)
        assert result.failures == ()
        assert result.sent == result.answered == request_count(_PER_ROUTE)

        servers = [span for span in receiver.spans if span.kind == 1]
        roots = [span for span in servers if not span.parent_id]
        assert Counter(span.service for span in roots) == Counter(
            {app: _PER_ROUTE * sum(route.app == app for route in (*ROUTES, READ_INVOICE)) for app in APPS}
        )
        # Each checkout asks the office and the assistant once, each summary asks the office once.
        assert len(servers) - len(roots) == 3 * _PER_ROUTE
        known = {span.span_id for span in receiver.spans}
        assert all(span.parent_id in known for span in receiver.spans if span.parent_id)
        assert not any("metrics" in span.name or "health" in span.name for span in servers)


@pytest.mark.e2e
def test_app_that_cannot_start_is_an_error_with_its_log_and_all_others_are_stopped(tmp_path: Path) -> None:
    stack = Stack(tmp_path, extra_environment={"GUNICORN_CMD_ARGS": "--no-such-flag"})
    with pytest.raises(StackError, match=r"(?s)storefront ended with exit code .*no-such-flag"):
        stack.start()
    assert stack.alive() == []
    assert {"aws", "llm", *APPS} == set(stack.exit_codes)
