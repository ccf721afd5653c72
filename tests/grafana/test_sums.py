"""What the dashboards add up since midnight and since the first of the month, by the real promtool."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from grafana._make.queries import HOUR_S, SCOPE, this_month, today
from spancost.dashboards.interpolation import Chosen, Clock, interpolate
from spancost.dashboards.times import Span
from tests.support.promtool import evaluate

pytestmark = pytest.mark.e2e

_PER_HOUR: Final = 12
_RATES: Final = "cost_usd_rate"
_ALL: Final = {label: Chosen((), True, all_value=".*", is_all=True, name=label) for label in SCOPE}
_CLOCK: Final = Clock(Span(0.0, 60.0), 15.0, 60.0)


def _asked(query: str) -> str:
    return interpolate(query, _ALL, _CLOCK)


def test_days_and_months_are_whole_hours_and_the_part_of_one_that_runs(tmp_path: Path) -> None:
    # One service spends a dollar an hour all the time, one two dollars an hour from 35 h on. Time 0 is a 1st.
    # Rates over an hour: that of 36 h is of the hour before it.
    one, other = f"{1 / HOUR_S!r}x{800 * _PER_HOUR}", f"{2 / HOUR_S!r}x{800 * _PER_HOUR}"
    series = [
        {"series": f'{_RATES}1h{{service_name="a"}}', "values": one},
        {"series": f'{_RATES}5m{{service_name="a"}}', "values": one},
        {"series": f'{_RATES}1h{{service_name="b"}}', "values": f"_x{36 * _PER_HOUR} {other}"},
        {"series": f'{_RATES}5m{{service_name="b"}}', "values": f"_x{36 * _PER_HOUR} {other}"},
    ]
    expected_usd = {  # hour -> since midnight, since the first of the month
        24.0: (0.0, 24.0),
        26.5: (2.5, 26.5),
        38.25: (14.25 + 2 * 3.25, 38.25 + 2 * 3.25),
        745.0: (1.0 + 2.0, 1.0 + 2.0),  # one o'clock on the 1st of February
    }
    questions = [(_asked(query(_RATES)), hour * HOUR_S) for hour in expected_usd for query in (today, this_month)]
    found = evaluate("groups: []", series, questions, tmp_path, interval_s=HOUR_S, step_s=HOUR_S / _PER_HOUR)
    wanted = [usd for pair in expected_usd.values() for usd in pair]
    assert [answer[0].value for answer in found] == pytest.approx(wanted, rel=1e-9)
