"""A run folder may be somebody else's: what code it may name."""

import pytest
from omegaconf import OmegaConf

from style_match.cli import main
from style_match.cli.targets import refuse_unnamed
from style_match.utils.errors import UserError

from .run_folder import write_run

pytestmark = pytest.mark.integration


def refused(run) -> str:
    """The answer to the config of a run folder."""
    tree = OmegaConf.to_container(OmegaConf.load(run / "config.yaml"))
    with pytest.raises(UserError) as caught:
        refuse_unnamed(tree, run / "config.yaml", [main.conf_dir()])
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"head": {"_target_": "torch.load", "f": "evil.pt", "weights_only": False}}, "head._target_=torch.load"),
        ({"picture": {"tsne": [{"_target_": "os.system"}]}}, "picture.tsne.0._target_=os.system"),
        ({"seed": {"_target_": "${loss._target_}"}}, "seed._target_=${loss._target_}"),
        (
            {"pooling": {"function": {"_target_": "hydra.utils.get_method", "path": "torch.load"}}},
            "pooling.function.path=torch.load",
        ),
        (
            {"pooling": {"function": {"_target_": "hydra.utils.get_method", "_args_": ["torch.load"]}}},
            "pooling.function._args_=['torch.load']",
        ),
    ],
)
def test_a_run_folder_names_no_code_that_the_configs_do_not(tmp_path, changes, named):
    run = write_run(tmp_path / "sent", **changes)
    assert f"{run / 'config.yaml'}: {named} is named by none of the configs" in refused(run)


@pytest.mark.parametrize(
    "hidden", ['${oc.create:{_target_: os.system, _args_: ["true"]}}', "${oc.env:HOME}", "${loss}"]
)
def test_a_run_folder_hides_no_code_in_what_is_to_be_resolved(tmp_path, hidden):
    run = write_run(tmp_path / "sent", head={"_target_": "style_match.models.head.ensemble.Ensemble", "each": hidden})
    assert f"{run / 'config.yaml'}: head.each={hidden} is to be resolved" in refused(run)


@pytest.mark.parametrize("each", ["${loss}", {"_target_": "os.system"}])
def test_a_command_refuses_such_a_run(step, tmp_path, each):
    run = write_run(tmp_path / "sent", head={"_target_": "style_match.models.head.ensemble.Ensemble", "each": each})
    assert step(f"run={run}", step="evaluate") == 2
    assert step.configs == [] and f"{run / 'config.yaml'}: head.each" in step.err


def test_a_run_may_name_code_of_ones_own_configs(step, tmp_path):
    (tmp_path / "extra" / "loss").mkdir(parents=True)
    (tmp_path / "extra" / "loss" / "mine.yaml").write_text("_target_: mine.Mine\n")
    run = write_run(tmp_path / "old", loss={"_target_": "mine.Mine"})
    assert step("--config-dir", "extra", f"run={run}", step="evaluate") == 0, step.err
    assert step(f"run={run}", step="evaluate") == 2
    assert "add --config-dir FOLDER" in step.err
