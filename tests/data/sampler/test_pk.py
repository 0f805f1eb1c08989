"""PKSampler: P classes of K items, evenly covered, repeats only where a class is too small, exact over ranks."""

import logging
import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from style_match.data.sampler.pk import PKSampler
from style_match.utils.errors import UserError


def pk_sampler(labels, *, num_classes=2, num_samples=3, num_batches=None, seed=0, **options):
    return PKSampler(
        labels=labels, num_classes=num_classes, num_samples=num_samples, num_batches=num_batches, seed=seed, **options
    )


def epoch_of(sampler, epoch):
    sampler.set_epoch(epoch)
    return list(sampler)


class_sizes = st.lists(st.integers(1, 12), min_size=2, max_size=6)


@given(class_sizes, st.integers(2, 6), st.integers(2, 5), st.integers(0, 2**31), st.integers(0, 9))
def test_each_batch_is_p_classes_of_k_items(sizes, num_classes, num_samples, seed, epoch):
    num_classes = min(num_classes, len(sizes))
    labels = [f"class{c}" for c, size in enumerate(sizes) for _ in range(size)]
    sampler = pk_sampler(labels, num_classes=num_classes, num_samples=num_samples, seed=seed)
    batches = epoch_of(sampler, epoch)
    assert len(batches) == len(sampler) == math.ceil(len(labels) / (num_classes * num_samples))
    appearances = Counter({f"class{c}": 0 for c in range(len(sizes))})
    for batch in batches:
        by_class = Counter(labels[i] for i in batch)
        assert list(by_class.values()) == [num_samples] * num_classes
        appearances.update(by_class.keys())
        copies = Counter(batch)
        for label in by_class:
            size = labels.count(label)
            of_class = [copies[i] for i in copies if labels[i] == label]
            # no repeat unless the class has fewer than K, and then as few as possible
            assert max(of_class) == math.ceil(num_samples / size)
            assert len(of_class) == min(size, num_samples)
    assert max(appearances.values()) - min(appearances.values()) <= 1


def test_classes_of_one_item_are_named(caplog):
    with caplog.at_level(logging.WARNING):
        pk_sampler(["chic", "chic", "rare", "street", "street", "odd"])
    assert "its own positive in a batch: rare, odd." in caplog.text
    caplog.clear()
    pk_sampler(["chic", "chic", "street", "street"])
    assert caplog.text == ""


@given(st.integers(2, 5), st.integers(2, 6), st.integers(0, 99))
def test_items_of_a_class_are_dealt_in_whole_passes(num_samples, passes, seed):
    size = 7
    labels = ["a"] * size + ["b"] * size
    num_batches = passes * size
    sampler = pk_sampler(labels, num_samples=num_samples, num_batches=num_batches, seed=seed)
    counts = Counter(i for batch in epoch_of(sampler, 0) for i in batch)
    assert len(counts) == 2 * size
    assert set(counts.values()) == {passes * num_samples}


def test_epochs_and_seeds_differ_and_repeat():
    labels = list("abc") * 12
    first, again, other = (pk_sampler(labels, seed=seed) for seed in (7, 7, 8))
    assert epoch_of(first, 3) == epoch_of(again, 3)
    assert epoch_of(first, 3) != epoch_of(first, 4)
    assert epoch_of(first, 3) != epoch_of(other, 3)


@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 5))
def test_ranks_cut_the_same_batches_into_equal_disjoint_slices(num_ranks, share, epoch):
    labels = [item % 3 for item in range(80)]
    options = {"num_classes": 2, "num_samples": num_ranks * share + num_ranks, "num_replicas": num_ranks}
    ranks = [pk_sampler(labels, rank=rank, **options) for rank in range(num_ranks)]
    slices = [epoch_of(sampler, epoch) for sampler in ranks]
    for batch, parts in zip(ranks[0].batches(epoch), zip(*slices, strict=True), strict=True):
        assert len({len(part) for part in parts}) == 1
        assert [i for part in parts for i in part] == batch
        assert len(set(batch)) == len(batch)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 4}, r"sampler.num_classes=4, but the training split has 3 classes \(a, b, c\).*=3 or less"),
        ({"num_classes": 1}, "sampler.num_classes=1 must be at least 2"),
        ({"num_samples": 1}, "sampler.num_samples=1 must be at least 2"),
        ({"num_batches": 0}, "sampler.num_batches=0 must be at least 1"),
        ({"num_samples": 3, "num_replicas": 4}, "= 6 items cannot be shared evenly by 4 processes"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_mistakes_name_the_option(options, message):
    with pytest.raises(UserError, match=message):
        pk_sampler(list("abc") * 5, **options)
