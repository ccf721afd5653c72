from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spancost.trace_choice import COSTLIEST, SAMPLED, TraceChoice, chosen, lot_of
from spancost.window import Attribution, EntryLabels, KeptTrace

_TRACES = st.lists(
    st.tuples(st.integers(1, 2**128 - 1), st.floats(0, 10)), max_size=200, unique_by=lambda pair: pair[0]
)


def _kept(trace_id: int, total_usd: float) -> KeptTrace:
    return KeptTrace(trace_id, EntryLabels(), Attribution(), total_usd, 0, ())


@given(_TRACES)
def test_what_is_chosen_one_by_one_has_the_costliest_and_the_whole_sample(pairs: list[tuple[int, float]]) -> None:
    choice = TraceChoice()
    wanted = [_kept(number, usd) for number, usd in pairs if choice.wants(usd, number)]
    at_once = chosen([_kept(number, usd) for number, usd in pairs], COSTLIEST, SAMPLED)
    in_steps = chosen(wanted, COSTLIEST, SAMPLED)
    assert (
        sorted(trace.total_usd for trace in in_steps)[-COSTLIEST:]
        == sorted(trace.total_usd for trace in at_once)[-COSTLIEST:]
    )
    sample = sorted((number for number, _ in pairs), key=lot_of)[:SAMPLED]
    assert set(sample) <= {trace.trace_id for trace in in_steps}


@given(_TRACES, st.integers(1, 199))
def test_a_sample_of_samples_is_the_sample_of_the_whole(pairs: list[tuple[int, float]], cut: int) -> None:
    traces = [_kept(number, 0.0) for number, _ in pairs]
    parts = chosen(traces[:cut], 0, SAMPLED) + chosen(traces[cut:], 0, SAMPLED)
    whole = {trace.trace_id for trace in chosen(traces, 0, SAMPLED)}
    assert {trace.trace_id for trace in chosen(parts, 0, SAMPLED)} == whole


def test_ids_that_count_up_are_drawn_evenly() -> None:
    drawn = sorted(range(1, 10_001), key=lot_of)[:1_000]
    for begin in range(1, 10_001, 1_000):
        assert 60 < sum(begin <= number < begin + 1_000 for number in drawn) < 140


def test_a_trace_is_kept_once_where_it_is_costly_and_drawn() -> None:
    traces = [_kept(number, float(number)) for number in range(1, 8)]
    assert len(chosen(traces, 7, 7)) == 7
