"""The config of a run may come from others: its size, its aliases, its types, and the code that it names."""

import itertools

import pytest
from omegaconf import OmegaConf

from style_match.cli.run_config import merge_run_config, read_config
from style_match.cli.targets import conf_dir, refuse_unnamed
from style_match.utils.errors import UserError
from style_match.utils.files import read_json

from .run_folder import write_run

LAUGHS = "\n".join(
    ["data: {name: x}", "a0: &a0 [lol, lol]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
)
MLP = "style_match.models.head.mlp.MLP"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (LAUGHS, "line 3 has the alias *a0; replace it by its value"),
        ("data: &d {a: 1}\nhead:\n  <<: *d\n", "line 3 has the alias *d"),
        ("data: &d [*d]\n", "line 1 has the alias *d"),
        ("data: " + "[" * 5000 + "]" * 5000, "line 1 is nested more than 50 levels deep"),
        ("\n".join(" " * i + f"k{i}:" for i in range(900)), "is nested more than 50 levels deep"),
        ("data: {name: x}\n" + "#" * 2**24, "bytes, more than 16777216"),
        ("data: 1\ndata: 2\n", "cannot be read"),
        ("data: !!python/object/apply:os.system [true]\n", "cannot be read"),
        ("data: ${\n", "cannot be read"),
        ("5", "cannot be read"),
        ("[1, 2]", "is not the config of a run"),
        ("data: 5\n", "data holds no options"),
        ("data: {name: x}\nhead: [1]\n", "head holds no options"),
    ],
)
def test_a_config_that_no_run_writes_is_refused(tmp_path, text, answer):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        read_config(tmp_path)
    assert answer in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_what_a_run_writes_is_read(tmp_path):
    run = write_run(tmp_path / "run", numbers=[1e-3, 0.5, None, True], **{"optimizer": {"lr": 1e-05}})
    config = read_config(run)
    assert config.optimizer.lr == 1e-05 and list(config.numbers) == [1e-3, 0.5, None, True] and config.head.dim == 64


def test_nested_json_is_refused(tmp_path):
    file = tmp_path / "a.json"
    for depth in (51, 900, 100_000):
        file.write_text("[" * depth + "]" * depth)
        with pytest.raises(ValueError, match="nested more than 50 levels deep"):
            read_json(file)
    file.write_text("[" * 50 + "]" * 50)
    assert read_json(file)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"head": {"_target_": "torch.load", "f": "evil.pt"}}, "head._target_=torch.load"),
        ({"head": {"_target_": "style_match.models.loss.infonce.InfoNCE"}}, "head._target_=style_match.models.loss."),
        ({"head": {"_target_": MLP, "dim": {"_target_": MLP}}}, "head.dim."),
        ({"head": {"_target_": "hydra.utils.get_method", "path": "style_match.backbone.pooling.eos"}}, "head._target_"),
        ({"head": {"_target_": [MLP]}}, "head._target_=["),
        ({"loss": {"_target_": MLP}}, f"loss._target_={MLP}"),
        ({"optimizer": {"_target_": "style_match.evaluation.tsne.draw_tsne"}}, "optimizer._target_="),
        ({"data": {"name": "x", "root": {"_target_": MLP}}}, "data.root._target_="),
        ({"seed": [{"_target_": MLP}]}, "seed.0._target_="),
        ({"seed": {"_target_": "${loss._target_}"}}, "seed._target_=${loss._target_}"),
        ({"picture": {"tsne": [{"_target_": "os.system"}]}}, "picture.tsne.0._target_=os.system"),
        ({"pooling": {"function": {"_target_": MLP}}}, "pooling.function._target_="),
        (
            {"pooling": {"function": {"_target_": "hydra.utils.get_method", "path": "torch.load"}}},
            "pooling.function.path=torch.load",
        ),
        (
            {"pooling": {"function": {"_target_": "hydra.utils.get_method", "_args_": ["torch.load"]}}},
            "pooling.function._args_=['torch.load']",
        ),
        ({"text": {"own": {"_target_": "style_match.models.loss.infonce.InfoNCE"}}}, "text.own._target_="),
    ],
)
def test_code_that_no_config_names_in_that_place_is_refused(tmp_path, changes, named):
    run = write_run(tmp_path / "sent", **changes)
    with pytest.raises(UserError) as caught:
        refuse_unnamed(OmegaConf.to_container(OmegaConf.load(run / "config.yaml")), run / "config.yaml", [conf_dir()])
    assert f"{run / 'config.yaml'}: {named}" in str(caught.value) and "not named by any config" in str(caught.value)


