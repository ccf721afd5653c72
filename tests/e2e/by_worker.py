"""The same money as every sink has it, by the worker that spent it: applications give each worker a tenant's name."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, TypeAlias

import pytest

from spancost import names
from tests.e2e.apps.worker import PREFIX
from tests.e2e.exposition import from_files
from tests.e2e.load import CountedLoad
from tests.e2e.zero_code import EGRESS_USD_PER_GB, LLM_CALL_USD, Books, local_roots
from tests.support.otlp_receiver import OtlpReceiver

BODY_BYTES: Final = 4000
"""Of each answer of `/tenant`."""
_EGRESS_USD: Final = BODY_BYTES / 2**30 * EGRESS_USD_PER_GB

Money: TypeAlias = "dict[tuple[str, str], float]"
"""USD by (worker, component)."""


def in_ledger(books: Books) -> Money:
    """Return what the ledger has; without idle time."""
    return _money(
        books.rows("SELECT tenant, component, SUM(usd) FROM ledger_rows WHERE position != 'idle' GROUP BY 1, 2")
    )


def in_counters(receiver: OtlpReceiver) -> Money:
    """Return the newest values of the OTLP counter of all processes."""
    found = receiver.latest_sum_by(names.METRIC_ATTRIBUTED, "tenant", "component")
    return _money((tenant, component, usd) for (tenant, component), usd in found.items())


def in_files(directory: Path) -> Money:
    """Return the sum of all files of a `PROMETHEUS_MULTIPROC_DIR`."""
    found = (
        (labels.get("tenant", ""), labels["component"], sample.value)
        for sample in from_files(directory)
        if sample.name == "spancost_attributed_cost_usd_total"
        for labels in [dict(sample.labels)]
    )
    return _money(found)


def in_spans(receiver: OtlpReceiver) -> Money:
    """Return what the local roots say that were exported."""
    return _money(
        (str(span.attributes.get(names.TENANT, "")), component, float(span.attributes.get(attribute, 0.0)))
        for span in local_roots(receiver.spans)
        for component, attribute in names.COMPONENT_USD.items()
    )


def _money(found: Iterable[tuple[str, str, float]]) -> Money:
    sums: defaultdict[tuple[str, str], float] = defaultdict(float)
    for tenant, component, usd in found:
        sums[tenant.removeprefix(PREFIX), component] += usd
    return {key: usd for key, usd in sums.items() if usd}


def calls(money: Money) -> Counter[str]:
    """Return the requests by worker: each has made one LLM call."""
    return Counter(
        {worker: round(usd / LLM_CALL_USD) for (worker, component), usd in money.items() if component == names.LLM}
    )


def without(money: Money, *workers: str) -> Money:
    """Leave some workers out."""
    return {(worker, component): usd for (worker, component), usd in money.items() if worker not in workers}


def assert_answers_charged_once(load: CountedLoad, ledger: Money, others: Mapping[str, Money], log: str) -> None:
    """Fail unless all that was answered is in the ledger, and the same money in every other sink.

    Args:
        load: A request that failed for its client may have been answered.

        ledger: As `in_ledger` returns it.

        others: By the name of the sink.

        log: Of the application, shown where charges are missing.
    """
    answered, charged = load.counts, calls(ledger)
    assert charged.total() - answered.total() <= load.failed
    assert not answered - charged, log  # fewer charged than answered, in some worker
    for sink, money in others.items():
        assert calls(money) == charged, sink
        assert money == pytest.approx(ledger, rel=1e-9), sink


def assert_priced(money: Money, requests: Counter[str]) -> None:
    """Fail unless each worker has spent what its requests cost: one LLM call and one answer of `/tenant` each."""
    assert calls(money) == requests
    for worker, count in requests.items():
        assert money[worker, names.LLM] == pytest.approx(count * LLM_CALL_USD, rel=1e-9)
        assert money[worker, names.EGRESS] == pytest.approx(count * _EGRESS_USD, rel=1e-9)
