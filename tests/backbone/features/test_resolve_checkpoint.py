"""Where a checkpoint is found, and what is said where it is not. No test touches a network."""

from pathlib import Path

import pytest

from style_match.backbone.feature_key import Checkpoint, resolve_checkpoint
from style_match.utils.errors import UserError

HUB_ID = "Qwen/Qwen3-VL-2B-Instruct"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def write_checkpoint(folder: Path) -> Path:
    """Files with the names of a checkpoint's."""
    folder.mkdir(parents=True)
    for name in (
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "merges.txt",
        "chat_template.jinja",
        "README.md",
    ):
        (folder / name).write_text("{}")
    return folder


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_checkpoint(tmp_path / "checkpoint")


def test_a_folder_is_taken_as_it_is(folder, monkeypatch, tmp_path):
    found = resolve_checkpoint(str(folder), "main", download=True)
    assert found == Checkpoint(folder.resolve(), str(folder), None)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve_checkpoint("~/checkpoint", None, download=False).folder == folder.resolve()


def test_a_package_folder_is_found_beside_the_code():
    found = resolve_checkpoint("package:backbone", None, download=False)
    assert (found.folder / "qwen3_vl.py").is_file()
    with pytest.raises(UserError, match="package:backbone/nothing"):
        resolve_checkpoint("package:backbone/nothing", None, download=False)


@pytest.mark.parametrize("path", ["/nowhere/at/all", "./nowhere", "one/two/three", "nowhere", ""])
def test_what_is_neither_folder_nor_hub_id_is_told(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no such folder, and it is no hub id"):
        resolve_checkpoint(path, None, download=False)


def test_a_file_is_no_checkpoint(folder):
    with pytest.raises(UserError, match="is a file; a checkpoint is a folder"):
        resolve_checkpoint(str(folder / "config.json"), None, download=False)


@pytest.fixture
def hub_cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of the hub, and no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def write_snapshot(hub_cache: Path) -> Path:
    repository = hub_cache / f"models--{HUB_ID.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    return write_checkpoint(repository / "snapshots" / COMMIT)


@pytest.mark.parametrize("download", [True, False])
@pytest.mark.parametrize("revision", ["main", None, COMMIT])
def test_a_cached_snapshot_is_used_offline_with_its_commit(revision, download, hub_cache):
    folder = write_snapshot(hub_cache)
    found = resolve_checkpoint(HUB_ID, revision, download=download)
    assert found == Checkpoint(folder, HUB_ID, COMMIT)


@pytest.mark.parametrize("download", [True, False])
def test_a_hub_id_that_is_not_to_be_had_says_how_to_get_it_and_what_else_works(download, hub_cache):
    with pytest.raises(UserError) as caught:
        resolve_checkpoint(HUB_ID, "main", download=download)
    for words in (f"`hf download {HUB_ID} --revision main`", "backbone.path=FOLDER", "backbone=tiny", "offline"):
        assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_revision_that_is_not_cached_is_not_replaced_by_another(hub_cache):
    write_snapshot(hub_cache)
    with pytest.raises(UserError, match="revision v9"):
        resolve_checkpoint(HUB_ID, "v9", download=True)


def test_a_download_that_broke_off_is_not_taken_for_whole(hub_cache):
    (write_snapshot(hub_cache) / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"holds no weights.*hf download"):
        resolve_checkpoint(HUB_ID, "main", download=False)


def test_a_download_takes_no_pickles_and_records_the_commit(tmp_path, monkeypatch):
    from huggingface_hub.errors import LocalEntryNotFoundError

    folder = write_checkpoint(tmp_path / "snapshots" / COMMIT)
    calls = []

    def snapshot_download(hub_id, *, revision, allow_patterns, local_files_only):
        calls.append(local_files_only)
        assert (hub_id, revision) == (HUB_ID, "main")
        assert not any(Path("pytorch_model.bin").match(pattern) for pattern in allow_patterns)
        assert all(
            any(path.match(pattern) for pattern in allow_patterns) or path.suffix == ".md" for path in folder.iterdir()
        )
        if local_files_only:
            raise LocalEntryNotFoundError("not cached")
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert resolve_checkpoint(HUB_ID, "main", download=True) == Checkpoint(folder, HUB_ID, COMMIT)
    assert calls == [True, False]
