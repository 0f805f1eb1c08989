"""The config of a run may be somebody else's: its size, its aliases, its types, and where it names code."""

import pytest

from style_match.cli.run_config import NODES, read_config
from style_match.utils.files import read_json, read_yaml

from .run_folder import write_run

pytestmark = pytest.mark.integration

LAUGHS = "\n".join(
    ["data: {name: x}", "a0: &a0 [lol, lol]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (LAUGHS, "line 3 has the alias *a0; write its value out"),
        ("data: &d {a: 1}\nhead:\n  <<: *d\n", "line 3 has the alias *d; write its value out"),
        ("data: &d [*d]\n", "line 1 has the alias *d"),
        ("data: " + "[" * 5000 + "]" * 5000, "line 1 is nested more than 50 levels deep"),
        ("data: " + "{a: " * 5000 + "}" * 5000, "line 1 is nested more than 50 levels deep"),
        ("\n".join(" " * i + f"k{i}:" for i in range(900)), "is nested more than 50 levels deep"),
        ("data: 1\ndata: 2\n", "cannot be read"),
        ("data: !!python/object/apply:os.system [true]\n", "cannot be read"),
        ("[1, 2]", "is not the config of a run"),
        ("5", "is not the config of a run"),
        ("data: 5\n", "data holds no options"),
        ("data: {name: x}\nhead: [1]\n", "head holds no options"),
    ],
)
def test_a_config_of_a_run_is_bounded(step, tmp_path, text, told):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(text)
    assert step("run=run", step="evaluate") == 2
    assert step.configs == [] and "Traceback" not in step.err
    assert told in step.err and len(step.err.splitlines()) == 1


def test_a_large_file_is_not_parsed(step, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("data: {name: x}\n" + "#" * 2**24)
    assert step("run=run", step="evaluate") == 2
    assert "bytes, more than 16777216" in step.err


def test_what_a_run_writes_is_read(tmp_path):
    run = write_run(tmp_path / "run", numbers=[1e-3, 0.5, None, True], **{"optimizer": {"lr": 1e-05}})
    config = read_config(run)
    assert config.optimizer.lr == 1e-05 and list(config.numbers) == [1e-3, 0.5, None, True]
    assert read_yaml(run / "config.yaml")["head"]["dim"] == 64
    assert set(NODES) > {"data", "head"}


def test_nested_json_is_refused(tmp_path):
    file = tmp_path / "a.json"
    for depth in (51, 900, 100_000):
        file.write_text("[" * depth + "]" * depth)
        with pytest.raises(ValueError, match="nested more than 50 levels deep"):
            read_json(file)
    file.write_text("[" * 50 + "]" * 50)
    assert read_json(file)


IN_OTHER_PLACES = [
    (
        {"head": {"_target_": "style_match.models.loss.infonce.InfoNCE"}},
        "head._target_=style_match.models.loss.infonce.InfoNCE",
    ),
    ({"loss": {"_target_": "style_match.models.head.mlp.MLP"}}, "loss._target_=style_match.models.head.mlp.MLP"),
    ({"optimizer": {"_target_": "style_match.training.page.write_report"}}, "optimizer._target_="),
    ({"evaluation": {"_target_": "style_match.training.loggers.CSV", "folder": "/x"}}, "evaluation._target_="),
    (
        {
            "head": {
                "_target_": "style_match.models.head.mlp.MLP",
                "dim": {"_target_": "style_match.models.head.mlp.MLP"},
            }
        },
        "head.dim.",
    ),
    ({"data": {"name": "x", "root": {"_target_": "style_match.models.head.mlp.MLP"}}}, "data.root._target_="),
    (
        {"seed": [{"_target_": "style_match.serving.index.exact.Exact"}]},
        "seed.0._target_=style_match.serving.index.exact.Exact",
    ),
    (
        {"head": {"_target_": "hydra.utils.get_method", "path": "style_match.backbone.pooling.eos"}},
        "head._target_=hydra",
    ),
    ({"pooling": {"function": {"_target_": "style_match.models.head.mlp.MLP"}}}, "pooling.function._target_="),
    (
        {"pooling": {"function": {"_target_": "hydra.utils.get_method", "path": "style_match.models.head.mlp.MLP"}}},
        "pooling.function.path=style_match.models.head.mlp.MLP",
    ),
    ({"text": {"own": {"_target_": "style_match.models.loss.infonce.InfoNCE"}}}, "text.own._target_="),
    ({"logger": {"csv": {"_target_": "style_match.evaluation.tsne.draw_tsne"}}}, "logger.csv._target_="),
    ({"head": {"_target_": ["style_match.models.head.mlp.MLP"]}}, "head._target_=["),
]


@pytest.mark.parametrize(("changes", "named"), IN_OTHER_PLACES)
def test_known_code_in_another_place_is_refused(step, tmp_path, changes, named):
    run = write_run(tmp_path / "sent", **changes)
    assert step(f"run={run}", step="evaluate") == 2
    assert step.configs == []
    assert f"{run / 'config.yaml'}: {named}" in step.err and "by none of the configs in that place" in step.err


@pytest.mark.parametrize(
    "changes",
    [
        {
            "head": {
                "_target_": "style_match.models.head.ensemble.Ensemble",
                "each": {"_target_": "style_match.models.head.linear_models.Whitened"},
            }
        },
        {"text": {"own": {"_target_": "style_match.models.head.linear.Linear", "_partial_": True}}},
        {"picture": {"tsne": {"_target_": "style_match.evaluation.tsne.draw_tsne"}}},
        {"logger": {"wandb": {"_target_": "style_match.training.loggers.Wandb"}}},
        {"pooling": {"function": {"_target_": "hydra.utils.get_method", "path": "style_match.backbone.pooling.eos"}}},
    ],
)
def test_code_where_it_belongs_is_run(step, tmp_path, changes):
    assert step(f"run={write_run(tmp_path / 'own', **changes)}", step="evaluate") == 0, step.err


def test_a_yaml_of_ones_own_names_code_for_its_place_alone(step, tmp_path):
    (tmp_path / "extra" / "recipe").mkdir(parents=True)
    text = "# @package _global_\nhead:\n  parts:\n    - {_target_: mine.Part}\n"
    (tmp_path / "extra" / "recipe" / "mine.yaml").write_text(text)
    head = {"_target_": "style_match.models.head.mlp.MLP", "parts": [{"_target_": "mine.Part"}] * 2}
    run = write_run(tmp_path / "old", head=head)
    assert step("--config-dir", "extra", f"run={run}", step="evaluate") == 0, step.err
    run = write_run(tmp_path / "other", loss={"_target_": "mine.Part"})
    assert step("--config-dir", "extra", f"run={run}", step="evaluate") == 2
