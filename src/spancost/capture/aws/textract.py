"""What Textract bills of a call: number of pages, features asked for."""

from __future__ import annotations

from typing import Final

from spancost.capture.aws.parts import part
from spancost.capture.aws.sizes import Facts, Params
from spancost.capture.aws.work import AMOUNTS, Work, ask, asked

PAGES: Final = "aws.textract.pages"
"""int: pages of a document that was analysed at once."""
FEATURES: Final = "aws.textract.features"
"""tuple of str, sorted: `FORMS`, `LAYOUT`, `QUERIES`, `SIGNATURES`, `TABLES`, and `ADAPTER` for custom queries."""
PARTIAL: Final = "aws.textract.partial"
"""True: some pages of the document could not be analysed."""

ADAPTER: Final = "ADAPTER"

_jobs: Final = Work()


def request(facts: Facts, operation: str, params: Params) -> None:
    if operation in ("AnalyzeDocument", "StartDocumentAnalysis"):
        features: set[str] = set(params.get("FeatureTypes") or ())
        if part(params, "AdaptersConfig").get("Adapters"):
            features.add(ADAPTER)
        facts[FEATURES] = tuple(sorted(features))
    elif operation == "AnalyzeID":
        facts[PAGES] = len(params.get("DocumentPages") or ())
    elif operation.startswith("Get"):
        ask(facts, params.get("JobId"))


def response(facts: Facts, operation: str, result: Params) -> None:
    if operation.startswith("Start"):
        _jobs.begin(result.get("JobId"), facts.get(FEATURES, ()))
        return
    pages = part(result, "DocumentMetadata").get("Pages")
    if not operation.startswith("Get"):
        if pages is not None:
            facts[PAGES] = pages
        return
    job_id, status = asked(facts), result.get("JobStatus")
    if status in ("SUCCEEDED", "PARTIAL_SUCCESS"):
        _jobs.end(facts, job_id, pages)
        if status == "PARTIAL_SUCCESS":
            facts[PARTIAL] = True
    facts.setdefault(AMOUNTS, ())
