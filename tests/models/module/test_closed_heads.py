"""Closed forms and composed heads in the module, the data module and the checkpoints."""

from functools import partial

import pytest
import torch
from torch.nn.functional import normalize

from style_match.models.head.ensemble import Ensemble
from style_match.models.head.identity import Identity
from style_match.models.head.linear import Linear
from style_match.models.head.linear_models import CCA, PairLDA
from style_match.models.head.mlp import MLP
from style_match.models.head.two_heads import TwoHeads
from style_match.models.module import embed_profiles
from style_match.training.checkpoints import load_head
from style_match.training.loop import fit
from style_match.training.run_folder import RunFolder
from style_match.utils.errors import UserError

DIM = 24
LDA = partial(PairLDA, dim=6, shrinkage=0.1)
SMALL = partial(MLP, hidden_dim=32, dim=16, bias=False, standardize=False)


@pytest.fixture
def fitted(matcher, config, tmp_path):
    """Fit a head: the module, the selected checkpoint, and the one that it would resume from."""

    def fit_head(head, data, folder="run", resume=None):
        module = matcher(head=head)
        run = RunFolder(tmp_path / folder, resume=True)
        run.checkpoint = resume
        selected = fit(config(folder=folder), module, data, run, [])
        return module, selected, tmp_path / folder / "checkpoints" / "last.ckpt"

    return fit_head


def test_the_train_set_holds_the_training_couples_each_profile_as_the_mean_of_its_photos(couple_data):
    data = couple_data(num_photos=3)
    train = data.train_set(data.features[data.gallery("train").photos])
    assert train.photos.shape == (2 * 36 * 3, DIM) and train.left.shape == train.right.shape == (36, DIM)
    mean = data.features.double().reshape(3, 120, DIM).mean(0)
    torch.testing.assert_close(train.left, mean[:36])
    torch.testing.assert_close(train.right, mean[60:96])
    assert train.labels is None


def test_the_train_set_of_styles_has_a_label_a_photo(style_data):
    data = style_data(num_photos=2)
    train = data.train_set(data.features[data.gallery("train").photos])
    assert train.left is None and train.labels.tolist() == [0, 0, 2, 2, 1, 1] * 18  # classes by name


@pytest.mark.parametrize("head", [LDA, partial(CCA, dim=6, shrinkage=0.5)], ids=["pair_lda", "cca"])
def test_other_splits_leave_no_trace_in_a_closed_form(couple_data, fitted, head):
    data = couple_data()
    states = []
    for name in ("plain", "shuffled"):
        if name == "shuffled":
            elsewhere = torch.tensor([*range(36, 60), *range(96, 120)])  # validation and test
            data.features[elsewhere] = 100 * data.features[elsewhere.flip(0)]
        states.append(fitted(head(in_dim=DIM), data, name)[0].head.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_a_closed_form_is_fitted_at_once_and_leaves_a_checkpoint(couple_data, matcher, fitted):
    data = couple_data()
    module, selected, last = fitted(LDA(in_dim=DIM), data)
    assert (selected.epoch, selected.epochs_run) == (0, 0)
    loaded = LDA(in_dim=DIM)
    for name in ("best", "last"):
        assert load_head(loaded, last.with_name(f"{name}.ckpt")) == 0
    assert torch.equal(loaded(data.features), module.head(data.features))
    frozen = matcher(head=Identity(in_dim=DIM)).eval()
    batch = data.gallery_batch(data.gallery("val"))
    mrr = [each.retrieval(each.embed_profiles(batch), batch)["mrr"] for each in (frozen, module.eval())]
    assert mrr[1] > mrr[0]


def test_a_closed_form_resumes_from_its_checkpoint_without_fitting(couple_data, fitted):
    first, _, last = fitted(LDA(in_dim=DIM), couple_data())
    second, *_ = fitted(LDA(in_dim=DIM), couple_data(features=torch.randn(120, DIM)), resume=last)
    assert torch.equal(first.head.map, second.head.map)


def test_a_head_for_couples_refuses_styles(style_data, fitted):
    with pytest.raises(UserError, match="fitted on couples"):
        fitted(LDA(in_dim=DIM), style_data())


def test_sides_reach_the_head_where_profiles_are_embedded():
    head = TwoHeads(in_dim=DIM, each=SMALL).eval()
    rows = torch.randn(5, DIM)
    e = embed_profiles(head, rows, torch.tensor([0, 0, 1, 2, 3]), num_left=2)
    left, right = head.sides[0](rows), head.sides[1](rows)
    torch.testing.assert_close(e[0], normalize(left[0] + left[1], dim=0))
    torch.testing.assert_close(e[1:], torch.stack([left[2], right[3], right[4]]))


@pytest.mark.parametrize(
    "head",
    [
        partial(TwoHeads, each=SMALL),
        partial(Linear, dim=8, start=None),
        partial(Linear, dim=6, start=partial(PairLDA, shrinkage=0.1)),
    ],
    ids=["two_heads", "linear", "lda_linear"],
)
def test_composed_heads_train_and_come_back(couple_data, matcher, trainer, head):
    data, module, fitter = couple_data(), matcher(head=head(in_dim=DIM)), trainer(max_epochs=3)
    fitter.fit(module, data)
    loaded = head(in_dim=DIM)
    load_head(loaded, fitter.checkpoints / "last.ckpt")
    side = torch.arange(2).repeat_interleave(60)
    assert torch.equal(loaded.eval()(data.features, side), module.head.eval()(data.features, side))
    assert float(fitter.callback_metrics["val/mrr"]) > 0.3


def test_a_member_of_an_ensemble_trains_as_it_would_alone(couple_data, matcher, trainer):
    free = {"max_epochs": 2, "gradient_clip_val": None}  # clipping is over all members together
    ensemble = matcher(head=Ensemble(in_dim=DIM, num=2, each=SMALL))
    alone = matcher(head=SMALL(in_dim=DIM))
    alone.head.load_state_dict(ensemble.head.heads[1].state_dict())
    for name, module in {"ensemble": ensemble, "alone": alone}.items():
        trainer(folder=name, **free).fit(module, couple_data())
    weights = zip(ensemble.head.heads[1].parameters(), alone.head.parameters(), strict=True)
    for one, other in weights:
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
