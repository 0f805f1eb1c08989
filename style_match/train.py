"""`python -m style_match.train`: a head on frozen features, then retrieval on the test split."""

from pathlib import Path

from omegaconf import DictConfig

from style_match.cli import main


def run(cfg: DictConfig) -> float | None:
    """Train and test one run, and return val/mrr of the reported model, the objective of a sweep."""
    from style_match.backbone.inputs import Inputs
    from style_match.training.run_folder import RunFolder
    from style_match.utils.distributed import launched

    if process := launched():
        cfg.trainer.devices = process.num // cfg.trainer.get("num_nodes", 1)
        if process.rank > 0:
            from style_match.training.loop import join

            join(cfg, Inputs(cfg))
            return None
    folder = RunFolder.open(cfg)
    with folder.watched():
        inputs = Inputs(cfg)
        inputs.check()

        from style_match.training.loop import train  # imports torch and Lightning: several seconds

        return train(cfg, folder, inputs)


def print_table(sweep: Path) -> None:
    """Print the table of a finished sweep."""
    from style_match.reporting.sweeps import print_summary

    print_summary(sweep)


if __name__ == "__main__":
    main.main("train", run, after_sweep=print_table)
