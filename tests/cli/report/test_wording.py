from __future__ import annotations

import pytest

from spancost.cli.report.wording import duration


@pytest.mark.parametrize(
    ("minutes", "text"),
    [
        (1, "1 minute"),
        (59, "59 minutes"),
        (60, "1 hour"),
        (215, "3.6 hours"),
        (2 * 1440, "2 days"),
        (29_900, "20.8 days"),
    ],
)
def test_a_duration_is_told_in_the_largest_unit_that_fits(minutes: int, text: str) -> None:
    assert duration(minutes) == text
