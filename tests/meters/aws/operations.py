"""Operations of the installed botocore that nobody has looked at."""

from __future__ import annotations

from spancost.meters.aws.coverage import UNDECIDED, coverage
from spancost.prices.book import PriceBook


def undecided(client: str) -> list[str]:
    """Operations of a boto3 client that are neither priced nor free nor unpriced for a reason that says more."""
    return [found.operation for found in coverage(PriceBook.shipped(), [client]) if found.reason in UNDECIDED]
