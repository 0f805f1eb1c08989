"""The frozen backbone against plain transformers, and what may not change a feature."""

import pytest
import torch
from torch import nn

from style_match.backbone import pooling
from style_match.backbone.qwen3_vl import resolve_device
from style_match.data.prompt import render
from style_match.utils.errors import UserError
from tests.backbone import random_checkpoint

POOLINGS = {name: getattr(pooling, name) for name in ("eos", "mean", "mean_image", "mean_text")}
TEXT_POOLINGS = {name: POOLINGS[name] for name in ("eos", "mean", "mean_text")}
TEMPLATES = {
    "image": "{instruction}",
    "image_metadata": "{metadata}\n{instruction}",
    "metadata": "{metadata}\n{instruction}",
}
CAPTIONS = ["a neat dandy look", "깔끔한 댄디", "x", "street, " * 12]


def prompts_of(kind: str, captions: list[str], system: str | None = None) -> list[str]:
    return [
        render(
            image=kind != "metadata",
            metadata=None if kind == "image" else {"caption": caption, "grooming_level": "high"},
            system=system,
            instruction="Describe this person.",
            template=TEMPLATES[kind],
            leave_out=(),
        )
        for caption in captions
    ]


def pooled_by_hand(h: torch.Tensor, inputs: dict, image_id: int) -> dict[str, torch.Tensor]:
    rows: dict[str, list] = {name: [] for name in POOLINGS}
    for i in range(len(h)):
        attended = [t for t in range(h.shape[1]) if inputs["attention_mask"][i, t] == 1]
        image = [t for t in attended if inputs["input_ids"][i, t] == image_id]
        rows["eos"].append(h[i, attended[-1]])
        rows["mean"].append(sum(h[i, t] for t in attended) / len(attended))
        rows["mean_text"].append(sum(h[i, t] for t in attended if t not in image) / (len(attended) - len(image)))
        if image:
            rows["mean_image"].append(sum(h[i, t] for t in image) / len(image))
    return {name: torch.stack(values) for name, values in rows.items() if values}


@pytest.mark.parametrize(("kind", "side"), [("image", "right"), ("image_metadata", "left"), ("metadata", "left")])
def test_every_pooling_equals_plain_transformers(kind, side, checkpoint, load, plain, photos):
    prompts = prompts_of(kind, CAPTIONS, system="Represent the user's input." if kind == "image_metadata" else None)
    images = photos if kind != "metadata" else [None] * len(prompts)
    inputs = plain.inputs([] if kind == "metadata" else photos, prompts, side)
    expected = pooled_by_hand(plain.hidden(inputs), inputs, plain.model.config.image_token_id)
    backbone = load(checkpoint, padding_side=side)
    got = backbone.pooled(images, prompts, POOLINGS if kind != "metadata" else TEXT_POOLINGS)
    assert got.keys() == expected.keys()
    for name in got:
        torch.testing.assert_close(got[name], expected[name], atol=1e-5, rtol=1e-5)


def test_prompts_with_and_without_a_photo_share_a_batch(backbone, photos):
    prompts = prompts_of("metadata", ["a"]) + prompts_of("image_metadata", ["b"]) + prompts_of("metadata", ["c d e f"])
    images = [None, photos[1], None]
    batch = backbone.pooled(images, prompts, TEXT_POOLINGS)
    for i in range(3):
        for name, features in backbone.pooled([images[i]], [prompts[i]], TEXT_POOLINGS).items():
            torch.testing.assert_close(batch[name][i : i + 1], features, atol=1e-5, rtol=1e-5)


def test_metadata_reaches_eos_and_mean_but_not_mean_image(backbone, photos):
    one, other = (
        backbone.pooled(photos, prompts_of("image_metadata", [caption] * len(photos)), POOLINGS)
        for caption in ("neat", "caption of quite another person")
    )
    torch.testing.assert_close(one["mean_image"], other["mean_image"], atol=1e-5, rtol=1e-5)
    for name in ("eos", "mean", "mean_text"):
        assert (one[name] - other[name]).norm(dim=1).min() > 0.05 * one[name].norm(dim=1).max(), name


def test_frozen_in_eval_mode_without_vocabulary_logits(backbone, plain, photos):
    nn.Sequential(nn.Linear(2, 2), backbone).train()
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert not any("lm_head" in name for name, _ in backbone.model.named_modules())
    count = sum(parameter.numel() for parameter in backbone.model.parameters())
    assert count == sum(parameter.numel() for parameter in plain.model.parameters())
    h_BTD = backbone.hidden(backbone.preprocess(photos, prompts_of("image", CAPTIONS)))
    assert h_BTD.shape[-1] == backbone.dim == plain.model.config.text_config.hidden_size
    assert h_BTD.grad_fn is None


