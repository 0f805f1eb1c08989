"""Metrics by group of the querying profile, and hubs among the answers."""

import numpy as np
import pytest

from style_match.reporting.groups import group_rows, hubness
from style_match.reporting.statistics import seed_means
from style_match.utils.errors import UserError

HOW = {"confidence": 0.95, "num_resamples": 500, "seed": 0}
QUERIES = [f"p{i}" for i in range(60)]
CLUSTERS = np.tile(np.arange(30), 2)
METRICS = ["recall@1", "mrr"]


def rows(values, *, queries=QUERIES, min_group=20, **options):
    scores = np.random.default_rng(0).random((2, len(queries), 2))
    made = group_rows(values, scores, METRICS, queries, CLUSTERS[: len(queries)], min_group=min_group, **HOW, **options)
    return {row.group: row for row in made}, scores


def test_groups_have_the_intervals_of_their_own_queries():
    made, scores = rows({profile: "north" if i % 2 else "south" for i, profile in enumerate(QUERIES)})
    assert list(made) == ["north", "south"]
    expected = seed_means(scores[:, 1::2], CLUSTERS[1::2], **HOW)
    north = made["north"]
    assert north.intervals == dict(zip(METRICS, expected, strict=True))
    assert (north.queries, north.profiles, north.clusters, north.suppressed) == (30, 30, 15, False)


def test_small_groups_are_named_and_counted_without_numbers():
    made, _ = rows({profile: "big" if i < 40 else "small" for i, profile in enumerate(QUERIES[:59])})
    assert not made["big"].suppressed
    assert (made["small"].suppressed, made["small"].queries, made["small"].intervals) == (True, 19, {})
    assert (made["(none)"].suppressed, made["(none)"].profiles) == (True, 1)
    assert list(made) == ["big", "small", "(none)"]


def test_a_profile_that_asks_often_is_one_profile():
    made, _ = rows({"p0": "x", "p1": "x"}, queries=["p0", "p1"] * 20, min_group=3)
    assert (made["x"].queries, made["x"].profiles, made["x"].suppressed) == (40, 2, True)


def test_missing_values_are_a_group():
    values = dict(zip(QUERIES, [None, "", " ", float("nan"), "nan", *["x"] * 35], strict=False))
    made, _ = rows(values)
    assert made["(none)"].queries == 25
    assert made["(none)"].intervals.keys() == {"recall@1", "mrr"}
    assert made["x"].queries == 35


@pytest.mark.parametrize(
    ("age", "band"),
    [("17", "under 18"), (18, "18-24"), ("24.9", "18-24"), (25, "25-34"), (34, "25-34"), (35, "35+"), ("90", "35+")],
)
def test_numbers_fall_into_bands(age, band):
    made, _ = rows(dict.fromkeys(QUERIES, age), bands=[18, 25, 35])
    assert list(made) == [band]


def test_bands_come_in_their_order():
    ages = dict(zip(QUERIES[:-1], np.resize([40, 2, 30, 9, 10], 59), strict=True))
    assert list(rows(ages, bands=[9, 10, 30])[0]) == ["under 9", "9", "10-29", "30+", "(none)"]
    assert list(rows(ages, bands=[2.5, 9.5])[0]) == ["under 2.5", "2.5 to under 9.5", "9.5+", "(none)"]


def test_what_cannot_be_banded_is_refused():
    with pytest.raises(UserError, match="age of profile p0 is 'young'"):
        rows(dict.fromkeys(QUERIES, "young"), bands=[18], column="age")
    for bands in ([], [25, 18], [18, 18]):
        with pytest.raises(UserError, match="increase"):
            rows({}, bands=bands)


def test_hubs_are_counted_in_each_direction():
    """Both galleries have a profile of the same name: two rows."""
    answers = {"left_to_right": [["x", "y"], ["x", "z"]], "right_to_left": [["x", "v"], ["w", "x"]]}
    galleries = {"left_to_right": ["x", "y", "z"], "right_to_left": ["v", "w", "x"]}
    found = hubness(answers, galleries, k=1, num_top=2)
    assert (found.k, found.gallery, found.top) == (1, 6, [("x", 2), ("w", 1)])
    assert (found.never_count, found.never_share) == (3, 0.5)
    assert hubness({"one": [["a"], ["b"]]}, {"one": ["a", "b"]}, k=1, num_top=1).skewness == 0
