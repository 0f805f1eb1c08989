import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from style_match.features.batching import batch_slices, prepared_ahead


@given(
    num_tokens=st.lists(st.integers(1, 60), max_size=60).map(lambda counts: sorted(counts, reverse=True)),
    token_budget=st.integers(1, 200),
    data=st.data(),
)
@settings(deadline=None)
def test_batches_are_full_and_within_the_budget(num_tokens, token_budget, data):
    start = data.draw(st.integers(0, len(num_tokens)))
    batches = list(batch_slices(num_tokens, token_budget, start))
    assert [i for batch in batches for i in range(len(num_tokens))[batch]] == list(range(start, len(num_tokens)))
    for batch in batches:
        longest, size = num_tokens[batch.start], batch.stop - batch.start
        assert size == 1 or longest * size <= token_budget
        if batch.stop < len(num_tokens):
            assert longest * (size + 1) > token_budget  # one more would not fit


def test_an_item_above_the_budget_goes_alone():
    assert list(batch_slices([90, 30, 20, 1], 60)) == [slice(0, 1), slice(1, 3), slice(3, 4)]


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_prepared_in_order_and_never_more_than_the_depth_ahead(depth):
    started, taken = [], 0
    with ThreadPoolExecutor(3) as threads:
        for batch, prepared in prepared_ahead(threads, lambda i: started.append(i) or i * i, range(20), depth):
            assert (batch, prepared) == (taken, taken**2)
            assert len(started) <= taken + 1 + depth
            taken += 1
    assert taken == 20


def test_batches_before_a_fault_are_yielded():
    def prepare(i):
        if i == 4:
            raise ValueError("batch 4")
        return i

    taken = []
    with ThreadPoolExecutor(2) as threads, pytest.raises(ValueError, match="batch 4"):
        for batch, _ in prepared_ahead(threads, prepare, range(1000), 2):
            taken.append(batch)
    assert taken == [0, 1, 2, 3]


def test_batches_that_wait_are_dropped_when_the_reader_stops():
    started, stopped = [], threading.Event()

    def prepare(i):
        started.append(i)
        if i > 0:
            stopped.wait(30)

    with ThreadPoolExecutor(1) as threads:
        prepared = prepared_ahead(threads, prepare, range(1000), 5)
        next(prepared)
        prepared.close()
        stopped.set()
    assert started in ([0], [0, 1])
