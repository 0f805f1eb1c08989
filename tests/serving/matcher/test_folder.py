"""The matcher folder: checks of its files, format, backbone and the code that it names, and where it may be written."""

import json
import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from style_match import StyleMatcher
from style_match.backbone.checkpoint import resolve_checkpoint
from style_match.serving.finished_run import FinishedRun
from style_match.serving.matcher_folder import digest, read_matcher, refuse_other_content, write_matcher
from style_match.utils.errors import UserError
from tests.serving.matcher.conftest import write_about

DEMO = {"name": "demo_couples", "task": "couple", "root": None, "world": {}, "world_seed": 0, "synthetic": True}
RUN = "0" * 64  # of the matchers of `made`


def edit(folder: Path, **changes) -> Path:
    """Change values of matcher.json by their paths (`head__dim=3`), with the digest that belongs to it."""
    about = json.loads((folder / "matcher.json").read_text())
    for path, value in changes.items():
        *parents, name = path.split("__")
        node = about
        for parent in parents:
            node = node[parent]
        node[name] = value
    write_about(folder, {key: each for key, each in about.items() if key != "digest"})
    return folder


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
    ("damage", "message"),
    [
        (lambda folder: shutil.rmtree(folder), "there is no such folder"),
        (lambda folder: (folder / "matcher.json").unlink(), "has no matcher.json. A matcher folder is written by"),
        (lambda folder: (folder / "head.safetensors").unlink(), "head.safetensors is missing"),
        (lambda folder: (folder / "matcher.json").write_text("[]"), "does not hold a JSON object"),
        (lambda folder: (folder / "matcher.json").write_bytes(b"\xff{"), "cannot be read as JSON"),
        (lambda folder: edit(folder, format=2), "has the format 2; this style_match reads 1. Install a newer"),
        (lambda folder: edit(folder, format=None), "has the format None.*Export it again"),
        (lambda folder: edit(folder, backbone__path="/nowhere/x"), "/nowhere/x, .* not exist. .*backbone.path=FOLDER"),
        (
            lambda folder: edit(folder, backbone__path="Nobody/Nothing", backbone__revision="0" * 40),
            r"hf download Nobody/Nothing --revision 0{40}.*from_pretrained\(FOLDER, backbone",
        ),
    ],
)
def test_a_damaged_folder_is_refused(made, damage, message):
    folder = made()
    damage(folder)
    with pytest.raises(UserError, match=message):
        StyleMatcher.from_pretrained(folder)


def test_a_run_folder_in_place_of_a_matcher_is_named(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    with pytest.raises(UserError, match="is a run folder; export it first"):
        StyleMatcher.from_pretrained(tmp_path)


def test_weights_of_another_head_are_refused(made):
    folder, other = made(), made("other", head="identity")
    edit(folder, head=json.loads((other / "matcher.json").read_text())["head"])
    with pytest.raises(UserError, match=r"does not hold the head that matcher\.json describes"):
        StyleMatcher.from_pretrained(folder)


def test_another_backbone_is_refused_with_both_names_and_a_copy_is_used(made, tmp_path, people):
    folder, copy = made(), tmp_path / "copy"
    shutil.copytree(resolve_checkpoint("package:backbone/tiny", None, download=False).folder, copy)
    one = StyleMatcher.from_pretrained(folder, device="cpu").encode(people / "0-0.png")
    other = StyleMatcher.from_pretrained(folder, backbone=copy, device="cpu").encode(people / "0-0.png")
    assert (one == other).all()
    flip(copy / "model.safetensors", -1)
    with pytest.raises(UserError, match=r"backbone tiny \(package:backbone/tiny\); .*copy is another one: .*model\."):
        StyleMatcher.from_pretrained(folder, backbone=copy)


def test_a_device_that_is_not_there_is_named(made, people):
    with pytest.raises(UserError, match="cuda:99"):
        StyleMatcher.from_pretrained(made(), device="cuda:99").encode(people / "0-0.png")


# A folder of unknown origin names no code, and chooses no place to read from or to write to.


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("features__root", "/tmp/elsewhere", "features.root=/tmp/elsewhere: "),
        ("features__shard_rows", 0, "features.shard_rows=0: "),
        ("features", [], r"features=\[\]: "),
        ("data__options__root", "/etc", "data.options.root=/etc: "),
        ("data__options__image_root", "/etc", "data.options.image_root=/etc: "),
        ("data__options__synthetic", True, "data.options.synthetic=True: "),
        ("data__demo", {**DEMO, "root": "/tmp/elsewhere"}, "data.demo.root=/tmp/elsewhere: "),
        ("data__demo", {**DEMO, "name": "../../elsewhere"}, "data.demo.name=../../elsewhere: "),
        ("files", {"../../secret": "0"}, "files.../../secret"),
        ("head__in_dim", 10**12, "head.in_dim=1000000000000: "),
        ("head__tells_sides", "no", "head.tells_sides=no: "),
        ("sides", ["f", "m", "x"], "sides="),
        ("sides", "x" * 100_000, r"sides=x{80}\.\.\.: "),
        ("run", None, "run=None: "),
    ],
)
def test_values_that_no_export_writes_are_refused(made, path, value, message):
    with pytest.raises(UserError, match=rf"matcher.json: {message}.* Export the matcher again") as raised:
        read_matcher(edit(made(), **{path: value}))
    assert len(str(raised.value)) < 600 and "\n" not in str(raised.value)


