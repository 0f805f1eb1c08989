"""MatchModule: what it learns, logs and saves."""

import warnings
from functools import partial

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch.nn import functional

from style_match.data.datamodule import TrainSet
from style_match.models.head.mlp import MLP
from style_match.models.loss.infonce import InfoNCE
from style_match.models.loss.triplet import Triplet
from style_match.models.module import MatchModule, effective_rank
from style_match.utils.errors import UserError

triplet = partial(Triplet, margin=0.2, reducer="avg_non_zero", symmetric=True)


def metrics(trainer):
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def reciprocal_ranks(left, right):
    """Of each couple (row i of both), in both directions, by sorting."""
    found = []
    for queries, gallery in ((left, right), (right, left)):
        for i, query in enumerate(queries):
            order = sorted(range(len(gallery)), key=lambda j: -float(query @ gallery[j]))
            found.append(1 / (order.index(i) + 1))
    return found


@pytest.mark.parametrize("loss", [InfoNCE(temperature=0.2, symmetric=False), triplet()], ids=["infonce", "triplet"])
@pytest.mark.parametrize("task", ["couple", "style"])
def test_a_few_epochs_separate_matches(couple_data, style_data, matcher, trainer, task, loss):
    data, name = (couple_data(), "val/mrr") if task == "couple" else (style_data(), "val/map@r")
    model, fit = matcher(loss=loss, standardize=False), trainer(max_epochs=8)
    fit.validate(model, data, verbose=False)
    before = metrics(fit)
    fit.fit(model, data)
    after = metrics(fit)
    assert after[name] > before[name] + 0.15
    assert {"val/mrr", "val/loss", "val/recall@5", "train/loss"} <= set(after)
    if task == "style":
        assert "val/precision@5" in after and "val/recall@50" not in after  # the gallery of a query is 17
        return
    assert after["val/loss"] < before["val/loss"]
    for part in ("train", "val"):
        assert after[f"{part}/pos_similarity"] > after[f"{part}/neg_similarity"] + 0.05


def test_val_mrr_and_loss_are_those_of_the_whole_gallery(couple_data, matcher, trainer):
    partner = [*range(36), *reversed(range(36, 60))]  # from couple 36 on, left and right in opposite order
    data = couple_data(num_photos=2, couples=[(i, 60 + partner[i]) for i in range(60)])
    model, fit = matcher(), trainer(max_epochs=2)
    fit.fit(model, data)
    model.eval()
    with torch.no_grad():
        e = model.head(data.features)
    profiles = torch.stack([functional.normalize(e[n] + e[n + 120], dim=0) for n in range(120)])
    left, right = profiles[36:48], profiles[108:120].flip(0)
    found = reciprocal_ranks(left, right)
    logged = metrics(fit)
    assert logged["val/mrr"] == pytest.approx(sum(found) / len(found), abs=1e-6)
    assert logged["val/recall@5"] == pytest.approx(sum(r >= 1 / 5 for r in found) / len(found), abs=1e-6)
    expected = functional.cross_entropy(left @ right.T / 0.2, torch.arange(12))
    assert logged["val/loss"] == pytest.approx(float(expected), abs=1e-5)
    pos = float((left * right).sum(dim=1).mean())
    assert logged["val/pos_similarity"] == pytest.approx(pos, abs=1e-5)
    assert logged["val/neg_similarity"] == pytest.approx((float((left @ right.T).sum()) - 12 * pos) / 132, abs=1e-5)
    assert logged["val/effective_rank"] == pytest.approx(float(effective_rank(torch.cat([left, right]))), rel=1e-5)


def test_val_mrr_of_styles_asks_for_other_people(style_data, matcher, trainer):
    people = [i - 3 if i % 6 > 2 else i for i in range(90)]  # every person has two profiles, of one class
    data, model, fit = style_data(people=people), matcher(), trainer()
    data.features = data.features[people]  # and two equal photos, so that the other would always be found first
    model.head.fit_closed(TrainSet(photos=data.features))
    fit.validate(model, data, verbose=False)
    with torch.no_grad():
        e = model.eval().head(data.features)[54:72]
    found = []
    for i in range(18):
        others = [j for j in range(18) if people[54 + j] != people[54 + i]]
        order = sorted(others, key=lambda j: -float(e[i] @ e[j]))
        found.append(1 / (1 + [j % 3 == i % 3 for j in order].index(True)))
    assert metrics(fit)["val/mrr"] == pytest.approx(sum(found) / 18, abs=1e-6)
    assert min(found) < 1


@pytest.mark.parametrize("shape", [(9, 5), (5, 9)])
def test_effective_rank_is_the_exponential_of_the_entropy_of_singular_values(shape):
    e = torch.randn(shape, dtype=torch.float64)
    share = torch.linalg.svdvals(e) / torch.linalg.svdvals(e).sum()
    entropy = -sum(float(p) * float(p.log()) for p in share)
    assert float(effective_rank(e)) == pytest.approx(torch.tensor(entropy).exp().item(), rel=1e-6)
    assert float(effective_rank(torch.ones(7, 4))) == pytest.approx(1, abs=1e-3)
    assert float(effective_rank(torch.eye(6).repeat(3, 1))) == pytest.approx(6)


def test_same_seed_same_weights_bit_for_bit(couple_data, matcher, trainer):
    states = []
    for seed in (0, 0, 1):
        model = matcher(seed=seed)
        trainer(max_epochs=2).fit(model, couple_data(num_photos=2, seed=seed))
        states.append(model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["head.linear2.weight"], states[2]["head.linear2.weight"])


