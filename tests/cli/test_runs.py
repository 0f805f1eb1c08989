"""What happens once a command line is right: runs, sweeps, exit codes, folders."""

import json
import sys
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import OmegaConf

from style_match.cli import main
from style_match.utils.errors import UserError
from tests.composed import composed

from .run_folder import write_run

pytestmark = pytest.mark.integration


def folder() -> Path:
    return Path(HydraConfig.get().runtime.output_dir)


def test_two_runs_have_two_folders_and_nothing_strange_in_them(quick):
    folders = []
    for _ in range(2):
        assert quick(work=lambda cfg: folders.append(folder())) == 0
    assert len(set(folders)) == 2
    assert all(path.is_dir() and path.parent == Path.cwd() / "runs" / "train" for path in folders)
    assert not any(path.name == ".hydra" for found in folders for path in found.iterdir())


def test_a_mistake_in_the_work_is_one_line(quick):
    def work(cfg):
        raise UserError("photos/a.jpg is no photo: take it out.")

    assert quick(work=work) == 2
    assert quick.err == "photos/a.jpg is no photo: take it out.\n"


def test_a_mistake_that_a_constructor_raises_is_one_line_too(quick):
    head = {"_target_": "style_match.models.head.mlp.MLP", "in_dim": 4, "hidden_dim": 4, "dim": 0, "bias": False}
    assert quick(work=lambda cfg: instantiate(head, standardize=False)) == 2
    assert quick.err == "head.dim=0 must be at least 1.\n"
    assert quick("-m", "seed=0", work=lambda cfg: instantiate(head, standardize=False)) == 2
    assert quick(work=lambda cfg: instantiate(head)) == 2
    assert quick.err.startswith("_target_: MLP.__init__() missing 1 required") and quick.err.count("\n") == 1


def test_debug_shows_where_it_was_raised(quick):
    def work(cfg):
        raise UserError("photos/a.jpg is no photo: take it out.")

    assert quick("debug=true", work=work) == 2
    assert "Traceback" in quick.err
    assert "in work" in quick.err
    assert quick.err.endswith("photos/a.jpg is no photo: take it out.\n")


def test_a_bug_is_not_a_mistake(quick):
    with pytest.raises(ZeroDivisionError):
        quick(work=lambda cfg: 1 / 0)


def test_ctrl_c(quick):
    def work(cfg):
        raise KeyboardInterrupt

    assert quick(work=work) == 130
    assert quick.err == "Stopped by Ctrl-C.\n"


def test_ctrl_c_that_lightning_turned_into_an_exit(quick):
    def work(cfg):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    assert quick(work=work) == 130


def test_another_exit_keeps_its_code(quick):
    assert quick(work=lambda cfg: sys.exit(5)) == 5


def test_a_sweep_runs_every_cell(quick):
    seen = []
    assert quick("-m", "pooling=eos,mean", "head.dim=256,512", work=lambda cfg: seen.append(folder())) == 0
    assert [(cfg.pooling.name, cfg.head.dim) for cfg in quick.configs] == [
        ("eos", 256),
        ("eos", 512),
        ("mean", 256),
        ("mean", 512),
    ]
    cells = [f"head.dim={dim},pooling={pooling}" for pooling in ("eos", "mean") for dim in (256, 512)]
    assert [path.name for path in seen] == cells
    assert len({path.parent for path in seen}) == 1


def test_cells_after_a_failed_one_run_and_the_end_names_it(quick):
    def work(cfg):
        if cfg.seed == 1:
            raise UserError("seed 1 is unlucky")

    assert quick("-m", "seed=0,1,2", "hydra.sweep.dir=some where", work=work) == 2
    assert [cfg.seed for cfg in quick.configs] == [0, 1, 2]
    assert "1 job of the sweep failed:\n  seed=1: seed 1 is unlucky  (some where/seed=1)" in quick.err
    assert json.loads(Path("some where/seed=1/failed.json").read_text())["mistake"] is True
    assert "Traceback" not in quick.err

    assert quick("-m", "seed=0", "hydra.sweep.dir=some where") == 0, "an old failure is forgotten"


