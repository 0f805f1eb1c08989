"""Checkpoints: where they are found, and folders that are refused before torch is imported."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from style_match.backbone.checkpoint import (
    Checkpoint,
    check_checkpoint,
    resolve_checkpoint,
)
from style_match.utils.errors import UserError

HUB_ID = "Qwen/Qwen3-VL-2B-Instruct"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def config(**changes):
    def change(folder: Path) -> None:
        content = json.loads((folder / "config.json").read_text()) | changes
        (folder / "config.json").write_text(json.dumps(content))

    return change


def cut(keep: int):
    def change(folder: Path) -> None:
        content = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(content[:keep])

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shutil.rmtree, r"folder not found: .*copied"),
        (lambda folder: (folder / "config.json").unlink(), r"copied has no config\.json"),
        (lambda folder: (folder / "config.json").write_text("{"), r"config\.json cannot be read as JSON"),
        (config(model_type="qwen2_vl"), r"config\.json has the model_type 'qwen2_vl'; only 'qwen3_vl'"),
        (config(model_type=None), r"config\.json has the model_type None; only 'qwen3_vl'"),
        (config(quantization_config={"bits": 4}), "quantization_config"),
        (lambda folder: (folder / "adapter_config.json").write_text("{}"), "adapter"),
        (lambda folder: (folder / "tokenizer.json").unlink(), r"has no tokenizer: neither tokenizer\.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"contains no weights: neither model\.safetensors"),
        (cut(0), r"model\.safetensors is damaged or cut short"),
        (cut(-1), r"model\.safetensors is damaged or cut short"),
    ],
)
def test_a_folder_that_is_no_complete_checkpoint_is_refused(change, message, copied):
    change(copied)
    with pytest.raises(UserError, match=message):
        check_checkpoint(copied)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("preprocessor_config.json", r"Could not load the image processor of .*copied"),
        ("chat_template.json", r"has no chat template: expected in chat_template\.jinja"),
    ],
)
def test_a_missing_file_is_named(file, message, copied, load):
    (copied / file).unlink()
    with pytest.raises(UserError, match=message):
        load(copied)


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("the pickle was read",))


def test_pickled_weights_are_refused_unread(copied, load):
    (copied / "model.safetensors").unlink()
    (copied / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError, match=r"only as pytorch_model\.bin\. .*pickles"):
        load(copied)


def test_a_missing_shard_is_named(copied):
    (copied / "model.safetensors").rename(copied / "model-00001-of-00002.safetensors")
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (copied / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    with pytest.raises(UserError, match=r"listed in model\.safetensors\.index\.json: model-00002-of-00002"):
        check_checkpoint(copied)


# ---------------------------------------------------------------- resolve_checkpoint, without a network


@pytest.fixture
def hub_cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of the hub, and no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


@pytest.fixture
def snapshot(checkpoint, hub_cache) -> Path:
    """A checkpoint in the cache of the hub."""
    repository = hub_cache / f"models--{HUB_ID.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    return Path(shutil.copytree(checkpoint, repository / "snapshots" / COMMIT))


def test_local_folders(copied, monkeypatch):
    assert resolve_checkpoint(str(copied), "main", download=True) == Checkpoint(copied.resolve(), str(copied), None)
    monkeypatch.setenv("HOME", str(copied.parent))
    assert resolve_checkpoint("~/copied", None, download=False).folder == copied.resolve()
    assert (resolve_checkpoint("package:backbone", None, download=False).folder / "qwen3_vl.py").is_file()
    with pytest.raises(UserError, match="package:backbone/nothing"):
        resolve_checkpoint("package:backbone/nothing", None, download=False)
    with pytest.raises(UserError, match="is a file; a checkpoint is a folder"):
        resolve_checkpoint(str(copied / "config.json"), None, download=False)


@pytest.mark.parametrize("path", ["/nowhere/at/all", "./nowhere", "one/two/three", "nowhere", ""])
def test_neither_a_folder_nor_a_hub_id(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no such folder, and it is not a hub id"):
        resolve_checkpoint(path, None, download=False)


@pytest.mark.parametrize("revision", ["main", None, COMMIT])
def test_a_cached_snapshot_is_used_offline_with_its_commit(revision, snapshot):
    assert resolve_checkpoint(HUB_ID, revision, download=True) == Checkpoint(snapshot, HUB_ID, COMMIT)


@pytest.mark.parametrize("download", [True, False])
def test_a_hub_id_that_is_not_available_comes_with_a_remedy(download, hub_cache):
    with pytest.raises(UserError) as caught:
        resolve_checkpoint(HUB_ID, "main", download=download)
    for words in (f"`hf download {HUB_ID} --revision main`", "backbone.path=FOLDER", "backbone=tiny", "offline"):
        assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_another_revision_or_an_interrupted_download_is_not_used(snapshot):
    with pytest.raises(UserError, match="revision v9"):
        resolve_checkpoint(HUB_ID, "v9", download=True)
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"contains no weights.*hf download"):
        resolve_checkpoint(HUB_ID, "main", download=False)


def test_a_download_takes_no_pickles_and_records_the_commit(copied, monkeypatch):
    folder, calls = copied.rename(copied.with_name(COMMIT)), []

    def snapshot_download(hub_id, *, revision, allow_patterns, local_files_only):
        calls.append(local_files_only)
        assert (hub_id, revision) == (HUB_ID, "main")
        assert not any(Path("pytorch_model.bin").match(pattern) for pattern in allow_patterns)
        assert all(any(path.match(pattern) for pattern in allow_patterns) for path in folder.iterdir())
        if local_files_only:
            raise LocalEntryNotFoundError("not cached")
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert resolve_checkpoint(HUB_ID, "main", download=True) == Checkpoint(folder, HUB_ID, COMMIT)
    assert calls == [True, False]
