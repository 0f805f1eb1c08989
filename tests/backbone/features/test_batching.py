import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from style_match.backbone.extractor import batch_slices, prepared_ahead


@given(
    num_tokens=st.lists(st.integers(1, 60), max_size=60).map(lambda counts: sorted(counts, reverse=True)),
    token_budget=st.integers(1, 200),
    data=st.data(),
)
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


def sum_of(batch, loaded):
    return sum(item.result() for item in loaded)


@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("num_threads", [1, 3])
def test_prepared_in_order_and_never_more_than_the_depth_ahead(depth, num_threads):
    started, taken = [], 0
    batches = [(i, [i, 10 * i, 100 * i][: i % 4]) for i in range(20)]
    with ThreadPoolExecutor(num_threads) as threads:
        ahead = prepared_ahead(threads, lambda item: started.append(item) or item, sum_of, batches, depth)
        for batch, prepared in ahead:
            assert (batch, prepared) == (taken, sum(batches[taken][1]))
            assert len(started) <= sum(len(items) for _, items in batches[: taken + 1 + depth])
            taken += 1
    assert taken == 20 and len(started) == sum(len(items) for _, items in batches)


def test_all_threads_work_at_the_batch_that_is_needed_next():
    together = threading.Barrier(3)  # broken, hence an error, unless three items of the first batch are loaded at once

    def load(item):
        if item < 3:
            together.wait(30)
        return item

    with ThreadPoolExecutor(3) as threads:
        batches = [(0, [0, 1, 2]), (1, [3, 4, 5])]
        assert list(prepared_ahead(threads, load, sum_of, batches, 1)) == [(0, 3), (1, 12)]


@pytest.mark.parametrize("breaks", ["load", "collate"])
def test_batches_before_a_fault_are_yielded(breaks):
    def load(i):
        if breaks == "load" and i == 4:
            raise ValueError("batch 4")
        return i

    def collate(batch, loaded):
        if breaks == "collate" and batch == 4:
            raise ValueError("batch 4")
        return sum_of(batch, loaded)

    taken = []
    with ThreadPoolExecutor(2) as threads, pytest.raises(ValueError, match="batch 4"):
        for batch, _ in prepared_ahead(threads, load, collate, ((i, [i]) for i in range(1000)), 2):
            taken.append(batch)
    assert taken == [0, 1, 2, 3]


def test_batches_that_wait_are_dropped_when_the_reader_stops():
    started, stopped = [], threading.Event()

    def load(i):
        started.append(i)
        if i > 1:
            stopped.wait(30)

    def collate(batch, loaded):
        return [item.result() for item in loaded]

    with ThreadPoolExecutor(1) as threads:
        prepared = prepared_ahead(threads, load, collate, ((i, [2 * i, 2 * i + 1]) for i in range(1000)), 5)
        next(prepared)
        prepared.close()
        stopped.set()
    assert started in ([0, 1], [0, 1, 2])