def test_a_bug_in_a_cell_ends_in_another_code(quick):
    def work(cfg):
        if cfg.seed == 1:
            raise UserError("seed 1 is unlucky")
        if cfg.seed == 2:
            raise ZeroDivisionError("no seed")

    assert quick("-m", "seed=0,1,2", work=work) == 1
    assert "2 jobs of the sweep failed:" in quick.err
    assert "seed=2: ZeroDivisionError: no seed" in quick.err
    assert "Traceback" in quick.err


def test_table2_sweeps_over_poolings_unless_one_is_named(step):
    params = OmegaConf.load(main.conf_dir() / "experiment" / "table2.yaml").hydra.sweeper.params
    assert params == {"pooling": "eos,mean"}
    assert step("experiment=table2", "pooling=mean_text") == 0, step.err
    (cfg,) = step.configs
    assert (cfg.head._target_.split(".")[3], cfg.pooling.name) == ("identity", "mean_text")


def test_table3_sweeps_over_its_rows(step):
    names = []
    assert step("experiment=table3", work=lambda cfg: names.append(folder().name)) == 0, step.err
    rows = [(256, 0.1), (512, 0.1), (512, 0.2)]
    assert [(cfg.head.dim, cfg.loss.temperature) for cfg in step.configs] == rows
    assert names == [f"row=dim{dim}_tau{tau}" for dim, tau in rows]


def test_style_sweeps_over_losses_and_samplers():
    params = OmegaConf.load(main.conf_dir() / "experiment" / "style.yaml").hydra.sweeper.params
    assert list(params) == ["row"]
    cells = [composed("train", "experiment=style", f"row={row}") for row in params.row.split(",")]
    kinds = [tuple(cfg[part]._target_.rpartition(".")[2] for part in ("loss", "sampler")) for cfg in cells]
    assert kinds == [(loss, sampler) for loss in ("Triplet", "InfoNCE") for sampler in ("PKSampler", "PlainSampler")]
    assert {cfg.data.name for cfg in cells} == {"demo_styles"}


def test_paper_is_the_papers():
    cfg = composed("train", "experiment=paper")
    assert (cfg.backbone.name, cfg.prompt.name, cfg.pooling.name) == ("qwen3_vl_2b", "image_metadata", "mean")
    assert (cfg.head.dim, cfg.loss.temperature) == (512, 0.2)
    assert (cfg.optimizer.lr, cfg.optimizer.weight_decay) == (5e-5, 1e-3)
    assert (cfg.sampler.batch_size, cfg.trainer.max_epochs) == (48, 30)
    assert cfg.trainer.early_stopping.patience > 0
    assert (cfg.head._target_.rpartition(".")[2], cfg.head.bias) == ("MLP", False), "eq. 2"
    assert (cfg.loss._target_.rpartition(".")[2], cfg.loss.symmetric) == ("InfoNCE", False), "eq. 4"
    assert cfg.head.standardize is False, "the paper's head takes the features as they are"


def test_a_sweep_over_choices_with_other_options(step):
    assert step("-m", "loss=triplet,infonce", "loss.temperature=0.1,0.2", "seed=0,1") == 2
    assert step.configs == []
    assert "loss=triplet has no option temperature; loss=infonce has" in step.err
    assert "Run one sweep per choice of loss, each with its own options." in step.err


def test_help_lists_groups_and_examples(step):
    assert step("--help") == 0
    for part in ("*infonce triplet", "*demo_couples", "Examples", "-m pooling=eos,mean", "--cfg job"):
        assert part in step.out
    assert step.configs == []


def test_help_marks_what_is_chosen(step):
    assert step("--help", "loss=triplet", "logger=[csv,wandb]") == 0
    assert "infonce *triplet" in step.out
    assert "*csv none tensorboard *wandb" in step.out


def test_cfg_is_left_to_hydra(step):
    assert step("--cfg", "job", "head.dim=64", "data=couples") == 0, "what lacks may be shown"
    shown = OmegaConf.create(step.out)
    assert (shown.head.dim, shown.data.name) == (64, "couples")


