"""PairSampler: batches are induced matchings, epochs differ, ranks share a batch exactly."""

import logging
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from style_match.data.sampler.pair import Matching, PairSampler
from style_match.utils.errors import UserError


def pair_sampler(couples, *, batch_size=4, drop_last=True, seed=0, **options):
    left_ids, right_ids = zip(*couples, strict=True)
    return PairSampler(
        left_ids=left_ids, right_ids=right_ids, batch_size=batch_size, drop_last=drop_last, seed=seed, **options
    )


def strangers(num):
    return [(f"f{i}", f"m{i}") for i in range(num)]


def epoch_of(sampler, epoch):
    sampler.set_epoch(epoch)
    return list(sampler)


# few people in many couples, so that conflicts are the rule
LEFT, RIGHT = [f"f{i}" for i in range(15)], [f"m{i}" for i in range(15)]
entangled = st.lists(st.tuples(st.sampled_from(LEFT), st.sampled_from(RIGHT)), min_size=2, max_size=40, unique=True)


@given(entangled, st.integers(2, 8), st.booleans(), st.integers(0, 5), st.integers(0, 3))
def test_no_profile_twice_and_no_known_couple_across(couples, batch_size, drop_last, seed, epoch):
    known = [(LEFT[i], RIGHT[(i + 3) % 15]) for i in range(0, 15, 4)]
    try:
        sampler = pair_sampler(couples, batch_size=batch_size, drop_last=drop_last, seed=seed, known_couples=known)
        batches = epoch_of(sampler, epoch)
    except UserError:
        return
    true = set(couples) | set(known)
    assert len(batches) == len(sampler)
    for batch in batches:
        assert 2 <= len(batch) <= batch_size
        people = [couples[i] for i in batch]
        assert len({left for left, _ in people}) == len({right for _, right in people}) == len(batch)
        assert all((one[0], other[1]) not in true for one in people for other in people if one != other)
    counts = Counter(i for batch in batches for i in batch)
    assert max(counts.values()) == 1


def test_a_person_on_the_left_of_one_couple_and_the_right_of_another_is_no_negative_of_itself():
    couples = [("a", "x"), ("y", "a"), *strangers(2)]
    for epoch in range(20):
        for batch in epoch_of(pair_sampler(couples, batch_size=2), epoch):
            assert set(batch) != {0, 1}
    matching = Matching(*zip(*couples, strict=True))
    assert all(not {0, 1} <= set(batch) for batch in matching.cover(4))


@given(st.integers(2, 60), st.integers(2, 12), st.booleans(), st.integers(0, 2**31))
def test_strangers_fill_every_batch(num, batch_size, drop_last, seed):
    if num < batch_size and drop_last:
        return
    batches = epoch_of(pair_sampler(strangers(num), batch_size=batch_size, drop_last=drop_last, seed=seed), 1)
    sizes = sorted((len(batch) for batch in batches), reverse=True)
    full, rest = divmod(num, batch_size)
    assert sizes == [batch_size] * full + ([rest] if rest > 1 and not drop_last else [])
    assert len({i for batch in batches for i in batch}) == sum(sizes)


def test_epochs_and_seeds_differ_and_repeat():
    first, again, other = (pair_sampler(strangers(40), seed=seed) for seed in (7, 7, 8))
    assert epoch_of(first, 3) == epoch_of(again, 3)
    assert epoch_of(first, 3) != epoch_of(first, 4)
    assert epoch_of(first, 3) != epoch_of(other, 3)


def shares_of(couples, *, batch_size, num_epochs, seed=0):
    """How often each couple is in an epoch, as a share of the epochs; and how many couples each epoch has."""
    sampler = pair_sampler(couples, batch_size=batch_size, seed=seed)
    epochs = [[i for batch in sampler.batches(epoch) for i in batch] for epoch in range(num_epochs)]
    counts = Counter(i for epoch in epochs for i in epoch)
    return [counts[i] / num_epochs for i in range(len(couples))], [len(epoch) for epoch in epochs]


