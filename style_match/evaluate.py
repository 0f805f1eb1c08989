"""`python -m style_match.evaluate`: score a run, or the backbone without a head, on the test split of a dataset."""

from pathlib import Path

from omegaconf import DictConfig

from style_match.cli import main


def run(cfg: DictConfig) -> None:
    """Score the run that `run=` names, or without it the frozen backbone (head=identity)."""
    from hydra.core.hydra_config import HydraConfig

    from style_match.backbone.inputs import Inputs
    from style_match.training.run_folder import RunFolder

    folder = RunFolder(Path(HydraConfig.get().runtime.output_dir), resume=False)
    with folder.watched():
        inputs = Inputs(cfg)
        inputs.check()

        from style_match.training.evaluate import evaluate  # imports torch and Lightning: several seconds

        evaluate(cfg, folder, inputs)


if __name__ == "__main__":
    main.main("evaluate", run)
