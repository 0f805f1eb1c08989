"""Plain batches: every item at most once an epoch, drawn anew, ranks disjoint."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from style_match.data.sampler.plain import PlainSampler
from style_match.utils.errors import UserError


@given(num_items=st.integers(2, 60), batch_size=st.integers(2, 60), seed=st.integers(0, 9), epoch=st.integers(0, 5))
def test_an_epoch_deals_every_item_at_most_once(num_items: int, batch_size: int, seed: int, epoch: int):
    batch_size = min(batch_size, num_items)
    sampler = PlainSampler(labels=range(num_items), batch_size=batch_size, seed=seed)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    dealt = [item for batch in batches for item in batch]
    assert len(batches) == len(sampler) == num_items // batch_size
    assert {len(batch) for batch in batches} == {batch_size}
    assert len(set(dealt)) == len(dealt) and set(dealt) <= set(range(num_items))
    assert list(sampler) == batches


def test_epochs_and_seeds_differ():
    sampler = PlainSampler(labels=range(50), batch_size=10, seed=0)
    first = list(sampler)
    sampler.set_epoch(1)
    assert list(sampler) != first != list(PlainSampler(labels=range(50), batch_size=10, seed=1))


def test_the_ranks_share_a_batch():
    whole = list(PlainSampler(labels=range(50), batch_size=10, seed=0))
    parts = [list(PlainSampler(labels=range(50), batch_size=10, seed=0, num_replicas=2, rank=rank)) for rank in (0, 1)]
    assert [one + other for one, other in zip(*parts, strict=True)] == whole


@pytest.mark.parametrize(
    "options", [{"batch_size": 1}, {"batch_size": 11}, {"batch_size": 9, "num_replicas": 2}], ids=str
)
def test_batches_that_cannot_be_are_named(options: dict):
    with pytest.raises(UserError, match=f"sampler.batch_size={options['batch_size']}"):
        PlainSampler(labels=range(10), seed=0, **options)
