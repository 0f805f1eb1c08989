"""`python -m style_match.evaluate`: a trained run, or the frozen backbone alone, on the test split of a dataset."""

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from style_match.cli import main

if TYPE_CHECKING:
    from style_match.training.run_folder import RunFolder


def run(cfg: DictConfig) -> None:
    """Score the run that `run=` names, or without it the frozen backbone (head=identity).

    Another dataset than the run's may be asked for: `run=STYLE_RUN data=demo_couples` asks whether likeness in style
    alone predicts couples.
    """
    from hydra.core.hydra_config import HydraConfig

    from style_match.training.run_folder import RunFolder

    folder = RunFolder(Path(HydraConfig.get().runtime.output_dir), resume=False)
    with folder.watched("Run the command again."):
        _run(cfg, folder)


def _run(cfg: DictConfig, folder: "RunFolder") -> None:
    from hydra.utils import instantiate

    from style_match.backbone.inputs import Inputs
    from style_match.cli.run_config import read_config

    inputs = Inputs(cfg)
    inputs.check()

    # what imports torch and Lightning, several seconds
    from style_match.models.head.identity import Identity
    from style_match.training.loop import build_head, checkpoint_path, load_head
    from style_match.training.outputs import finish, write_outcome
    from style_match.training.resuming import refuse_seen
    from style_match.training.scoring import Scorer, score
    from style_match.utils.threads import pinned

    is_trained = instantiate(cfg.head).func is not Identity
    weights = checkpoint_path(cfg.ckpt_path or "best", Path(cfg.run).expanduser()) if is_trained else None
    scorer = Scorer(cfg, inputs)
    if weights:
        refuse_seen(Path(cfg.run).expanduser(), scorer)
    head = build_head(cfg, inputs)
    if weights:
        load_head(head, weights)
    inputs.features  # noqa: B018 - the backbone computes with all threads
    with pinned(cfg.threads):
        scores = score(scorer, head if weights else None)
    folder.write_config(cfg)
    if cfg.run:
        folder.take_choices(Path(cfg.run).expanduser())
    finish(folder, write_outcome(cfg, folder, inputs, scorer, scores, selected=None, run=cfg.run), show=True)
    if scores.trained and (was := read_config(cfg.run)).data.task != cfg.data.task:
        print(hypothesis(scores.trained.metrics["mrr"], scores.trained.chance["mrr"]["value"], seed=was.seed))


def hypothesis(mrr: dict, chance: float, *, seed: int | None = None) -> str:
    """Whether a head that was trained for another task says something about this one: its MRR against exact chance."""
    from style_match.evaluation.tables import one_training

    low, high = next(bounds for name, bounds in mrr.items() if name.startswith("ci"))
    verdict = "better than chance" if low > chance else "worse than chance" if high < chance else "not told from chance"
    return (
        f"A head of another task on this one ({one_training(seed)}): MRR minus chance "
        f"{100 * (mrr['value'] - chance):+.1f} points [{100 * (low - chance):+.1f}, {100 * (high - chance):+.1f}]: "
        f"{verdict}."
    )


if __name__ == "__main__":
    main.main("evaluate", run)
