"""Module and data module in a notebook: a plain Trainer fits and tests them."""

import lightning
import pytest
import torch

from style_match.models.head.identity import Identity


def plain_trainer(**options):
    return lightning.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, **options)


@pytest.mark.parametrize("task", ["couple", "style"])
def test_a_plain_trainer_fits_and_tests(couple_data, style_data, matcher, task):
    module, data = matcher(), couple_data() if task == "couple" else style_data()
    trainer = plain_trainer(fast_dev_run=True)
    trainer.fit(module, datamodule=data)
    logged, *_ = trainer.test(module, datamodule=data, verbose=False)
    results = module.test_results
    for model, result in results.models.items():
        assert logged[f"test/{model}/mrr"] == pytest.approx(result.metrics["mrr"]["value"])
    assert logged["test/chance/mrr"] == pytest.approx(results.frozen.chance["mrr"]["value"])
    assert logged["selected/val/mrr"] == pytest.approx(results.val.metrics["mrr"]["value"])
    assert results.profile_ids == data.gallery("test").profile_ids


def test_the_test_embeds_all_photos_of_each_profile(couple_data, matcher):
    module, data = matcher(), couple_data(num_photos=2)
    trainer = plain_trainer(max_epochs=2, enable_checkpointing=False, enable_model_summary=False)
    trainer.fit(module, datamodule=data)
    validated = float(trainer.callback_metrics["val/mrr"])
    trainer.test(module, datamodule=data, verbose=False)
    assert module.test_results.val.metrics["mrr"]["value"] == pytest.approx(validated, abs=1e-6)
    with torch.no_grad():
        e = {"trained": module.eval().head(data.features), "frozen": Identity(in_dim=24)(data.features)}
    profiles = [*range(48, 60), *range(108, 120)]
    for model, found in module.test_results.embeddings.items():
        wanted = torch.nn.functional.normalize(e[model][profiles] + e[model][[p + 120 for p in profiles]], dim=1)
        torch.testing.assert_close(found, wanted)
        left, right = found[:12].double(), found[12:].double()
        own = (left * right).sum(1)
        ranks = [(similarity >= own[:, None] - 1e-6).sum(1) for similarity in (left @ right.T, right @ left.T)]
        mrr = float((1 / torch.cat(ranks)).mean())
        assert module.test_results.models[model].metrics["mrr"]["value"] == pytest.approx(mrr, abs=1e-6)


def test_the_frozen_backbone_alone_has_no_trained_section(couple_data, matcher):
    module = matcher(head=Identity(in_dim=24))
    plain_trainer(fast_dev_run=True).test(module, datamodule=couple_data(), verbose=False)
    assert module.test_results.trained is None and set(module.test_results.embeddings) == {"frozen"}


def test_features_are_loaded_in_setup_and_prepared_once(couple_data, matcher):
    features, calls = couple_data().features, []
    data = couple_data(features=lambda: calls.append(1) or features)
    with pytest.raises(ValueError, match="call setup"):
        data.gallery_batch(data.gallery("val"))
    plain_trainer(fast_dev_run=True).fit(matcher(), datamodule=data)
    assert len(calls) == 2 and torch.equal(data.features, features)
