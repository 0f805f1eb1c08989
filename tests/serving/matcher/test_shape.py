"""A matcher folder of unknown origin: what its matcher.json may say, and that it chooses no place to write to."""

import json
from pathlib import Path

import pytest

from style_match.serving.matcher import StyleMatcher
from style_match.serving.matcher_folder import digest, read_matcher
from style_match.utils.errors import UserError
from tests.serving.matcher.conftest import write_about

DEMO = {"name": "demo_couples", "task": "couple", "root": None, "world": {}, "world_seed": 0, "synthetic": True}


def changed(folder: Path, path: str, value: object) -> Path:
    """The folder with one value of its matcher.json changed and the digest that belongs to it."""
    about = json.loads((folder / "matcher.json").read_text())
    node = about
    *parents, name = path.split(".")
    for parent in parents:
        node = node[parent]
    node[name] = value
    write_about(folder, {key: each for key, each in about.items() if key != "digest"})
    return folder


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("features.root", "/tmp/elsewhere", "features.root=/tmp/elsewhere is not one of the options shard_rows"),
        ("features.shard_rows", 0, "features.shard_rows=0 is not an integer >= 1"),
        ("features", [], r"features=\[\] is not an object"),
        ("data.options.root", "/etc", "data.options.root=/etc is not one of the options"),
        ("data.options.image_root", "/etc", "data.options.image_root=/etc is not null"),
        ("data.options.synthetic", True, "data.options.synthetic=True is not one of"),
        ("data.options.max_source_pixels", "many", "data.options.max_source_pixels=many is not an integer"),
        ("data.demo", {**DEMO, "root": "/tmp/elsewhere"}, "data.demo.root=/tmp/elsewhere is not null"),
        ("data.demo", {**DEMO, "name": "../../elsewhere"}, "data.demo.name=../../elsewhere is not a name without"),
        ("data.demo", {**DEMO, "world": 5}, "data.demo.world=5 is not an object"),
        ("data.demo", {**DEMO, "num_couples": "x"}, "data.demo.num_couples=x is not an integer"),
        ("head", 5, "head=5 is not an object"),
        ("head.in_dim", "160", "head.in_dim=160 is not an integer"),
        ("head.in_dim", 10**12, "head.in_dim=1000000000000 is not an integer >= 1 and <= "),
        ("head.options", None, "head.options=None is not an object"),
        ("head.options.dim", [16], r"head.options.dim=\[16\] is not an integer"),
        ("head.tells_sides", "no", "head.tells_sides=no is not true or false"),
        ("sides", "fm", "sides=fm is not two names"),
        ("sides", ["f", "m", "x"], "is not two names"),
        ("classes", {"a": 1}, "is not a list of distinct names"),
        ("backbone.options", [], "is not an object"),
        ("backbone.options.layer", "all", "backbone.options.layer=all is not an integer"),
        ("backbone.path", 5, "backbone.path=5 is not a text"),
        ("backbone.files", ["a"], "is not file names with"),
        ("prompt.template", None, "prompt.template=None is not a text"),
        ("pooling", "mean", "pooling=mean is not an object"),
        ("text", {"path": "image"}, "text.head is missing"),
        ("files", [], "is not file names with"),
        ("run", None, "run=None is not an object"),
        ("name", "x" * 5000 and 7, "name=7 is not a text"),
    ],
)
def test_values_that_no_export_writes_are_refused(made, path, value, told):
    with pytest.raises(UserError, match=rf"matcher.json: .*{told}") as raised:
        read_matcher(changed(made(), path, value))
    assert len(str(raised.value)) < 600 and "\n" not in str(raised.value)


def test_a_long_value_is_cut(made):
    with pytest.raises(UserError, match=r"sides=x{80}\.\.\. is not") as raised:
        read_matcher(changed(made(), "sides", "x" * 100_000))
    assert len(str(raised.value)) < 600


@pytest.mark.parametrize("depth", [60, 900, 200_000])
def test_nested_json_is_one_message(made, depth):
    folder = made()
    about = (folder / "matcher.json").read_text()
    (folder / "matcher.json").write_text('{"nested": ' + "[" * depth + "]" * depth + ", " + about[1:])
    with pytest.raises(UserError, match=r"cannot be read as JSON .*nested more than 50 levels deep"):
        read_matcher(folder)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("head.options._target_", "style_match.models.loss.infonce.InfoNCE"),
        ("head.options._target_", "style_match.training.page.write_report"),
        ("head.options.dim", {"_target_": "style_match.models.head.mlp.MLP"}),
        ("pooling.function._target_", "style_match.models.head.mlp.MLP"),
        ("pooling.function.path", "style_match.models.head.mlp.MLP"),
        ("prompt.extra", {"_target_": "style_match.models.head.mlp.MLP"}),
        ("run.extra", {"_target_": "torch.optim.AdamW"}),
    ],
)
def test_code_has_its_place(made, path, target):
    with pytest.raises(UserError, match=r"matcher.json: .*(not named by any config in that place|is not an integer)"):
        read_matcher(changed(made(), path, target))


@pytest.mark.slow
def test_other_keys_choose_nothing(made, tmp_path, people):
    folder = made()
    about = json.loads((folder / "matcher.json").read_text())
    away = str(tmp_path / "away")
    extra = {"index": {"root": away}, "out": away, "hydra": {"run": {"dir": away}}, "split": {"store": away}}
    write_about(folder, {**{key: each for key, each in about.items() if key != "digest"}, **extra})
    matcher = StyleMatcher.from_pretrained(folder, device="cpu")
    matcher.embed_folder(people)
    assert not Path(away).exists()
    assert digest(matcher.folder.about) == matcher.identity
