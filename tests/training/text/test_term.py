"""The term between photos and texts: against loops written from the formula, and what is no negative."""

import math

import pytest
import torch
from torch.nn import functional

from style_match.data.texts import Texts, groups
from style_match.models.head.mlp import MLP
from style_match.models.text_term import TextTerm
from style_match.utils.errors import UserError

TAU = 0.1


def rows(num: int, dim: int = 6, seed: int = 0) -> torch.Tensor:
    return functional.normalize(torch.randn(num, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def by_loops(photos: torch.Tensor, texts: torch.Tensor, same: list[int]) -> float:
    """Mean over both directions of the mean of -log softmax, those of one group no negatives of each other."""
    total = 0.0
    for one, other in ((photos, texts), (texts, photos)):
        for i in range(len(one)):
            score = [math.exp(float(one[i] @ other[j]) / TAU) for j in range(len(other))]
            wrong = sum(score[j] for j in range(len(other)) if same[j] != same[i])
            right = [j for j in range(len(other)) if same[j] == same[i]]
            total += sum(-math.log(score[j] / (score[j] + wrong)) for j in right) / len(right) / len(one)
    return total / 2


@pytest.mark.parametrize("numbers,same", [([0, 1, 2, 3], [0, 1, 2, 3]), ([0, 1, 0, 3], [0, 1, 0, 2])])
def test_the_loss_is_infonce_in_both_directions(numbers, same):
    photos, texts = rows(4).requires_grad_(), rows(4, seed=1).requires_grad_()
    term = TextTerm(weight=1.0, temperature=TAU, head=None)
    found = term.compare(photos, texts, torch.tensor(numbers), torch.arange(4)).loss
    assert float(found.detach()) == pytest.approx(by_loops(photos.detach(), texts.detach(), same), rel=1e-5)
    found.backward()
    assert photos.grad.abs().sum() > 0 and texts.grad.abs().sum() > 0


def test_one_text_or_one_person_is_one_group():
    numbers = groups(torch.tensor([7, 8, 7, 9]), torch.tensor([1, 2, 3, 2])).tolist()
    assert numbers[0] == numbers[2] != numbers[1] == numbers[3]


def test_a_batch_of_one_text_is_refused():
    with pytest.raises(UserError, match="no negative"):
        TextTerm(weight=1.0, temperature=TAU, head=None).compare(rows(3), rows(3), torch.zeros(3), torch.arange(3))


def test_a_shared_head_sees_photos_and_texts_in_one_batch():
    head = MLP(in_dim=5, hidden_dim=8, dim=6, bias=False, standardize=False).train()
    photos, texts = torch.randn(4, 5), torch.randn(4, 5) + 3
    (embedded,), said = TextTerm(weight=1.0, temperature=TAU, head=None).embed(head, photos, None, texts)
    whole = head(torch.cat([photos, texts]))
    assert torch.equal(embedded, whole[:4]) and torch.equal(said, whole[4:])


def test_texts_are_drawn_by_their_share_and_none_is_left_out():
    texts = Texts(torch.zeros(9, 2), torch.tensor([[0, 1]]), torch.tensor([[5, 6, 7, 8]]), part_share=0.25)
    uniform = torch.linspace(0, 1, 401)[:-1]
    drawn = texts.draw(torch.zeros(400, dtype=torch.long), uniform)
    assert drawn.bincount().tolist() == [150, 150, 0, 0, 0, 25, 25, 25, 25]
    only_whole = Texts(torch.zeros(2, 2), torch.tensor([[0, 1]]), torch.zeros(1, 0, dtype=torch.long), part_share=0.5)
    assert set(only_whole.draw(torch.zeros(400, dtype=torch.long), uniform).tolist()) == {0, 1}
