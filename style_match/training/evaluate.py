"""Score a finished run, or the frozen backbone without a head, on the test split of a dataset."""

from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from style_match.backbone.inputs import Inputs
from style_match.cli.run_config import read_config
from style_match.data.datamodule import MatchDataModule
from style_match.evaluation.tables import one_training
from style_match.models.head.identity import Identity
from style_match.models.module import MatchModule
from style_match.training.checkpoints import checkpoint_path, load_head
from style_match.training.loop import check_evaluation, make_head, test
from style_match.training.outputs import finish, write_outputs
from style_match.training.run_folder import RunFolder
from style_match.training.trained_photos import refuse_trained_photos


def evaluate(cfg: DictConfig, folder: RunFolder, inputs: Inputs) -> None:
    """Score the run that `run=` names, or without it the frozen backbone (head=identity).

    The dataset may differ from the run's: `run=STYLE_RUN data=demo_couples` measures whether similarity in style
    predicts couples.

    Raises:
        UserError: The checkpoint does not fit, or the test split has photos that the run was trained or selected on.
    """
    is_trained = instantiate(cfg.head).func is not Identity
    weights = checkpoint_path(cfg.ckpt_path or "best", Path(cfg.run).expanduser()) if is_trained else None
    evaluator = instantiate(cfg.evaluation)
    splits = ("test", "val", "train") if evaluator.csls_k is not None else ("test", "val")
    datamodule = MatchDataModule.from_folder(inputs.folder, inputs.split, test_splits=splits)
    check_evaluation(datamodule, evaluator)
    if weights:
        refuse_trained_photos(Path(cfg.run).expanduser(), inputs, datamodule)
    module = MatchModule(head=make_head(cfg, inputs), evaluator=evaluator)
    if weights:
        load_head(module.head, weights)
    results, _ = test(cfg, module, datamodule, inputs, folder.path, logs=[])
    folder.write_config(cfg)
    if cfg.run:
        folder.inherit_choices(Path(cfg.run).expanduser())
    outputs = write_outputs(cfg, folder, inputs, datamodule, module, results, selected=None, run=cfg.run)
    finish(folder, outputs, show=True)
    if results.trained and (was := read_config(cfg.run)).data.task != cfg.data.task:
        print(hypothesis(results.trained.metrics["mrr"], results.trained.chance["mrr"]["value"], seed=was.seed))


def hypothesis(mrr: dict[str, Any], chance: float, *, seed: int | None = None) -> str:
    """Return a sentence on whether a head that was trained for another task beats chance on this one, by its MRR."""
    low, high = next(bounds for name, bounds in mrr.items() if name.startswith("ci"))
    verdict = (
        "better than chance"
        if low > chance
        else "worse than chance"
        if high < chance
        else "not distinguishable from chance"
    )
    return (
        f"A head of another task on this one ({one_training(seed)}): MRR minus chance "
        f"{100 * (mrr['value'] - chance):+.1f} points [{100 * (low - chance):+.1f}, {100 * (high - chance):+.1f}]: "
        f"{verdict}."
    )