class Backbone(torch.nn.Module):
    """Stands for the frozen backbone: features of the photo whose number is in the prompt."""

    def __init__(self, features):
        super().__init__()
        self.register_buffer("table", features)

    def forward(self, batch):
        return self.table[[int(row.prompt) for row in batch["rows"]]]


class Row:
    def __init__(self, number):
        self.path, self.prompt = None, str(number)


def test_online_is_cached_bit_for_bit(couple_data, matcher, trainer):
    cached = couple_data(num_photos=2)
    online = couple_data(num_photos=2, features=None, rows=[Row(i) for i in range(240)])
    results = []
    for data, backbone in ((cached, None), (online, Backbone(cached.features))):
        model, fit = matcher(backbone=backbone), trainer(max_epochs=2)
        fit.fit(model, data)
        results.append((metrics(fit), model.state_dict()))
    (cached_metrics, cached_state), (online_metrics, online_state) = results
    assert cached_metrics == online_metrics
    assert cached_state.keys() == online_state.keys()
    assert all(torch.equal(cached_state[name], online_state[name]) for name in cached_state)


def test_checkpoints_are_plain_and_hold_no_backbone(couple_data, matcher, trainer):
    fit = trainer(max_epochs=2)
    data = couple_data()
    fit.fit(matcher(backbone=Backbone(data.features), hyperparameters={"head": {"dim": 16}}), data)
    checkpoint = torch.load(fit.checkpoints / "last.ckpt", weights_only=True)
    names = {"linear1.weight", "linear2.weight", "input_mean", "input_std"}
    names |= {f"norm.{name}" for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")}
    assert set(checkpoint["state_dict"]) == {f"head.{name}" for name in names}
    assert len(checkpoint["optimizer_states"]) == len(checkpoint["lr_schedulers"]) == 1
    assert checkpoint["hyper_parameters"] == {"head": {"dim": 16}}


def test_a_checkpoint_is_loaded_with_parts_whose_names_are_in_its_config(couple_data, matcher, trainer):
    config = {"head": {"dim": 16}, "loss": {"temperature": 0.2}, "optimizer": {"lr": 1.0}, "seed": 0}
    fit, model = trainer(max_epochs=1), matcher(hyperparameters=config)
    fit.fit(model, couple_data())
    new = matcher(seed=1)
    parts = {"head": new.head, "loss": new.loss, "evaluator": new.evaluator}
    loaded = MatchModule.load_from_checkpoint(fit.checkpoints / "last.ckpt", **parts)
    assert loaded.loss is new.loss and loaded.make_optimizer is None
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
    assert loaded.hparams == {"optimizer": {"lr": 1.0}, "seed": 0}, "no part is saved again"


def test_a_diverged_run_says_so(couple_data, matcher, trainer):
    remedy = r"lower optimizer\.lr, which is 1e\+30, to 5e-05, for example, or raise loss\.temperature\.$"
    with pytest.raises(UserError, match=remedy):
        trainer().fit(matcher(lr=1e30), couple_data())


def test_a_backbone_stays_frozen_and_in_eval_mode(matcher):
    model = matcher(backbone=torch.nn.Sequential(torch.nn.Linear(3, 24), torch.nn.Dropout())).train()
    assert model.head.training and not any(part.training for part in model.backbone.modules())
    assert not any(weight.requires_grad for weight in model.backbone.parameters())
    assert not any(name.startswith("backbone.") for name in model.state_dict())


def test_a_head_too_narrow_for_any_direction_is_named(couple_data, matcher, trainer):
    head = MLP(in_dim=24, hidden_dim=1, dim=4, bias=False, standardize=False)
    with pytest.raises(UserError, match=r"Raise head.hidden_dim"):
        trainer().validate(matcher(head=head), couple_data(), verbose=False)


def test_mixed_precision_trains_with_a_float32_loss(couple_data, matcher, trainer):
    fit, dtypes = trainer(max_epochs=2, precision="bf16-mixed"), set()
    model = matcher(optimizer=partial(torch.optim.AdamW, lr=5e-3, fused=True))
    loss = model.loss.forward
    model.loss.forward = lambda e, *rest: dtypes.add((e.dtype, (e @ e.T).dtype)) or loss(e, *rest)
    fit.fit(model, couple_data())
    assert dtypes == {(torch.float32, torch.float32)}
    assert metrics(fit)["val/mrr"] > 0.2


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_gradients_are_clipped_by_the_norm_over_all_weights(couple_data, matcher, trainer, precision):
    model = matcher(optimizer=partial(torch.optim.SGD, lr=1.0, fused=True))
    before = torch.cat([weight.detach().flatten().clone() for weight in model.parameters()])
    options = {"gradient_clip_val": 1e-3, "limit_train_batches": 1, "precision": precision}
    trainer(max_epochs=1, **options).fit(model, couple_data())
    moved = torch.cat([weight.detach().flatten() for weight in model.parameters()]) - before
    assert float(moved.norm()) == pytest.approx(1e-3, rel=1e-2)


def test_fitting_warns_of_nothing(couple_data, matcher, trainer, tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer(logger=CSVLogger(tmp_path)).fit(matcher(), couple_data(num_photos=2))
    # one of torch about Lightning's use of its internals
    assert [str(w.message) for w in caught if "LeafSpec" not in str(w.message)] == []
