"""`python -m style_match.train`: a head on frozen features, then retrieval on the test split."""

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from style_match.cli import main
from style_match.utils import progress

if TYPE_CHECKING:
    from style_match.training.run_folder import RunFolder


def run(cfg: DictConfig) -> float:
    """Train and score one run; returns val/mrr of what is reported, the objective of a sweep.

    With `run=FOLDER ckpt_path=last` a run that was interrupted goes on in its folder.
    """
    from hydra.core.hydra_config import HydraConfig

    from style_match.training.run_folder import RunFolder

    is_cell = sweep_group() is not None and cfg.run is None
    folder = RunFolder(Path(HydraConfig.get().runtime.output_dir), resume=is_cell or cfg.run is not None)
    if cfg.run is not None:
        folder.take_choices(Path(cfg.run).expanduser())
    goes_on = cfg.run is not None and cfg.ckpt_path == "last"
    with folder.watched("Begin it anew, without run and ckpt_path." if goes_on else "Run the command again."):
        return _run(cfg, folder, is_cell=is_cell)


def _run(cfg: DictConfig, folder: "RunFolder", *, is_cell: bool) -> float:
    from style_match.training.kept import inputs_of

    inputs = inputs_of(cfg)
    inputs.check()

    # what imports torch and Lightning, several seconds
    from style_match.models.head.identity import Identity
    from style_match.training.devices import num_processes
    from style_match.training.loggers import Outcome, loggers, photos
    from style_match.training.loop import build_data, build_matcher, fit
    from style_match.training.outputs import finish, write_outcome
    from style_match.training.resuming import (
        Earlier,
        facts_of,
        refuse_other_data,
        refuse_other_split,
        resume_from,
        settle,
        write_seen,
    )
    from style_match.training.scoring import Scorer, score
    from style_match.training.text import TextSpace, is_on, training_texts
    from style_match.utils.threads import pinned

    earlier = Earlier() if is_cell else Earlier(checkpoint=resume_from(cfg, folder.path))
    if is_cell:
        earlier = settle(cfg, folder, inputs)
        if earlier.val_mrr is not None:
            return earlier.val_mrr
    elif cfg.run is not None:
        refuse_other_data(folder, inputs)
    scorer = Scorer(cfg, inputs)
    if earlier.checkpoint:
        refuse_other_split(folder, scorer)
    # batches that cannot be made and heads that cannot be, before anything is computed
    num = num_processes(cfg, build_matcher(cfg, inputs).head)
    build_data(cfg, inputs, features=None).train_batches(num_replicas=num)
    if num < cfg.trainer.devices:
        progress.say(f"trainer.devices={cfg.trainer.devices}: changes nothing here, this head takes no gradient steps")
    if not is_cell:  # only now: the folder of a command that was answered with a mistake stays free
        folder.write_config(cfg)
        folder.write_provenance(**facts_of(inputs))
    write_seen(folder, scorer)
    with loggers(cfg, folder.path, synthetic=inputs.synthetic, group=sweep_group()) as logs:
        online = cfg.encode == "online"
        texts = training_texts(cfg, inputs, scorer.data.gallery("train").photos.tolist()) if is_on(cfg) else None
        data = build_data(cfg, inputs, features=None if online else inputs.features, texts=texts)
        with pinned(None if online else cfg.threads):
            matcher = build_matcher(cfg, inputs, texts)
            trained = None if isinstance(matcher.head, Identity) else matcher.head
            for line in inputs.balancing.lines() if trained else ():
                progress.say(line)
            selected = fit(cfg, matcher, data, folder.path, logs, earlier.checkpoint) if trained else None
        inputs.features  # noqa: B018 - the backbone computes with all threads
        with pinned(cfg.threads):
            scores = score(scorer, trained)
            text = TextSpace.of(cfg, inputs, scorer, matcher).measured("test") if matcher.text else None
        facts = {"balance": inputs.balancing.summary() if trained else None, "devices": num if trained else None}
        written = write_outcome(cfg, folder, inputs, scorer, scores, selected=selected, text=text, **facts)
        outcome = Outcome(
            written.sections,
            scores.results,
            folder.file("tsne.png"),
            photos(cfg, scorer, scores),
            inputs.synthetic,
        )
        for log in logs:
            log.log_outcome(outcome)
    finish(folder, written, show=not is_cell)  # with the loggers closed: whatever a kill cuts short is done again
    return scores.val.metrics["mrr"]["value"]


def sweep_group() -> str | None:
    """What the runs of one sweep share: the name of its folder."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    config = HydraConfig.get()
    return Path(config.sweep.dir).name if config.mode == RunMode.MULTIRUN else None


if __name__ == "__main__":
    main.main("train", run)
