"""Price mail sent through the second API of SES; see `mail` for the rules."""

from __future__ import annotations

from spancost.meters.aws.call import Measure
from spancost.meters.aws.mail import mail_measure_of


def measure_of(operation: str) -> Measure | None:
    """Return what measures an operation; None if the price book alone says it."""
    return mail_measure_of(operation, "aws.sesv2.outbound")