def test_couples_of_people_with_several_are_trained_on_as_often_as_others():
    """48 women with two couples each and 47 other couples: two batches of 48 have a place for 96 of the 143."""
    couples = [(f"f{i % 48}", f"m{i}") for i in range(96)] + [(f"g{i}", f"n{i}") for i in range(47)]
    shares, sizes = shares_of(couples, batch_size=48, num_epochs=400)
    assert set(sizes) == {96}
    expected = 96 / 143
    error = (expected * (1 - expected) / 400) ** 0.5
    assert max(abs(share - expected) for share in shares) < 4.5 * error
    # pooled over a kind of couple the error is far smaller
    for kind in (shares[:96], shares[96:]):
        assert abs(sum(kind) / len(kind) - expected) < 0.01


@given(st.lists(st.integers(1, 3), min_size=6, max_size=12), st.integers(0, 20), st.integers(0, 100))
def test_who_sits_out_is_drawn_without_regard_to_conflicts(partners, num_others, seed):
    """Women with up to three couples: four batches or more have a place for each of them."""
    couples = [(f"star{i}", f"m{i}-{j}") for i, num in enumerate(partners) for j in range(num)] + strangers(num_others)
    shares, sizes = shares_of(couples, batch_size=max(2, len(couples) // 4), num_epochs=100, seed=seed)
    expected = sum(sizes) / len(sizes) / len(couples)
    error = (max(expected * (1 - expected), 0.01) / 100) ** 0.5
    several = [len([1 for left, _ in couples if left == own]) > 1 for own, _ in couples]
    for kind in (True, False):
        of_kind = [share for share, each in zip(shares, several, strict=True) if each == kind]
        if of_kind:
            assert abs(sum(of_kind) / len(of_kind) - expected) < 0.03 + 3 * error / len(of_kind) ** 0.5
    assert min(shares) > expected - 0.05 - 5 * error


def test_no_couple_is_starved_by_others_with_more_conflicts():
    """A random graph in which nearly every couple has conflicts, and some have many more than others."""
    pick = random.Random(0)
    couples = sorted({(f"f{pick.randrange(80)}", f"m{pick.randrange(80)}") for _ in range(120)})
    shares, _ = shares_of(couples, batch_size=30, num_epochs=200)
    assert min(shares) > 0.15
    num_partners = Counter(person for couple in couples for person in couple)
    by_conflicts = sorted(range(len(couples)), key=lambda i: sum(num_partners[person] for person in couples[i]))
    few, many = by_conflicts[:20], by_conflicts[-20:]
    assert sum(shares[i] for i in few) > sum(shares[i] for i in many)  # only own conflicts cost places


def test_a_popular_profile_is_spread_over_the_batches_and_the_log_says_what_it_costs(caplog):
    couples = [("star", f"m{i}") for i in range(6)] + strangers(20)[8:]
    with caplog.at_level(logging.WARNING):
        batches = epoch_of(pair_sampler(couples, batch_size=6), 0)
    assert [sum(couples[i][0] == "star" for i in batch) for batch in batches] == [1, 1, 1]
    assert "sampler.batch_size=6, but the smallest batch of the first epoch has 5" in caplog.text
    assert "6 of 18 training couples share people with so many others" in caplog.text
    assert "sit out 50 % of the epochs on average" in caplog.text  # a place in each of three batches for six couples
    caplog.clear()
    pair_sampler([(f"f{i % 48}", f"m{i}") for i in range(96)], batch_size=48)
    assert not caplog.text


@given(entangled, st.sampled_from([2, 3, 4]), st.integers(1, 3), st.booleans(), st.integers(0, 3))
def test_ranks_cut_the_same_batches_into_equal_disjoint_slices(couples, num_ranks, share, drop_last, epoch):
    options = {"batch_size": num_ranks * share, "drop_last": drop_last, "num_replicas": num_ranks}
    try:
        ranks = [pair_sampler(couples, rank=rank, **options) for rank in range(num_ranks)]
        slices = [epoch_of(sampler, epoch) for sampler in ranks]
    except UserError:
        return
    joined = ranks[0].batches(epoch)
    assert len({len(batches) for batches in slices}) == 1
    for batch, parts in zip(joined, zip(*slices, strict=True), strict=True):
        assert len({len(part) for part in parts}) == 1
        assert [i for part in parts for i in part] == batch


def test_one_process_and_many_see_the_same_batches():
    alone = pair_sampler(strangers(33), batch_size=8)
    shared = [pair_sampler(strangers(33), batch_size=8, num_replicas=4, rank=rank) for rank in range(4)]
    parts = [epoch_of(sampler, 2) for sampler in shared]
    assert epoch_of(alone, 2) == [[i for part in batch for i in part] for batch in zip(*parts, strict=True)]


@pytest.mark.parametrize(
    ("couples", "options", "message"),
    [
        (strangers(5), {"batch_size": 48}, "5 training couples .* the 48 of a batch.*sampler.batch_size to 5 or less"),
        (strangers(1), {"drop_last": False}, "1 training couples are fewer than the 2 of a batch.*add couples"),
        (strangers(9), {"batch_size": 1}, "sampler.batch_size=1 must be at least 2"),
        (strangers(9), {"num_replicas": 3}, "sampler.batch_size=4 counts the couples of all .*multiple of 3"),
        (strangers(9), {"seed": -1}, "seed=-1"),
        ([("star", f"m{i}") for i in range(8)], {}, "share so many people"),
    ],
)
def test_mistakes_name_the_option(couples, options, message):
    with pytest.raises(UserError, match=message):
        pair_sampler(couples, **options)


def test_an_epoch_that_cannot_be_dealt_as_drawn_is_drawn_again():
    partners = {"a": "123", "b": "02", "c": "14", "d": "03"}
    sampler = pair_sampler([(f, m) for f, them in partners.items() for m in them], batch_size=2)
    for epoch in range(60):  # every third of them, or so, has a batch of one at first
        assert [len(batch) for batch in epoch_of(sampler, epoch)] == [2] * 4


@given(entangled, st.integers(2, 50))
def test_cover_holds_every_couple_that_has_a_stranger(couples, max_size):
    left_ids, right_ids = zip(*couples, strict=True)
    matching = Matching(left_ids, right_ids)
    batches = matching.cover(max_size)
    true = set(couples)

    def strangers_to_each_other(one, other):
        (a, b), (c, d) = couples[one], couples[other]
        return a != c and b != d and (a, d) not in true and (c, b) not in true

    for batch in batches:
        assert len(batch) <= max_size
        assert all(strangers_to_each_other(i, j) for i in batch for j in batch if i != j)
    has_stranger = {i for i in range(len(couples)) if any(strangers_to_each_other(i, j) for j in range(len(couples)))}
    assert {i for batch in batches for i in batch} == has_stranger


def test_cover_is_one_batch_where_nobody_is_shared():
    left_ids, right_ids = zip(*strangers(30), strict=True)
    assert [len(batch) for batch in Matching(left_ids, right_ids).cover(100)] == [30]
    assert [len(batch) for batch in Matching(left_ids, right_ids).cover(16)] == [16, 16]


def test_couples_with_conflicts_choose_first():
    """People with 4, 3 and 2 couples and three other couples: every epoch has a place for all 12 in batches of 3.

    If the three others chose first, the last couples of the person with four would find their batches full in 40 % of
    the epochs.
    """
    stars = [(f"f{person}", f"m{person}-{i}") for person, num in enumerate((4, 3, 2)) for i in range(num)]
    sampler = pair_sampler(stars + [(f"g{i}", f"n{i}") for i in range(3)], batch_size=3)
    for epoch in range(30):
        assert sorted(i for batch in epoch_of(sampler, epoch) for i in batch) == list(range(12))