@pytest.mark.parametrize("hidden", ['${oc.create:{_target_: os.system, _args_: ["true"]}}', "${oc.env:X}", "${loss}"])
def test_an_interpolation_is_refused(tmp_path, hidden):
    tree = {"head": {"_target_": "style_match.models.head.ensemble.Ensemble", "each": hidden}}
    with pytest.raises(UserError, match="is an interpolation"):
        refuse_unnamed(tree, tmp_path / "config.yaml", [conf_dir()])


@pytest.mark.parametrize(
    "tree",
    [
        {
            "head": {
                "_target_": "style_match.models.head.ensemble.Ensemble",
                "each": {"_target_": "style_match.models.head.linear_models.Whitened"},
            }
        },
        {"text": {"own": {"_target_": "style_match.models.head.linear.Linear", "_partial_": True}}},
        {"pooling": {"function": {"_target_": "hydra.utils.get_method", "path": "style_match.backbone.pooling.eos"}}},
    ],
)
def test_code_in_its_place_is_accepted(tmp_path, tree):
    refuse_unnamed(tree, tmp_path / "config.yaml", [conf_dir()])


@pytest.mark.integration
def test_a_command_runs_code_of_its_own_configs_in_their_place_alone(step, tmp_path):
    (tmp_path / "extra" / "recipe").mkdir(parents=True)
    text = "# @package _global_\nhead:\n  parts:\n    - {_target_: mine.Part}\n"
    (tmp_path / "extra" / "recipe" / "mine.yaml").write_text(text)
    run = write_run(tmp_path / "old", head={"_target_": MLP, "parts": [{"_target_": "mine.Part"}] * 2})
    assert step("--config-dir", "extra", f"run={run}", step="evaluate") == 0, step.err
    assert step(f"run={run}", step="evaluate") == 2
    assert step.configs == [] and "pass --config-dir FOLDER" in step.err
    run = write_run(tmp_path / "other", loss={"_target_": "mine.Part"})
    assert step("--config-dir", "extra", f"run={run}", step="evaluate") == 2


def test_merging_leaves_its_arguments_alone():
    run = OmegaConf.create({"head": {"dim": 64, "bias": True}, "seed": 7})
    composed = OmegaConf.create({"head": {"dim": 512}, "seed": 0, "run": "x", "new": 1, "out": "${seed}"})
    merged = merge_run_config(run, composed, ["seed=3"])
    assert merged == {"head": {"dim": 64, "bias": True}, "seed": 3, "run": "x", "new": 1, "out": "${seed}"}
    assert merge_run_config(run, composed, ["head=mlp"]).head == {"dim": 512}
    assert run == {"head": {"dim": 64, "bias": True}, "seed": 7}
    assert composed == {"head": {"dim": 512}, "seed": 0, "run": "x", "new": 1, "out": "${seed}"}


def test_a_run_of_another_machine_creates_no_folders(tmp_path):
    """Its folders for features and splits are used where they exist, otherwise those of the command, with a notice."""
    (tmp_path / "here").mkdir()
    composed = OmegaConf.create({"features": {"root": None}, "split": {"store": None, "seed": 0}, "run": "x"})
    paths = [str(tmp_path / "here"), str(tmp_path / "gone"), {"a": 1}]
    for root, store in itertools.product(paths, paths):
        run, lines = OmegaConf.create({"features": {"root": root}, "split": {"store": store, "seed": 4}}), []
        merged = merge_run_config(run, composed, [], notice=lines.append)
        kept = [value if value == paths[0] else None for value in (root, store)]
        assert [merged.features.root, merged.split.store] == kept and merged.split.seed == 4
        assert len(lines) == kept.count(None) and all("of the run does not exist here" in line for line in lines)
    merged = merge_run_config(run, composed, [f"features.root={paths[1]}"])
    assert merged.features.root == paths[1], "the command line decides"


@pytest.mark.parametrize("word", ["experiment=paper", "recipe=pair_lda", "row=dim256_tau0.1"])
def test_a_run_keeps_its_own_config(word):
    group = word.partition("=")[0]
    with pytest.raises(UserError, match=f"{word} cannot be combined with run=x, .* Drop {group}"):
        merge_run_config(OmegaConf.create({"seed": 0}), OmegaConf.create({"run": "x"}), [word])
