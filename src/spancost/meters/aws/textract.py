"""Price Textract pages, USD per page (aws.amazon.com/textract/pricing).

A synchronous call is one page; an identity document as many as the answer says. Features add up: forms, tables,
queries (less where they come with one of the others); layout and signatures cost only by themselves. An asynchronous
document is charged at the first answer that shows it finished, by its pages and the features asked for at its start.
Left out: human review, training of adapters, volume tiers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from spancost.capture.aws import textract as seen
from spancost.capture.aws import work
from spancost.charge import joined_basis
from spancost.meters.aws.call import NO_USAGE, Call, Measure, Usage, failure, unpriced
from spancost.meters.aws.later import DURATION_NOT_SEEN, finished, never_seen, start

ASSUMED_PAGES: Final = "pages:1"
PARTIAL: Final = "pages:partial"
FEATURES_NOT_SEEN: Final = "features_not_seen"
"""The features of an analysis were asked for in another process."""

_ANALYZE: Final = "aws.textract.analyze."
_SYNCHRONOUS: Final = {
    "DetectDocumentText": "aws.textract.detect_text",
    "AnalyzeExpense": "aws.textract.expense",
    "AnalyzeID": "aws.textract.id",
}
_ANSWERS: Final = {
    "GetDocumentTextDetection": "aws.textract.detect_text",
    "GetExpenseAnalysis": "aws.textract.expense",
    "GetLendingAnalysis": "aws.textract.lending",
    "GetLendingAnalysisSummary": "aws.textract.lending",
}
_STARTS: Final = frozenset(
    {"StartDocumentTextDetection", "StartDocumentAnalysis", "StartExpenseAnalysis", "StartLendingAnalysis"}
)
_STRUCTURES: Final[Mapping[str, str]] = {"FORMS": f"{_ANALYZE}forms", "TABLES": f"{_ANALYZE}tables"}
_ALONE: Final[Mapping[str, str]] = {"LAYOUT": f"{_ANALYZE}layout", "SIGNATURES": f"{_ANALYZE}signatures"}


def measure_of(operation: str) -> Measure | None:
    """Return what measures an operation; None if the price book alone says it."""
    if operation in _STARTS:
        return start
    if operation in _SYNCHRONOUS:
        return _page
    if operation in _ANSWERS:
        return _finished
    if operation == "AnalyzeDocument":
        return _analyze
    if operation == "CreateAdapterVersion":
        return never_seen(DURATION_NOT_SEEN)
    return _analysis_finished if operation == "GetDocumentAnalysis" else None


@lru_cache(maxsize=128)
def prices_of(features: tuple[str, ...]) -> tuple[str, ...]:
    """Return the ids of what is billed for each page, for a sorted tuple of features."""
    found = [price_id for feature, price_id in _STRUCTURES.items() if feature in features]
    if seen.ADAPTER in features:
        found.append(f"{_ANALYZE}custom_queries")
    elif "QUERIES" in features:
        found.append(f"{_ANALYZE}queries_added" if found else f"{_ANALYZE}queries")
    if found:
        return tuple(found)
    alone = [price_id for feature, price_id in _ALONE.items() if feature in features]
    return tuple(alone[:1])  # signatures are free with layout


def _page(call: Call) -> Sequence[Usage]:
    if call.failed:
        return failure(call)
    pages = call.size(seen.PAGES)
    # An identity document has two sides, each a page.
    basis = ASSUMED_PAGES if pages is None and call.operation == "AnalyzeID" else ""
    return (Usage(_SYNCHRONOUS[call.operation], 1.0 if pages is None else pages, "", basis),)


def _analyze(call: Call) -> Sequence[Usage]:
    if call.failed:
        return failure(call)
    features = call.facts.get(seen.FEATURES)
    if features is None:
        return unpriced(NO_USAGE)
    pages = call.size(seen.PAGES)
    return _analyzed(features, 1.0 if pages is None else pages, "")


def _finished(call: Call) -> Sequence[Usage]:
    def charge(pages: float, basis: str) -> Sequence[Usage]:
        return (Usage(_ANSWERS[call.operation], pages, "", joined_basis(basis, _partial(call))),)

    return finished(call, charge)


def _analysis_finished(call: Call) -> Sequence[Usage]:
    def charge(pages: float, basis: str) -> Sequence[Usage]:
        features = call.facts.get(work.KIND)
        if features is None:
            return unpriced(FEATURES_NOT_SEEN, quantity=pages, unit="page")
        return _analyzed(features, pages, joined_basis(basis, _partial(call)))

    return finished(call, charge)


def _analyzed(features: tuple[str, ...], pages: float, basis: str) -> Sequence[Usage]:
    price_ids = prices_of(features)
    if not price_ids:
        return unpriced("unknown_feature", quantity=pages, unit="page")
    return [Usage(price_id, pages, "", basis) for price_id in price_ids]


def _partial(call: Call) -> str:
    return PARTIAL if call.facts.get(seen.PARTIAL) else ""
