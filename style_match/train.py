"""`python -m style_match.train`: a head on frozen features, then retrieval on the test split."""

from pathlib import Path

from omegaconf import DictConfig

from style_match import cli


def run(cfg: DictConfig) -> float:
    """Train and score one run; returns val/mrr of what is reported, the objective of a sweep.

    With `run=FOLDER ckpt_path=last` a run that was interrupted goes on in its folder.
    """
    from hydra.core.hydra_config import HydraConfig

    from style_match.fit import build_data, build_matcher, fit, resume_from
    from style_match.head.identity import Identity
    from style_match.inputs import Inputs
    from style_match.logger import log_outcome, loggers
    from style_match.outcome import write_outcome
    from style_match.run import RunFolder
    from style_match.score import Scorer, score

    folder = RunFolder(Path(HydraConfig.get().runtime.output_dir), resume=cfg.run is not None)
    resume = resume_from(cfg, folder.path)
    folder.write_config(cfg)
    inputs = Inputs(cfg)
    scorer = Scorer(cfg, inputs)
    build_data(
        cfg, inputs, features=None
    ).train_dataloader()  # batches that cannot be made, before anything is computed
    data = build_data(cfg, inputs, features=None if cfg.encode == "online" else inputs.features)
    matcher = build_matcher(cfg, inputs)
    trained = None if isinstance(matcher.head, Identity) else matcher.head
    with loggers(cfg, folder.path, group=sweep_group()) as logs:
        selected = fit(cfg, matcher, data, folder.path, logs, resume) if trained else None
        scores = score(scorer, trained)
        sections = write_outcome(cfg, folder, inputs, scorer, scores, selected=selected)
        log_outcome(logs, folder.path, sections)
    return scores.val.metrics["mrr"]["value"]


def sweep_group() -> str | None:
    """What the runs of one sweep share: the name of its folder."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    config = HydraConfig.get()
    return Path(config.sweep.dir).name if config.mode == RunMode.MULTIRUN else None


if __name__ == "__main__":
    cli.main("train", run)