@pytest.mark.parametrize("depth", [60, 200_000])
def test_nested_json_is_one_message(made, depth):
    folder = made()
    about = (folder / "matcher.json").read_text()
    (folder / "matcher.json").write_text('{"nested": ' + "[" * depth + "]" * depth + ", " + about[1:])
    with pytest.raises(UserError, match=r"cannot be read as JSON .*nested more than 50 levels deep"):
        read_matcher(folder)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("head__options___target_", "os.system"),
        ("head__options___target_", "style_match.models.loss.infonce.InfoNCE"),
        ("head__options__dim", {"_target_": "style_match.models.head.mlp.MLP"}),
        ("pooling__function___target_", "style_match.models.head.mlp.MLP"),
        ("pooling__function__path", "style_match.models.head.mlp.MLP"),
        ("prompt__extra", {"_target_": "style_match.models.head.mlp.MLP"}),
        ("run__extra", {"_target_": "torch.optim.AdamW"}),
    ],
)
def test_code_that_no_yaml_names_in_its_place_is_not_run(made, path, target):
    with pytest.raises(UserError, match=r"matcher.json: .* is not named by any config in that place"):
        read_matcher(edit(made(), **{path: target}))


@pytest.mark.slow
def test_other_keys_choose_nothing(made, tmp_path, people):
    away = str(tmp_path / "away")
    extra = {"index": {"root": away}, "out": away, "hydra": {"run": {"dir": away}}, "split": {"store": away}}
    matcher = StyleMatcher.from_pretrained(edit(made(), **extra), device="cpu")
    matcher.embed_folder(people)
    assert not Path(away).exists()
    assert digest(matcher.folder.about) == matcher.identity


# Writing


def test_an_earlier_export_of_the_run_may_be_written_over_and_nothing_else(made, tmp_path):
    folder = made()
    files = {path.name for path in folder.iterdir()}
    refuse_other_content(folder, RUN)
    with pytest.raises(UserError, match=r"holds the matcher of another run. Set another out, or delete that matcher"):
        refuse_other_content(folder, "1" * 64)
    (folder / "matcher.json").write_text("{")
    with pytest.raises(UserError, match=r"holds a damaged matcher. Set another out, or delete that matcher"):
        refuse_other_content(folder, RUN)
    (folder / "matcher.json").unlink()
    refuse_other_content(folder, RUN)  # an interrupted export
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"is not empty and holds no matcher. Set another out"):
        refuse_other_content(folder, RUN)
    with pytest.raises(UserError, match=r"Cannot write out=.*Set another out"):
        refuse_other_content(folder / "thesis.txt" / "matcher", RUN)  # before anything is computed
    assert {path.name for path in folder.iterdir()} == {*files, "thesis.txt"} - {"matcher.json"}


def test_files_of_an_earlier_export_do_not_stay(made):
    folder = made()
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "text.safetensors").write_bytes(b"of the earlier one")
    write_matcher(folder, files)
    assert read_matcher(folder).about == json.loads(files["matcher.json"])
    assert {path.name for path in folder.iterdir()} == files.keys()


def test_a_run_is_identified_by_its_config_and_its_metrics_wherever_its_folder_is(tmp_path):
    def run_id(folder):
        return FinishedRun(tmp_path / folder, OmegaConf.create(), provenance={}, metrics={}, inputs=None).id

    for folder, config, metrics in (("one", "seed: 0", "{}"), ("other", "seed: 0", "[]"), ("third", "seed: 1", "{}")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.yaml").write_text(config)
        (tmp_path / folder / "metrics.json").write_text(metrics)
    shutil.copytree(tmp_path / "one", tmp_path / "moved")
    (tmp_path / "moved" / "train.log").write_text("of no effect")
    assert run_id("moved") == run_id("one")
    assert len({run_id("one"), run_id("other"), run_id("third")}) == 3
