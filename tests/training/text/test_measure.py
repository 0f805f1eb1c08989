"""Ranks of texts among photos, what counts as right, and the fitted text head."""

import pytest
import torch
from torch.nn import functional

from style_match.evaluation.text_search import chosen_path, first_ranks, mrr, queries, section
from style_match.models.head.linear_models import TextMap
from style_match.utils.errors import UserError

SAID = [("a hat, blue suit",), ("a hat, red dress",), ("blue suit, park",), ("a hat, blue suit",)]
EVALUATION = {"confidence": 0.95, "num_resamples": 200, "seed": 0}


def test_photos_of_the_same_caption_or_person_are_right():
    asked = queries(SAID, [1, 2, 2, 3], "caption")
    assert asked.relevant.int().tolist() == [[1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1]]


def test_a_part_is_right_for_every_photo_that_it_is_true_of():
    asked = queries(SAID, [1, 2, 3, 4], "part")
    for text, right in zip(asked.texts, asked.relevant.tolist(), strict=True):
        parts = set(text.split(", "))
        assert right == [parts <= set(said[0].split(", ")) for said in SAID]


def test_the_best_right_photo_counts_and_ties_count_against_it():
    similarity = torch.tensor([[0.9, 0.5, 0.7], [0.3, 0.3, 0.1]])
    relevant = torch.tensor([[False, True, True], [True, False, False]])
    assert first_ranks(similarity, relevant).tolist() == [2, 2]
    assert mrr(similarity, relevant) == 0.5


def test_both_is_searched_unless_another_path_is_better_by_more_than_the_margin():
    found = {"image": 0.3, "caption": 0.5442, "both": 0.5416}
    assert chosen_path(found, 0.02) == "both"
    assert chosen_path(found, 0.002) == "caption"
    assert chosen_path({**found, "image": 0.6}, 0.02) == "image"


def test_chance_is_what_random_similarities_give():
    asked = queries(SAID * 5, list(range(20)), "part")
    generator = torch.Generator().manual_seed(0)
    drawn = [mrr(torch.rand(20, 20, generator=generator), asked.relevant) for _ in range(400)]
    found = section(asked, {}, ks=(1, 5, 50), evaluation=EVALUATION)["chance"]
    assert found["mrr"]["value"] == pytest.approx(sum(drawn) / len(drawn), abs=0.01)
    assert found["dropped_ks"] == [50]


def test_every_way_has_its_intervals():
    asked = queries(SAID, [1, 2, 3, 4], "caption")
    row = section(asked, {"trained": asked.relevant.float()}, ks=(1,), evaluation=EVALUATION)["trained"]
    assert row["recall@1"]["value"] == row["mrr"]["value"] == 1
    low, high = row["mrr"]["ci95"]
    assert 0 < low < high == 1


def test_a_fitted_text_head_finds_the_photos_of_held_out_texts():
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(300, 5, generator=generator)
    noise = torch.randn(300, 12, generator=generator)
    photos = functional.normalize(torch.cat([shared, noise], dim=1), dim=1)
    texts = shared @ torch.randn(5, 9, generator=generator) + 4
    head = TextMap(in_dim=9, dim=17, rank=5, shrinkage=0.01)
    head.fit(photos[:200], texts[:200])
    said = head(texts[200:])
    assert said.shape == (100, 17) and torch.allclose(said.norm(dim=1), torch.ones(100))
    assert mrr(said @ photos[200:].T, torch.eye(100).bool()) > 0.4  # chance is 0.05; half of a photo's length is noise
    again = TextMap(in_dim=9, dim=17, rank=5, shrinkage=0.01)
    again.load_state_dict(head.state_dict())
    assert torch.equal(again(texts), head(texts))


def test_texts_of_another_width_are_refused():
    with pytest.raises(UserError, match="9 wide"):
        TextMap(in_dim=9, dim=4, rank=2, shrinkage=0.1)(torch.zeros(2, 8))


def test_texts_that_do_not_differ_are_refused():
    with pytest.raises(UserError, match="do not differ"):
        TextMap(in_dim=3, dim=4, rank=2, shrinkage=0.1).fit(torch.randn(8, 4), torch.ones(8, 3))