def test_a_head_can_be_trained_on_the_features_which_mixed_precision_leaves_alone(backbone, photos):
    prompts, head = prompts_of("image", CAPTIONS), nn.Linear(backbone.dim, 3)
    stored = backbone.pooled(photos, prompts, POOLINGS)["mean"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        online = backbone.pooled(photos, prompts, POOLINGS)["mean"]
        loss = head(online).float().square().mean()
    loss.backward()
    assert head.weight.grad.abs().sum() > 0
    assert torch.equal(online, stored)


@pytest.mark.parametrize("changes", [{"attention": "eager"}, {"fused_patch_embedding": False}])
def test_attention_and_patch_embedding_compute_the_same(changes, backbone, checkpoint, load, photos):
    prompts, other = prompts_of("image_metadata", CAPTIONS), load(checkpoint, **changes)
    for name, features in backbone.pooled(photos, prompts, POOLINGS).items():
        torch.testing.assert_close(other.pooled(photos, prompts, POOLINGS)[name], features, atol=1e-5, rtol=1e-5)
    fused = [nn.Conv3d not in map(type, each.model.visual.patch_embed.modules()) for each in (backbone, other)]
    assert fused == [True, changes.get("fused_patch_embedding", True)], "no class of the library is replaced"


def test_layer_stops_early_and_applies_the_final_norm(checkpoint, load, plain, photos):
    prompts = prompts_of("image_metadata", CAPTIONS)
    inputs = plain.inputs(photos, prompts, "right")
    given = []
    hook = plain.model.language_model.layers[3].register_forward_pre_hook(
        lambda _, arguments: given.append(arguments[0])
    )
    whole = plain.hidden(inputs)
    hook.remove()
    with torch.no_grad():
        expected = plain.model.language_model.norm(given[0])
    backbone = load(checkpoint, layer=3)
    assert len(backbone.model.language_model.layers) == 3
    got = backbone.hidden(backbone.preprocess(photos, prompts))
    mask = inputs["attention_mask"].bool()
    torch.testing.assert_close(got[mask], expected[mask], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(got[mask], whole[mask], atol=1e-2)


@pytest.mark.parametrize("layer", [2, 5])
def test_a_layer_that_would_drop_image_features_or_does_not_exist_is_refused(layer, checkpoint, load):
    with pytest.raises(UserError, match=rf"backbone\.layer={layer} must be between 3 and 4"):
        load(checkpoint, layer=layer)


def test_half_precision_gives_float32_features_nearby(backbone, checkpoint, load, photos):
    prompts = prompts_of("image_metadata", CAPTIONS)
    half = load(checkpoint, dtype="bf16")
    assert next(half.model.parameters()).dtype == half.dtype == torch.bfloat16
    exact = backbone.pooled(photos, prompts, POOLINGS)["mean"]
    rough = half.pooled(photos, prompts, POOLINGS)["mean"]
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).norm() / exact.norm() < 0.1


def test_shards_and_an_own_vocabulary_head_load_the_same(backbone, load, photos, tmp_path, capfd):
    random_checkpoint.make(tmp_path, tied=False, max_shard_bytes=200_000)
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 3
    prompts = prompts_of("image", CAPTIONS)
    got = load(tmp_path).pooled(photos, prompts, POOLINGS)
    for name, features in backbone.pooled(photos, prompts, POOLINGS).items():
        assert torch.equal(got[name], features)
    assert "lm_head" not in "".join(capfd.readouterr())


def test_a_pooling_of_another_shape_is_refused(backbone, photos):
    with pytest.raises(ValueError, match=r"pooling whole returned the shape"):
        backbone.pooled(photos[:1], prompts_of("image", ["x"]), {"whole": lambda h, attention, image: h})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention": "fast"}, r"backbone\.attention=fast"),
        ({"attention": "flash_attention_2"}, r"backbone\.attention=flash_attention_2"),
        ({"dtype": "fp8"}, r"backbone\.dtype=fp8"),
        ({"device": "gpu"}, r"backbone\.device=gpu"),
        ({"device": "cuda:99"}, r"backbone\.device=cuda:99.*no such GPU"),
        ({"image_backend": "opencv"}, r"backbone\.image_backend=opencv"),
        ({"padding_side": "both"}, "padding_side=both"),
        ({"min_pixels": 20000}, r"area of a photo, 20000 pixels, is above the maximum, 16384\. .*backbone\.min_pixels"),
        ({"max_pixels": 0}, r"backbone\.max_pixels must be at least 1 \(got 0\)"),
    ],
)
def test_options_out_of_range_are_named(changes, message, checkpoint, load):
    with pytest.raises(UserError, match=message):
        load(checkpoint, **changes)


def test_weights_of_other_sizes_are_named(copied, load, edit):
    edit(copied / "config.json", lambda config: config["text_config"].update(intermediate_size=96))
    with pytest.raises(UserError, match=r"mlp.*\(128, 64\), expected \(96, 64\)|mlp.*\(64, 128\), expected \(64, 96\)"):
        load(copied)


def test_a_missing_tensor_is_named_not_drawn_at_random(copied, load):
    from safetensors.torch import load_file, save_file

    path = copied / "model.safetensors"
    tensors = load_file(path)
    del tensors["model.visual.merger.norm.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lack 1 tensors of the model, such as .*visual\.merger\.norm\.weight"):
        load(copied)


def test_a_config_that_the_library_refuses_is_named(copied, load, edit):
    edit(copied / "config.json", lambda config: config["text_config"].update(num_hidden_layers="four"))
    with pytest.raises(UserError, match=r"config\.json is not a valid Qwen3-VL config"):
        load(copied)


def test_a_tokenizer_larger_than_the_vocabulary_of_the_model_is_refused(load, tmp_path):
    random_checkpoint.make(tmp_path, text=random_checkpoint.TEXT | {"vocab_size": 320})
    with pytest.raises(UserError, match=r"has \d+ tokens, the model only 320"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("num_gpus", "local_rank", "device"), [(0, 1, "cpu"), (1, 1, "cuda:0"), (4, 3, "cuda:3"), (2, 3, "cuda:1")]
)
def test_processes_of_one_machine_take_its_gpus_in_turn(monkeypatch, num_gpus, local_rank, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: num_gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)
    for name, value in (("RANK", "3"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", str(local_rank))):
        monkeypatch.setenv(name, value)
    assert resolve_device("auto") == torch.device(device)
    assert resolve_device("cpu") == torch.device("cpu")
    monkeypatch.delenv("RANK")
    assert resolve_device("auto") == torch.device("cuda" if num_gpus else "cpu")
