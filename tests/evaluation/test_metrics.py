"""Metrics against torchmetrics and pytorch-metric-learning; chance against all orders of a gallery."""

import itertools
import statistics
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN
from torchmetrics.functional.retrieval import (
    retrieval_hit_rate,
    retrieval_precision,
    retrieval_recall,
    retrieval_reciprocal_rank,
)

from style_match.evaluation.metrics import chance, choose_ks, means, scores
from style_match.evaluation.ranks import couple_ranks, style_ranks
from style_match.utils.errors import UserError

ABOVE_ZERO = 2  # torchmetrics takes a document whose score is not above zero for not retrieved


def test_couple_metrics_equal_torchmetrics_query_by_query(unit_rows):
    left, right = (unit_rows(23, 6, seed, coarse=False) for seed in (0, 1))
    ks = (1, 5, 10)
    columns = scores(couple_ranks(left, right, torch.arange(23)[:, None].repeat(1, 2), block=5), ks)
    for i, (query, gallery) in enumerate([*((q, right) for q in left), *((q, left) for q in right)]):
        similarity, target = gallery @ query + ABOVE_ZERO, torch.arange(23) == i % 23
        assert columns["mrr"][i] == pytest.approx(retrieval_reciprocal_rank(similarity, target))
        for k in ks:
            assert columns[f"recall@{k}"][i] == retrieval_hit_rate(similarity, target, top_k=k)
            assert columns[f"recall@{k}"][i] == retrieval_recall(similarity, target, top_k=k)


@given(st.integers(2, 9), st.integers(0, 999))
def test_means_and_median_of_ranks_are_those_of_statistics(unit_rows, num, seed):
    left, right = (unit_rows(num, 4, seed + side, coarse=False) for side in (0, 1))
    ranks = couple_ranks(left, right, torch.arange(num)[:, None].repeat(1, 2), block=5)
    found, ours = ranks.rank.tolist(), means(ranks, (1, 2))
    assert ours["median_rank"] == statistics.median(found)  # of an even number the mean of the two in the middle
    assert ours["mrr"] == pytest.approx(statistics.mean(1 / rank for rank in found))
    assert ours["recall@2"] == pytest.approx(statistics.mean(rank <= 2 for rank in found))


def test_style_metrics_equal_torchmetrics_and_pytorch_metric_learning(unit_rows):
    rows = unit_rows(40, 6, 0, coarse=False)
    labels = torch.arange(40) % 4
    ks = (1, 5, 20)
    ranks = style_ranks(rows, labels, ks=ks, block=7)
    columns = scores(ranks, ks)
    for i in range(40):
        others = torch.arange(40) != i
        similarity, target = (rows @ rows[i])[others] + ABOVE_ZERO, (labels == labels[i])[others]
        assert columns["mrr"][i] == pytest.approx(retrieval_reciprocal_rank(similarity, target))
        for k in ks:
            assert columns[f"recall@{k}"][i] == retrieval_hit_rate(similarity, target, top_k=k)
            assert columns[f"precision@{k}"][i] == pytest.approx(retrieval_precision(similarity, target, top_k=k))
    include = ("precision_at_1", "mean_average_precision_at_r")
    knn = CustomKNN(CosineSimilarity())  # without FAISS
    theirs = AccuracyCalculator(include, k="max_bin_count", knn_func=knn, kmeans_func=max).get_accuracy(rows, labels)
    ours = means(ranks, ks)
    assert ours["map@r"] == pytest.approx(theirs["mean_average_precision_at_r"])
    assert ours["precision@1"] == ours["recall@1"] == pytest.approx(theirs["precision_at_1"])


def test_chance_of_the_paper_gallery():
    rows = torch.eye(75)
    ranks = couple_ranks(rows, rows, torch.arange(75)[:, None].repeat(1, 2), block=64)
    expected = chance(ranks, (5, 10, 20, 30, 50))
    assert [expected[f"recall@{k}"] for k in (5, 10, 20, 30, 50)] == pytest.approx(
        [k / 75 for k in (5, 10, 20, 30, 50)]
    )
    assert expected["mrr"] == pytest.approx(float(sum(Fraction(1, r) for r in range(1, 76)) / 75))
    assert round(expected["mrr"], 5) == 0.06535
    assert expected["median_rank"] == 38


@given(labels=st.lists(st.integers(0, 2), min_size=3, max_size=5))
def test_chance_is_the_mean_over_all_orders_of_the_gallery(labels):
    """Each query's gallery is put in every possible order: an angle apart for each place."""
    if max(labels.count(label) for label in labels) < 2:
        return
    ks = tuple(k for k in (1, 2, 4) if k < len(labels))
    label_tensor = torch.tensor(labels)
    sums: dict[str, float] = {}
    firsts = []
    for order in itertools.permutations(range(1, len(labels))):
        for query in range(len(labels)):
            angle, others = torch.zeros(len(labels)), [i for i in range(len(labels)) if i != query]
            angle[others] = torch.tensor([0.2 * place for place in order])
            rows = torch.stack([angle.cos(), angle.sin()], dim=1)
            ranks = style_ranks(rows, label_tensor, ks=ks, block=8)
            asked = (ranks.query == query).nonzero().flatten()
            if len(asked):
                firsts.append(int(ranks.rank[asked[0]]))
                for name, column in scores(ranks, ks).items():
                    sums[name] = sums.get(name, 0.0) + float(column[asked[0]])
    expected = chance(style_ranks(torch.eye(len(labels)), label_tensor, ks=ks, block=8), ks)
    assert expected.pop("median_rank") == float(torch.tensor(firsts).double().quantile(0.5))
    assert expected == pytest.approx({name: total / len(firsts) for name, total in sums.items()})


def test_chance_follows_each_querys_own_gallery():
    rows = torch.eye(4)
    ranks = couple_ranks(rows[:3], rows, torch.tensor([[0, 0], [0, 1], [1, 2], [2, 3]]), block=8)
    assert ranks.gallery.tolist() == [3, 3, 4, 4, 3, 3, 3, 3]
    expected = chance(ranks, (1, 3))
    assert expected["recall@1"] == pytest.approx((6 / 3 + 2 / 4) / 8)
    assert expected["recall@3"] == pytest.approx((6 + 2 * 3 / 4) / 8)


def test_ks_above_the_gallery():
    assert choose_ks(None, [5, 10, 50], 10) == ((5, 10), [50])
    assert choose_ks([5, 10], [7], 10) == ((5, 10), [])
    with pytest.raises(UserError, match=r"evaluation\.ks=\[5, 20, 30\]: 20, 30 exceeds the gallery of 10"):
        choose_ks([5, 20, 30], [7], 10)
