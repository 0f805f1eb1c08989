"""Closed forms and composed heads in the module, the data module and the checkpoints."""

from functools import partial

import pytest
import torch
from torch.nn.functional import normalize

from style_match.models.head.identity import Identity
from style_match.models.head.linear import Linear
from style_match.models.head.linear_models import PairLDA
from style_match.models.head.mlp import MLP
from style_match.models.head.two_heads import TwoHeads
from style_match.training.checkpoints import load_head, selected
from style_match.training.loop import fit
from style_match.training.run_folder import RunFolder

DIM = 24
LDA = partial(PairLDA, dim=6, shrinkage=0.1)
SMALL = partial(MLP, hidden_dim=32, dim=16, bias=False, standardize=False)


@pytest.fixture
def fitted(matcher, config, tmp_path):
    """Fit a head: the module, the selected checkpoint, and the one that it would resume from."""

    def fit_head(head, data, folder="run", resume=None):
        module = matcher(head=head)
        run = RunFolder(tmp_path / folder, resume=True)
        trainer = fit(config(folder=folder), module, data, run.path, checkpoint=resume)
        return module, selected(trainer, module, run.path), run.last_checkpoint

    return fit_head


def test_the_train_set_has_the_training_couples_with_each_profile_as_the_mean_of_its_photos(couple_data):
    data = couple_data(num_photos=3)
    train = data.train_set(data.features[data.gallery("train").photos])
    assert train.photos.shape == (2 * 36 * 3, DIM) and train.left.shape == train.right.shape == (36, DIM)
    mean = data.features.double().reshape(3, 120, DIM).mean(0)
    torch.testing.assert_close(train.left, mean[:36])
    torch.testing.assert_close(train.right, mean[60:96])
    assert train.labels is None


def test_the_train_set_of_styles_has_a_label_for_each_photo(style_data):
    data = style_data(num_photos=2)
    train = data.train_set(data.features[data.gallery("train").photos])
    assert train.left is None and train.labels.tolist() == [0, 0, 2, 2, 1, 1] * 18  # classes by name


def test_a_closed_form_is_fitted_at_once_and_leaves_a_checkpoint(couple_data, matcher, fitted):
    data = couple_data()
    module, chosen, last = fitted(LDA(in_dim=DIM), data)
    assert (chosen.epoch, chosen.epochs_run) == (0, 0)
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


def test_sides_reach_the_head_where_profiles_are_embedded(matcher):
    module, rows = matcher(head=TwoHeads(in_dim=DIM, each=SMALL)).eval(), torch.randn(5, DIM)
    e = module.embed_profiles({"features": rows, "photo_profile": torch.tensor([0, 0, 1, 2, 3]), "num_left": 2})
    left, right = (head(rows) for head in module.head.sides)
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
