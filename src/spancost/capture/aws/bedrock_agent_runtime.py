"""What the Bedrock agent runtime bills of a call: queries and documents to rank, and the model."""

from __future__ import annotations

from typing import Final

from spancost.capture.aws import facts as keys
from spancost.capture.aws.sizes import Facts, Params

QUERIES: Final = "aws.bedrock.rerank_queries"
"""int: queries in the call."""
DOCUMENTS: Final = "aws.bedrock.rerank_documents"
"""int: documents that each query is to rank."""


def request(facts: Facts, operation: str, params: Params) -> None:
    if operation != "Rerank":
        return
    configuration: Params = params["rerankingConfiguration"]["bedrockRerankingConfiguration"]
    arn = configuration["modelConfiguration"]["modelArn"]
    facts[keys.RESOURCE] = arn.rsplit("/", 1)[-1][:256]
    facts[QUERIES] = len(params["queries"])
    facts[DOCUMENTS] = len(params["sources"])
