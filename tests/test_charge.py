"""How many calls the charges of one span stand for."""

from __future__ import annotations

import pytest
from opentelemetry.trace import SpanKind

from spancost import names
from spancost.charge import Charge, calls_of, price_line
from spancost.testing import priced_provider

_SELECT = {
    "rpc.system": "aws-api",
    "rpc.service": "S3",
    "rpc.method": "SelectObjectContent",
    "http.status_code": 200,
    "cloud.region": "us-east-1",
}


def _charge(component: str, status: str = names.PRICED, unit: str = "request") -> Charge:
    return Charge(price_line(component, "x", "call", status=status, unit=unit), 1.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("charges", "calls"),
    [
        ([], []),
        ([_charge(names.AWS)], [1]),
        ([_charge(names.LLM, unit="input_token"), _charge(names.LLM, unit="output_token")], [1, 0]),
        ([_charge(names.AWS), _charge(names.AWS, names.UNPRICED)], [0, 1]),
        ([_charge(names.AWS, names.UNPRICED), _charge(names.AWS, names.UNPRICED, "GB")], [1, 0]),
        ([_charge(names.HTTP), _charge(names.EGRESS, names.UNPRICED)], [1, 1]),
        ([_charge(names.HTTP), _charge(names.EGRESS)], [1, 1]),
        ([_charge(names.EGRESS), _charge(names.COMPUTE)], [1, 0]),
        ([_charge(names.COMPUTE)], [1]),
    ],
)
def test_each_component_counts_one_call_on_what_is_not_known_of_it(charges: list[Charge], calls: list[int]) -> None:
    assert list(calls_of(charges)) == calls


@pytest.mark.parametrize("is_inner", [False, True])
def test_unpriced_part_of_a_priced_call_is_counted(is_inner: bool) -> None:
    with priced_provider() as world:
        if is_inner:
            with world.tracer.start_as_current_span("work"):
                world.tracer.start_span("select", kind=SpanKind.CLIENT, attributes=_SELECT).end()
        else:
            world.tracer.start_span("select", kind=SpanKind.CLIENT, attributes=_SELECT).end()
        world.publish()
        found = {
            key.line.status: sums.count
            for key, sums in world.recorded.charges.items()
            if key.line.component == names.AWS
        }
        assert found == {names.PRICED: 0, names.UNPRICED: 1}
        assert world.attributes("select")[names.STATUS] == names.UNPRICED