def test_a_loss_from_another_folder(step, tmp_path):
    (tmp_path / "extra" / "loss").mkdir(parents=True)
    (tmp_path / "extra" / "loss" / "mine.yaml").write_text("_target_: mine.Mine\npower: 2\n")
    assert step("--config-dir", "extra", "loss=mine", "loss.power=3") == 0, step.err
    loss = OmegaConf.to_container(step.configs[0].loss)
    assert {name: loss[name] for name in ("_target_", "power")} == {"_target_": "mine.Mine", "power": 3}
    assert step("--config-dir", "extra", "loss=mine", "loss.pwer=3") == 2
    assert "Did you mean loss.power=3?" in step.err
    assert step("--config-dir", "nowhere") == 2


def test_a_run_keeps_its_config_save_for_what_is_asked(step, tmp_path):
    run = write_run(tmp_path / "old run")
    assert step(f"run={run}", "data=demo_couples", "loss.margin=0.5", "debug=true", step="evaluate") == 0, step.err
    (cfg,) = step.configs
    assert (cfg.seed, cfg.head.dim, cfg.loss.margin) == (7, 64, 0.5)
    assert (cfg.data.name, cfg.data.task) == ("demo_couples", "couple")
    assert cfg.data.root is None
    assert cfg.run == str(run)
    assert cfg.evaluation.default_ks == [5, 10, 20, 30, 50], "what an older run lacks comes from the configs"


def test_options_are_judged_by_the_runs_own_config(step, tmp_path):
    run = write_run(tmp_path / "old")
    assert step(f"run={run}", "loss.temperature=0.5", step="evaluate") == 2
    assert "the loss of the run has no option temperature" in step.err
    assert step(f"run={run}", "head.dim=0", step="evaluate") == 2
    assert "head.dim must be" in step.err


def test_a_run_goes_on_in_its_folder(step, tmp_path):
    run = write_run(tmp_path / "old")
    seen = []
    words = (f"run={run}", "ckpt_path=last")
    assert step(*words, work=lambda cfg: seen.append(folder())) == 0, step.err
    assert seen == [run]
    assert (run / "config.yaml").is_file()
    assert step(*words, step="evaluate", work=lambda cfg: seen.append(folder())) == 0, step.err
    assert seen[1] != run, "an evaluation has a folder of its own"


def test_runs_can_be_swept_over(step, tmp_path):
    runs = [write_run(tmp_path / name, seed=seed) for seed, name in enumerate(("a", "b"))]
    assert step("-m", f"run={runs[0]},{runs[1]}", step="evaluate") == 0, step.err
    assert [cfg.seed for cfg in step.configs] == [0, 1]


@pytest.mark.parametrize("words", [("seed=0,1",), ("split.folds=3,5",), ("loss=infonce,triplet",), ("seed=range(3)",)])
def test_several_values_need_m(quick, words):
    assert quick(*words) == 2
    assert quick.err == f"{words[0]}: several values are a sweep. Add -m, or set one value.\n"


@pytest.mark.parametrize("words", [("sweep=a,b",), ("sweep=a", "table=table1,table2")])
def test_a_report_is_of_one_folder(step, words):
    assert step(*words, step="report") == 2
    assert step.err.startswith(f"{words[-1]}: ") and "Set sweep to the folder of all runs" in step.err
    assert len(step.err.splitlines()) == 1


def test_csls_of_a_run_is_taken_back_by_a_word_that_can_be_written(step, tmp_path):
    evaluation = OmegaConf.load(main.conf_dir() / "evaluation" / "default.yaml")
    evaluation.csls_k = 10
    run = write_run(tmp_path / "old", evaluation=evaluation)
    words = (f"run={run}", "data=demo_styles")
    assert step(*words, step="evaluate") == 2
    assert "Set evaluation.csls_k=null." in step.err
    assert step(*words, "evaluation.csls_k=null", step="evaluate") == 0, step.err
