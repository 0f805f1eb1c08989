"""The matcher folder: whole, of this format, of its own backbone, or refused with a plain word."""

import json
import shutil
from pathlib import Path

import pytest

from style_match import StyleMatcher
from style_match.backbone.checkpoint import resolve_checkpoint
from style_match.serving.matcher_folder import read_matcher
from style_match.utils.errors import UserError
from tests.serving.matcher.conftest import write_about


def edit(folder: Path, **changes) -> None:
    about = json.loads((folder / "matcher.json").read_text())
    write_about(folder, {**{key: each for key, each in about.items() if key != "digest"}, **changes})


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_every_flipped_bit_is_noticed(made):
    folder = made()
    for name in ("matcher.json", "head.safetensors"):
        whole = (folder / name).read_bytes()
        for place in range(0, len(whole), max(len(whole) // 12, 1)):
            flip(folder / name, place)
            with pytest.raises(UserError, match=r"[Ee]xport"):
                read_matcher(folder)
            (folder / name).write_bytes(whole)
    assert read_matcher(folder).sides == ("female", "male")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: shutil.rmtree(folder), "there is no such folder"),
        (lambda folder: (folder / "matcher.json").unlink(), "has no matcher.json. A matcher folder is written by"),
        (lambda folder: (folder / "head.safetensors").unlink(), "head.safetensors is missing"),
        (lambda folder: (folder / "matcher.json").write_text("[]"), "does not hold a JSON object"),
        (lambda folder: (folder / "matcher.json").write_bytes(b"\xff{"), "cannot be read as JSON"),
        (lambda folder: edit(folder, format=2), "has the format 2; this style_match reads 1. Install a newer"),
        (lambda folder: edit(folder, format=None), "has the format None.*Export it again"),
        (lambda folder: edit(folder, files={"../../secret": "0"}), "names the file '../../secret'"),
    ],
)
def test_a_damaged_folder_is_refused(made, damage, said):
    folder = made()
    damage(folder)
    with pytest.raises(UserError, match=said):
        StyleMatcher.from_pretrained(folder)


def test_a_run_folder_is_told_from_a_matcher(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    with pytest.raises(UserError, match="is a run folder; export it first"):
        StyleMatcher.from_pretrained(tmp_path)


def test_code_that_no_yaml_names_is_not_run(made, tmp_path):
    folder = made()
    head = {"options": {"_target_": "os.system", "command": f"touch {tmp_path}/ran"}, "in_dim": 1, "dim": 1}
    edit(folder, head={**head, "tells_sides": False})
    with pytest.raises(UserError, match=r"matcher.json: head.options._target_=os.system is not named by any config"):
        StyleMatcher.from_pretrained(folder)
    assert not (tmp_path / "ran").exists()


def test_weights_of_another_head_are_refused(made):
    folder, other = made(), made("other", head="identity")
    about = json.loads((other / "matcher.json").read_text())
    edit(folder, head={**about["head"]})
    with pytest.raises(UserError, match=r"does not hold the head that matcher\.json describes"):
        StyleMatcher.from_pretrained(folder)


def test_another_backbone_is_refused_with_both_names_and_a_copy_is_taken(made, tmp_path, people):
    folder, copy = made(), tmp_path / "copy"
    shutil.copytree(resolve_checkpoint("package:backbone/tiny", None, download=False).folder, copy)
    one = StyleMatcher.from_pretrained(folder, device="cpu").encode(people / "0-0.png")
    other = StyleMatcher.from_pretrained(folder, backbone=copy, device="cpu").encode(people / "0-0.png")
    assert (one == other).all()
    flip(copy / "model.safetensors", -1)
    with pytest.raises(
        UserError,
        match=r"trained on the backbone tiny \(package:backbone/tiny\); .*copy is another one: model.safetensors is",
    ):
        StyleMatcher.from_pretrained(folder, backbone=copy)


def test_a_backbone_that_is_gone_is_named_with_the_remedy(made):
    folder = made()
    own = json.loads((folder / "matcher.json").read_text())["backbone"]
    edit(folder, backbone={**own, "path": "/nowhere/checkpoint"})
    with pytest.raises(UserError, match=r"/nowhere/checkpoint, which does not exist. .*backbone.path=FOLDER"):
        StyleMatcher.from_pretrained(folder)
    edit(folder, backbone={**own, "path": "Nobody/Nothing", "revision": "0" * 40})
    with pytest.raises(UserError, match=r"hf download Nobody/Nothing --revision 0{40}.*from_pretrained\(FOLDER, back"):
        StyleMatcher.from_pretrained(folder)


def test_a_device_that_is_not_there_is_named(made, people):
    with pytest.raises(UserError, match="cuda:99"):
        StyleMatcher.from_pretrained(made(), device="cuda:99").encode(people / "0-0.png")
