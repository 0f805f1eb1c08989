"""Who is dealt in an epoch, against counts made by hand."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from style_match.data.balance import Balance
from style_match.data.sampler.pk import PKSampler
from style_match.data.sampler.plain import PlainSampler

CLASSES = st.lists(st.sampled_from("abcde"), min_size=2, max_size=60)
CAPS = st.one_of(st.none(), st.just("median"), st.integers(2, 20))


@given(CLASSES, CAPS, st.booleans(), st.integers(0, 99), st.integers(0, 40))
def test_every_class_is_within_the_cap_and_filled_to_the_largest(labels, cap, fill, seed, epoch):
    one, other = (Balance(labels, cap=cap, fill=fill, seed=seed) for _ in range(2))
    deal = one.deal(epoch)
    before, slots = Counter(labels), [labels[item] for item in deal.items]
    if cap == "median":
        cap = max(2, sorted(before.values())[(len(before) - 1) // 2])
    wanted = {label: min(count, cap or count) for label, count in before.items()}
    if fill:
        wanted = dict.fromkeys(wanted, max(wanted.values()))
    assert Counter(slots) == wanted
    assert slots == [labels[item] for item in one.deal(0).items], "slots have the same classes in every epoch"
    assert np.array_equal(deal.items, other.deal(epoch).items)
    seen: Counter = Counter()
    for item, copy in zip(deal.items.tolist(), deal.copies.tolist(), strict=True):
        assert copy == seen[item]
        seen[item] += 1


@given(CLASSES, CAPS, st.booleans(), st.integers(0, 99))
def test_over_epochs_no_item_of_a_class_is_dealt_twice_more_than_another(labels, cap, fill, seed):
    balance = Balance(labels, cap=cap, fill=fill, seed=seed)
    seen: Counter = Counter({item: 0 for item in range(len(labels))})
    for epoch in range(12):
        deal = balance.deal(epoch)
        seen.update(deal.items.tolist())
        for label in set(labels):
            counts = [seen[item] for item in range(len(labels)) if labels[item] == label]
            assert max(counts) - min(counts) <= 1


@given(CLASSES)
def test_where_nothing_is_asked_for_items_keep_their_places(labels):
    for balance in (Balance(labels, cap=None, fill=False, seed=1), Balance(labels, cap=60, fill=False, seed=1)):
        assert balance.deal(5).items.tolist() == list(range(len(labels)))
        assert not balance.deal(5).copies.any()


def test_a_cap_draws_other_items_in_other_epochs_and_for_other_seeds():
    labels = ["a"] * 100 + ["b"] * 10
    balance = Balance(labels, cap=10, fill=False, seed=0)
    drawn = [set(balance.deal(epoch).items[:10].tolist()) for epoch in range(10)]
    assert set.union(*drawn) == set(range(100)), "every one is dealt once in ten epochs"
    other = Balance(labels, cap=10, fill=False, seed=1)
    assert drawn[0] != set(other.deal(0).items[:10].tolist())


LABELS = ["basic"] * 70 + ["chic"] * 10 + ["hip"] * 10 + ["outdoor"] * 5 + ["formal"] * 5


def test_median_is_the_class_in_the_middle():
    balance = Balance(LABELS, cap="median", fill=False, seed=0)
    assert balance.cap == 10
    assert balance.after == {"basic": 10, "chic": 10, "formal": 5, "hip": 10, "outdoor": 5}
    assert balance.small == {"outdoor", "formal"}
    assert Balance(["a", "b", "b", "b"], cap="median", fill=False, seed=0).cap == 2


@pytest.mark.parametrize(("cap", "fill", "in_an_epoch"), [(10, False, 40), (10, True, 50), (None, True, 350)])
def test_samplers_deal_from_what_is_balanced(cap, fill, in_an_epoch):
    balance = Balance(LABELS, cap=cap, fill=fill, seed=0)
    slots = [LABELS[item] for item in balance.deal(0).items]
    assert len(slots) == in_an_epoch
    pk = PKSampler(labels=slots, num_classes=5, num_samples=2, num_batches=None, seed=0)
    assert len(pk) == in_an_epoch // 10
    for batch in pk:
        assert sorted(Counter(slots[i] for i in batch).values()) == [2] * 5
    plain = PlainSampler(labels=slots, batch_size=10, seed=0)
    dealt = Counter(slots[i] for batch in plain for i in batch)
    assert dealt == Counter(slots)
