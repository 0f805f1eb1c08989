"""Closed forms and the map of texts against independent implementations, and their state."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy import linalg
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge as ReferenceRidge
from torch.nn.functional import normalize

from style_match.data.datamodule import TrainSet
from style_match.models.head.linear_models import CCA, Centred, PairLDA, Ridge, TextMap, Whitened
from style_match.utils.errors import UserError

D, C = 9, 200
MAKERS = {
    "centred": Centred,
    "whitened": partial(Whitened, dim=5, shrinkage=0.2),
    "pair_lda": partial(PairLDA, dim=5, shrinkage=0.1),
    "cca": partial(CCA, dim=5, shrinkage=0.3),
    "ridge": partial(Ridge, strength=0.5, direction="both"),
}
NONE = 1e-12  # as good as no shrinkage


def couples(seed=0, num=C) -> TrainSet:
    """Couples that share three of nine directions; the sides have means of their own."""
    rng = torch.Generator().manual_seed(seed)
    shared = torch.randn(num, 3, generator=rng) * torch.tensor([3.0, 2.0, 1.0])
    mix, scale = torch.randn(3, D, generator=rng), torch.rand(D, generator=rng) + 0.5
    sides = [shared @ mix + scale * torch.randn(num, D, generator=rng) + torch.randn(D, generator=rng) for _ in "lr"]
    return TrainSet(photos=torch.cat(sides), left=sides[0], right=sides[1])


def fitted(name: str, train: TrainSet):
    head = MAKERS[name](in_dim=D)
    head.fit_closed(train)
    return head


def sides_of(train: TrainSet) -> torch.Tensor:
    return torch.arange(2).repeat_interleave(len(train.left))


def test_centred_is_the_cosine_after_the_mean_is_gone():
    train = couples()
    head = fitted("centred", train)
    rows = train.photos[:7]
    expected = [(row - train.photos.mean(0)) / (row - train.photos.mean(0)).norm() for row in rows]
    torch.testing.assert_close(head(rows), torch.stack(expected), rtol=1e-4, atol=1e-5)


def test_whitened_is_scikit_learns_pca():
    train = couples()
    head = Whitened(in_dim=D, dim=4, shrinkage=NONE)
    head.fit_closed(train)
    reference = PCA(4, whiten=True).fit(train.photos.double().numpy())
    expected = normalize(torch.from_numpy(reference.transform(train.photos[:20].double().numpy())), dim=1)
    found = head(train.photos[:20]).double()
    torch.testing.assert_close(found @ found.T, expected @ expected.T, rtol=1e-4, atol=1e-4)


def test_shrinkage_adds_to_every_eigenvalue():
    train = couples()
    head = Whitened(in_dim=D, dim=D, shrinkage=0.7)
    head.fit_closed(train)
    photos = train.photos.double() - train.photos.double().mean(0)
    cov = photos.T @ photos / len(photos)
    inverse = torch.linalg.inv(cov + 0.7 * cov.trace() / D * torch.eye(D))
    torch.testing.assert_close((head.map @ head.map.T).double(), inverse, rtol=1e-4, atol=1e-6)


def test_pair_lda_has_the_directions_of_scikit_learns_lda():
    train = couples()
    head = PairLDA(in_dim=D, dim=3, shrinkage=NONE)
    head.fit_closed(train)
    both = torch.cat([train.left, train.right]).double().numpy()
    reference = LinearDiscriminantAnalysis(solver="svd").fit(both, np.tile(np.arange(C), 2))
    for found, expected in zip(head.map.double().T.numpy(), reference.scalings_.T, strict=False):
        cosine = found @ expected / np.linalg.norm(found) / np.linalg.norm(expected)
        assert abs(cosine) == pytest.approx(1, abs=1e-5)


def test_pair_lda_weights_a_direction_by_its_signal():
    """In one dimension of signal: total over noise variance is 1 + (signal / noise)."""
    generator = torch.Generator().manual_seed(0)
    num = 20_000
    taste = 2 * torch.randn(num, generator=generator)
    left, right = torch.randn(2, num, 2, generator=generator)
    left[:, 0] += taste
    right[:, 0] += taste
    head = PairLDA(in_dim=2, dim=2, shrinkage=NONE)
    head.fit_closed(TrainSet(photos=torch.cat([left, right]), left=left, right=right))
    assert float(head.map[:, 0].norm()) == pytest.approx(2, rel=0.03)
    assert float(head.map[:, 1].norm()) < 0.2


def test_both_sides_of_a_cca_are_weighted_by_the_correlation():
    """Regularised CCA as one generalised eigenproblem of both sides: [0 S; S' 0] w = rho [A 0; 0 B] w."""
    train, shrinkage, dim = couples(), 0.3, 4
    head = CCA(in_dim=D, dim=dim, shrinkage=shrinkage)
    head.fit_closed(train)
    x, y = ((side - side.mean(0)).numpy() for side in train.couples())
    within = [np.cov(side.T, bias=True) for side in (x, y)]
    within = [cov + shrinkage * np.linalg.eigvalsh(cov).mean() * np.eye(D) for cov in within]
    zero, across = np.zeros((D, D)), x.T @ y / C
    rho, w = linalg.eigh(np.block([[zero, across], [across.T, zero]]), linalg.block_diag(*within))
    for i in range(dim):
        direction = w[:, -1 - i].reshape(2, D)  # each half has half of the length 1 that both have together
        expected = 2**0.5 * rho[-1 - i] * direction
        found = head.map[:, :, i].double().numpy()
        sign = np.sign(found[0] @ expected[0])
        np.testing.assert_allclose(found, sign * expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("direction", ["left_to_right", "right_to_left", "both"])
def test_ridge_is_scikit_learns_ridge(direction):
    train = couples()
    head = Ridge(in_dim=D, strength=0.5, direction=direction)
    head.fit_closed(train)
    x = [((side - side.mean(0)) / side.std(0, correction=0)).numpy() for side in train.couples()]
    maps = {"left_to_right": (x[0], x[1], False), "right_to_left": (x[1], x[0], True)}
    cosines = []
    for asked, (source, target, turned) in maps.items():
        if direction in ("both", asked):
            foretold = ReferenceRidge(alpha=0.5 * C).fit(source, target).predict(source)
            cosine = normalize(torch.from_numpy(foretold), dim=1) @ normalize(torch.from_numpy(target), dim=1).T
            cosines.append(cosine.T if turned else cosine)
    e = head(torch.cat([train.left, train.right]), sides_of(train)).double()
    torch.testing.assert_close(e[:C] @ e[C:].T, sum(cosines) / len(cosines), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", MAKERS)
def test_the_state_dict_restores_a_head_without_fitting(name):
    train, head, loaded = couples(), fitted(name, couples()), MAKERS[name](in_dim=D)
    assert not loaded.is_fitted() and list(head.parameters()) == []
    with pytest.raises(RuntimeError, match="before fit_closed"):
        loaded(train.photos, sides_of(train))
    loaded.load_state_dict(head.state_dict())
    e = loaded(train.photos, sides_of(train))
    assert loaded.is_fitted() and e.shape == (2 * C, head.dim) and e.dtype == torch.float32
    torch.testing.assert_close(e.norm(dim=1), torch.ones(2 * C))
    assert torch.equal(e, head(train.photos, sides_of(train)))
    assert torch.equal(e, fitted(name, train)(train.photos, sides_of(train)))


@pytest.mark.parametrize("name", MAKERS)
def test_neither_scale_nor_place_nor_order_of_the_features_matters(name):
    train = couples()
    order = torch.randperm(C, generator=torch.Generator().manual_seed(1))
    moved = TrainSet(
        photos=(3 * train.photos + 5)[torch.randperm(2 * C)],
        left=(3 * train.left + 5)[order],
        right=(3 * train.right + 5)[order],
    )
    e = fitted(name, train)(train.photos, sides_of(train))
    other = fitted(name, moved)(3 * train.photos + 5, sides_of(train))
    torch.testing.assert_close(other @ other.T, e @ e.T, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["cca", "ridge"])
def test_a_head_that_needs_sides_refuses_profiles_without_one(name):
    with pytest.raises(UserError, match="treats left and right profiles differently"):
        fitted(name, couples())(torch.randn(4, D))


@pytest.mark.parametrize("name", MAKERS)
def test_heads_that_are_fitted_on_couples_refuse_styles(name):
    train = TrainSet(photos=torch.randn(20, D), labels=torch.arange(20) % 3)
    if name in ("centred", "whitened"):
        assert len(fitted(name, train)(torch.randn(4, D))) == 4
        return
    with pytest.raises(UserError, match="Use head=mlp, linear or whitened"):
        fitted(name, train)


@pytest.mark.parametrize("name", ["whitened", "pair_lda", "cca"])
def test_features_that_do_not_differ_and_widths_that_do_not_fit_are_named(name):
    same = torch.ones(10, D)
    with pytest.raises(UserError, match="do not differ"):
        fitted(name, TrainSet(photos=same, left=same[:5], right=same[5:]))
    with pytest.raises(UserError, match=r"head\.dim=10 must be from 1 to 9"):
        MAKERS[name](in_dim=D, dim=10)
    with pytest.raises(UserError, match="made for features 9 wide, these are 8 wide"):
        fitted(name, couples())(torch.randn(3, 8), torch.zeros(3, dtype=torch.long))


def test_a_column_that_never_changes_does_not_break_a_ridge():
    train = couples()
    train.left[:, 2] = 4.0
    assert torch.isfinite(fitted("ridge", train)(train.photos, sides_of(train))).all()


def test_options_out_of_range_are_named():
    with pytest.raises(UserError, match=r"shrinkage 10000 .*Lower head\.shrinkage"):
        PairLDA(in_dim=D, dim=5, shrinkage=1e4).fit_closed(couples())
    with pytest.raises(UserError, match=r"head\.direction=up is unknown\. Use one of both"):
        Ridge(in_dim=D, strength=1.0, direction="up")


T, E = 7, 5  # widths of texts and photos


@pytest.mark.parametrize("rank", [2, 5, 9])
def test_a_text_goes_to_the_common_directions_weighted_by_their_correlations(rank):
    """[0 S; S' 0] w = rho [A 0; 0 B] w for photos and texts; t goes to the sum of rho w_photo (w_text . t)."""
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(C, 3, generator=generator) * torch.tensor([2.0, 1.0, 0.5])
    photos, texts = (
        common @ torch.randn(3, dim, generator=generator) + torch.randn(C, dim, generator=generator) + 1
        for dim in (E, T)
    )
    shrinkage = 0.2
    text_map = TextMap(in_dim=T, dim=E, rank=rank, shrinkage=shrinkage)
    text_map.fit(photos, texts)
    x, y = ((rows - rows.mean(0)).double().numpy() for rows in (photos, texts))
    within = [np.cov(rows.T, bias=True) for rows in (x, y)]
    within = [cov + shrinkage * np.linalg.eigvalsh(cov).mean() * np.eye(len(cov)) for cov in within]
    across = x.T @ y / C
    both = np.block([[np.zeros((E, E)), across], [across.T, np.zeros((T, T))]])
    rho, w = linalg.eigh(both, linalg.block_diag(*within))
    # each half of a direction has half of the length 1 that both have together
    halves = [2**0.5 * w[part, -min(rank, E) :] for part in (slice(None, E), slice(E, None))]
    expected = y @ halves[1] * rho[-min(rank, E) :] @ halves[0].T
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(text_map(texts).double().numpy(), expected, rtol=1e-3, atol=1e-4)
