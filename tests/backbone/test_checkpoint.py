"""Folders that are no whole Qwen3-VL checkpoint: refused before torch loads anything, with the file named."""

import json
import pickle

import pytest

from style_match.backbone.checkpoint import check_checkpoint, processing_files, resolve_dtype, weight_files
from style_match.utils.errors import UserError


def test_a_whole_checkpoint_passes(checkpoint):
    check_checkpoint(checkpoint)
    assert [path.name for path in weight_files(checkpoint)] == ["model.safetensors"]
    assert {path.name for path in processing_files(checkpoint)} == {
        "config.json",
        "preprocessor_config.json",
        "tokenizer.json",
        "chat_template.json",
        "tokenizer_config.json",
    }


@pytest.mark.parametrize(
    "name",
    [
        *("tokenizer.json", "vocab.json", "merges.txt", "added_tokens.json", "special_tokens_map.json"),
        *("tokenizer_config.json", "chat_template.jinja", "chat_template.json"),
        *("preprocessor_config.json", "processor_config.json"),
    ],
)
def test_every_file_that_prepares_inputs_is_among_the_processing_files(name, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / name).write_text("{}")
    (tmp_path / "README.md").write_text("of no effect")
    assert {path.name for path in processing_files(tmp_path)} == {"config.json", name}


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen3", None])
def test_another_architecture_is_refused_with_both_names(name, copied, edit):
    edit(copied / "config.json", lambda config: config.update(model_type=name))
    with pytest.raises(UserError, match=rf"config\.json names the architecture {name!r}; only 'qwen3_vl'"):
        check_checkpoint(copied)


def test_a_missing_folder_or_config_is_named(copied, tmp_path):
    with pytest.raises(UserError, match=r"no checkpoint folder .*nowhere"):
        check_checkpoint(tmp_path / "nowhere")
    (copied / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json cannot be read as JSON"):
        check_checkpoint(copied)
    (copied / "config.json").unlink()
    with pytest.raises(UserError, match=r"copied has no config\.json"):
        check_checkpoint(copied)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("model.safetensors", r"holds no weights: neither model\.safetensors"),
        ("tokenizer.json", r"has no tokenizer: neither tokenizer\.json"),
        ("preprocessor_config.json", "has no image processor"),
        ("chat_template.json", r"has no chat template: it would be in chat_template\.jinja"),
    ],
)
def test_a_missing_file_is_named(file, message, copied, load):
    (copied / file).unlink()
    with pytest.raises(UserError, match=message):
        load(copied)


def test_all_faults_are_told_at_once(copied, edit):
    (copied / "model.safetensors").unlink()
    (copied / "tokenizer.json").unlink()
    (copied / "adapter_config.json").write_text("{}")
    edit(copied / "config.json", lambda config: config.update(quantization_config={"bits": 4}))
    with pytest.raises(UserError) as caught:
        check_checkpoint(copied)
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    for line, word in zip(lines, ("quantization_config", "tokenizer.json", "adapter", "weights"), strict=True):
        assert word in line


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("the pickle was read",))


def test_pickled_weights_are_refused_unread(copied, load):
    (copied / "model.safetensors").unlink()
    (copied / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError, match=r"holds its weights as pytorch_model\.bin only"):
        load(copied)


def test_sizes_of_text_and_vision_must_agree(copied, edit):
    edit(copied / "config.json", lambda config: config["vision_config"].update(out_hidden_size=80))
    with pytest.raises(UserError, match=r"hidden_size is 64, but vision_config\.out_hidden_size is 80"):
        check_checkpoint(copied)


def test_weights_of_another_model_are_named(copied, edit):
    def widen(config):
        config["text_config"]["hidden_size"] = config["vision_config"]["out_hidden_size"] = 96

    edit(copied / "config.json", widen)
    with pytest.raises(
        UserError, match=r"embed_tokens\.weight has the shape \[512, 64\], but config\.json says \[512, 96\]"
    ):
        check_checkpoint(copied)


def test_a_missing_shard_is_named(copied):
    (copied / "model.safetensors").rename(copied / "model-00001-of-00002.safetensors")
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (copied / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    with pytest.raises(UserError, match=r"that model\.safetensors\.index\.json lists: model-00002-of-00002"):
        check_checkpoint(copied)


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_weights_cut_short_are_named(keep, copied):
    path = copied / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"model\.safetensors is (cut short|not a safetensors file)"):
        check_checkpoint(copied)


def test_auto_precision_follows_the_device():
    assert [resolve_dtype("auto", device) for device in ("cpu", "cuda")] == ["fp32", "bf16"]
    assert resolve_dtype("fp16", "cpu") == "fp16"


def test_a_config_that_the_library_refuses_is_named(copied, load, edit):
    edit(copied / "config.json", lambda config: config["text_config"].update(num_hidden_layers="four"))
    with pytest.raises(UserError, match=r"config\.json is not a config of Qwen3-VL"):
        load(copied)


def test_a_config_may_leave_defaults_out(copied, edit):
    edit(copied / "config.json", lambda config: config["vision_config"].pop("out_hidden_size"))
    edit(copied / "config.json", lambda config: config["text_config"].pop("vocab_size"))
    check_checkpoint(copied)


def test_a_tokenizer_larger_than_the_models_vocabulary_is_refused(make, text_sizes, load, tmp_path):
    make(tmp_path, text=text_sizes | {"vocab_size": 320})
    with pytest.raises(UserError, match=r"has \d+ tokens, but the model only 320"):
        load(tmp_path)
