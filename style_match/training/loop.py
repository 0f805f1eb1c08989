"""The training loop: data module, module, callbacks, loggers, trainer; fit; test."""

import inspect
import logging
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.plugins.environments import LightningEnvironment
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from style_match.backbone.inputs import Inputs
from style_match.cli.targets import conf_dir
from style_match.data.datamodule import MatchDataModule
from style_match.data.texts import Texts
from style_match.evaluation.evaluator import Evaluator
from style_match.evaluation.ranks import check_k
from style_match.models.head.identity import Identity
from style_match.models.module import MatchModule
from style_match.training.callbacks import FitProgress, ProcessSetup, quiet_lightning
from style_match.training.checkpoints import selected
from style_match.training.devices import processes
from style_match.training.loggers import loggers
from style_match.training.online import OnlineBackbone
from style_match.training.outputs import finish, write_outputs
from style_match.training.run_folder import RunFolder, checkpoint_to_resume, sweep_group
from style_match.training.text import TextSpace, is_on, loss_options, text_term, training_texts
from style_match.training.trained_photos import refuse_changed_split, write_trained_photos
from style_match.utils import progress
from style_match.utils.distributed import launched, share_of_process
from style_match.utils.errors import UserError
from style_match.utils.threads import pinned

# Options of `trainer` that are not of lightning.Trainer; max_loss_items is in the configs of earlier versions.
OWN_OPTIONS = ("checkpoint_every_s", "early_stopping", "max_loss_items")

log = logging.getLogger(__name__)


def train(cfg: DictConfig, folder: RunFolder, inputs: Inputs) -> float:
    """Train and test one run; in a sweep, one job.

    Args:
        cfg: Config of `style_match.train`.
        folder: Its run folder.
        inputs: Its data, checked.

    Returns:
        val/mrr of the reported model, which sweepers maximise.

    Raises:
        UserError: The run folder, the dataset or the configuration cannot be used.
    """
    log.info("run folder %s: %s", folder.path, folder.environment["command"])
    folder.find_earlier_run(cfg, inputs)
    if folder.val_mrr is not None:
        return folder.val_mrr  # a finished job of a sweep
    datamodule = make_datamodule(cfg, inputs)
    module = make_module(cfg, inputs)
    check_before_work(cfg, datamodule, module)
    if folder.checkpoint:
        refuse_changed_split(folder, inputs, datamodule)
    folder.begin(cfg, inputs)  # only now: the folder of a command with a mistake can be used again
    write_trained_photos(folder, inputs, datamodule)

    if is_on(cfg):
        datamodule.texts = training_texts(cfg, inputs, datamodule.gallery("train").photos.tolist())
        module = make_module(cfg, inputs, datamodule.texts)
    open_loggers = partial(loggers, cfg, folder.path, synthetic=inputs.synthetic, group=sweep_group())
    chosen = None
    with ExitStack() as open_files:
        logs = open_files.enter_context(open_loggers())
        if not isinstance(module.head, Identity):
            for line in inputs.balancing.lines():
                progress.say(line)
            compute_features(cfg, inputs, datamodule)
            trainer = fit(cfg, module, datamodule, folder.path, checkpoint=folder.checkpoint, logs=logs)
            chosen = selected(trainer, module, folder.path)
            if num_devices(cfg, module) > 1:  # another process has written the logs of the training
                open_files.close()
                logs = open_files.enter_context(open_loggers())
        results, text = test(cfg, module, datamodule, inputs, folder.path, logs)
        facts = {"balance": inputs.balancing.summary(), "devices": num_devices(cfg, module)} if chosen else {}
        outputs = write_outputs(cfg, folder, inputs, datamodule, module, results, selected=chosen, text=text, **facts)
        for logger in logs:
            if hasattr(logger, "log_outputs"):
                logger.log_outputs(outputs)
    finish(folder, outputs, show=not folder.is_job)  # last: a folder with metrics.json is complete
    return results.val.metrics["mrr"]["value"]


def join(cfg: DictConfig, inputs: Inputs) -> None:
    """Train as a process of rank > 0 that torchrun or srun started beside that of `train`; it writes no files."""
    datamodule = make_datamodule(cfg, inputs)
    if is_on(cfg):
        datamodule.texts = training_texts(cfg, inputs, datamodule.gallery("train").photos.tolist())
    module = make_module(cfg, inputs, datamodule.texts)
    if not takes_steps(module.head):
        return
    checkpoint = checkpoint_to_resume(cfg, Path(cfg.run).expanduser()) if cfg.run else None
    compute_features(cfg, inputs, datamodule)
    fit(cfg, module, datamodule, Path(HydraConfig.get().runtime.output_dir), checkpoint=checkpoint)


def compute_features(cfg: DictConfig, inputs: Inputs, datamodule: MatchDataModule) -> None:
    """Compute the features that the store lacks, with all threads.

    Processes of a launcher share them; Lightning has rank 0 compute what is still missing when the training starts.
    """
    if cfg.encode == "online":
        return
    if share := share_of_process(None):
        inputs.embed_share(share, (*inputs.rows, *inputs.view_rows))
    else:
        datamodule.prepare_data()


def make_datamodule(cfg: DictConfig, inputs: Inputs) -> MatchDataModule:
    """Return the data module of a run; with encode=online its training batches carry rows, not features."""
    balancing = inputs.balancing
    csls = OmegaConf.select(cfg, "evaluation.csls_k") is not None
    return MatchDataModule.from_folder(
        inputs.folder,
        inputs.split,
        features=None if cfg.encode == "online" else partial(load_features, inputs),
        rows=inputs.rows,
        sampler=instantiate(cfg.sampler),
        balance=balancing.balance,
        views=balancing.views,
        seed=cfg.seed,
        test_splits=("test", "val", "train") if csls else ("test", "val"),
    )


def load_features(inputs: Inputs) -> Tensor:
    """Return the features (P + views, D); those that are not in the store are computed."""
    views = inputs.balancing.views is not None
    return torch.cat([inputs.features, inputs.view_features]) if views else inputs.features


def make_head(cfg: DictConfig, inputs: Inputs) -> nn.Module:
    """Return the head of a run with new weights, which depend only on `seed`."""
    lightning.seed_everything(cfg.seed, verbose=False)
    return instantiate(cfg.head)(in_dim=inputs.dim)


def make_module(cfg: DictConfig, inputs: Inputs, texts: Texts | None = None) -> MatchModule:
    """Return the module of a run; `texts` are those of the training photos, where it trains on them."""
    head = make_head(cfg, inputs)
    return MatchModule(
        head=head,
        loss=instantiate(loss_options(cfg)),
        text=text_term(cfg, inputs, head, texts),
        optimizer=make_optimizer(cfg.optimizer),
        scheduler=instantiate(cfg.scheduler),
        evaluator=instantiate(cfg.evaluation),
        backbone=OnlineBackbone(inputs) if cfg.encode == "online" else None,
        hyperparameters=OmegaConf.to_container(cfg, resolve=True),  # type: ignore[arg-type]
    )


def make_optimizer(options: DictConfig) -> Any:
    """Return a function that makes an optimizer of parameters.

    Raises:
        UserError: It does not take these options, such as `fused`, which not all of torch's optimizers have.
    """
    make = instantiate(options)
    try:
        inspect.signature(make).bind([])
    except (TypeError, ValueError) as error:
        given = ", ".join(f"optimizer.{name}" for name in map(str, options) if not name.startswith("_"))
        raise UserError(
            f"optimizer._target_={options._target_} does not take all of {given} ({error}): leave one out, as in "
            "~optimizer.fused."
        ) from error
    return make


def make_trainer(cfg: DictConfig, folder: Path, **options: Any) -> lightning.Trainer:
    """Return the Trainer that `cfg.trainer` describes; `options` replace its own."""
    quiet_lightning()
    kept = OmegaConf.masked_copy(cfg.trainer, [key for key in cfg.trainer if key not in OWN_OPTIONS])
    if kept.precision == "auto":
        has_bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        kept.precision = "bf16-mixed" if has_bf16 and kept.accelerator != "cpu" else "32-true"
    if options.get("devices") == 1:  # a closed form
        kept.strategy = "auto"
    elif launched():  # the processes are there
        kept.plugins = [plugin for plugin in kept.plugins if not plugin._target_.endswith(".LightningEnvironment")]
        kept.strategy = "ddp" if kept.strategy in ("auto", "ddp_spawn") else kept.strategy
    elif kept.strategy == "auto" and kept.devices not in (1, "1", "auto"):
        kept.strategy = "ddp_spawn"
    try:
        return instantiate(kept, default_root_dir=folder, _convert_="all", **options)
    except InstantiationException as error:
        raise UserError(
            f"trainer: {error.__cause__ or error} Change trainer.devices or trainer.accelerator."
        ) from error


def make_callbacks(cfg: DictConfig) -> list[Callback]:
    """Return the callbacks of `cfg.callbacks`, except those that are null."""
    return [instantiate(callback) for callback in cfg.callbacks.values() if callback]


def takes_steps(head: nn.Module) -> bool:
    """Return whether gradient steps train a head; one without such weights is fitted at once."""
    return any(parameter.requires_grad for parameter in head.parameters())


def num_devices(cfg: DictConfig, module: MatchModule) -> int:
    """Return how many processes train the head."""
    if not takes_steps(module.head) or not str(cfg.trainer.devices).isdigit():
        return 1
    return process.num if (process := launched()) else int(cfg.trainer.devices)


def check_before_work(cfg: DictConfig, datamodule: MatchDataModule, module: MatchModule) -> None:
    """Refuse what cannot be trained or tested before anything is computed.

    Raises:
        UserError: A k is above the gallery, a batch cannot be made, or the strategy does not work here.
    """
    check_evaluation(datamodule, module.evaluator)
    num = num_devices(cfg, module)
    datamodule.train_batches(num_replicas=num)
    if takes_steps(module.head):
        callbacks = make_callbacks(cfg)  # made again for the training: some hold state
        make_trainer(cfg, Path(), callbacks=callbacks, logger=False)  # are the devices there?
        if not any(isinstance(callback, ModelCheckpoint) for callback in callbacks):
            progress.say(
                "callbacks: none writes checkpoints, so the weights of the last epoch are tested and the run cannot be "
                "resumed or exported. Choose the default ones too: callbacks=[default,...]."
            )
    if cfg.trainer.strategy == "ddp" and not launched():
        raise UserError(
            "trainer.strategy=ddp would start this command again in every process. Use trainer.strategy=ddp_spawn, or "
            "start the processes by torchrun --nproc-per-node N -m style_match.train."
        )
    if str(cfg.trainer.devices).isdigit() and num < cfg.trainer.devices:
        progress.say(
            f"trainer.devices={cfg.trainer.devices} has no effect: this head is not trained by gradient steps."
        )


def check_evaluation(datamodule: MatchDataModule, evaluator: Evaluator) -> None:
    """Refuse a k above the test gallery, or a csls_k above the training split."""
    test, train = datamodule.gallery("test"), datamodule.gallery("train")
    num_right = len(test.right_ids)
    evaluator.check_ks(min(test.num_left, num_right) if test.num_left else num_right - 1)
    if evaluator.csls_k is not None:
        check_k(evaluator.csls_k, min(train.num_left, len(train.right_ids)))


def fit(
    cfg: DictConfig,
    module: MatchModule,
    datamodule: MatchDataModule,
    folder: Path,
    *,
    checkpoint: Path | None = None,
    logs: Any = (),
) -> lightning.Trainer:
    """Train from a checkpoint, or from new weights, until `trainer.max_epochs` or early stopping.

    A head without weights for gradient steps is a closed form: Lightning fits it in `on_fit_start`, in no epoch.

    Raises:
        UserError: There are fewer devices, or a part cannot be sent to another process.
    """
    threads = None if cfg.encode == "online" else cfg.threads
    callbacks: list[Callback] = [ProcessSetup(threads, folder / "train.log")]
    options: dict[str, Any] = {"logger": logs or False}
    if takes_steps(module.head):
        callbacks += make_callbacks(cfg)
        callbacks.append(FitProgress(show=cfg.progress))
    else:
        if datamodule.views is not None or not datamodule.balance.is_plain:
            progress.say("balance has no effect: a closed form is fitted once, to every training photo.")
        if own := set(cfg.callbacks) - set(OmegaConf.load(conf_dir() / "callbacks" / "default.yaml")):
            progress.say(f"callbacks.{', callbacks.'.join(sorted(own))} has no effect: a closed form takes no steps.")
        options = {"logger": False, "max_epochs": 0, "devices": 1, "enable_checkpointing": False}
    trainer = make_trainer(cfg, folder, callbacks=callbacks, **options)
    with pinned(threads), processes(folder, 1 if launched() else num_devices(cfg, module)):
        trainer.fit(module, datamodule=datamodule, ckpt_path=checkpoint, weights_only=True)
    if launched() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()  # rank 0 alone tests
    if not takes_steps(module.head):
        for name in ("best", "last"):
            trainer.save_checkpoint(folder / "checkpoints" / f"{name}.ckpt")
    return trainer


def test(
    cfg: DictConfig, module: MatchModule, datamodule: MatchDataModule, inputs: Inputs, folder: Path, logs: Any
) -> tuple[Any, dict[str, Any] | None]:
    """Score the test split, once, with the frozen backbone and with the selected head.

    On the CPU and in float32, as the exported matcher computes, so that ranks do not depend on the device.

    Returns:
        The module's `TestResults`, and the section on text search of a run that was trained on texts.
    """
    quiet_lightning()
    datamodule.features = inputs.features
    with pinned(cfg.threads):
        trainer = lightning.Trainer(
            accelerator="cpu",
            devices=1,
            plugins=[LightningEnvironment()],
            logger=logs or False,
            default_root_dir=folder,
            deterministic=True,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.test(module, datamodule=datamodule, verbose=False)
        text = None if module.text is None else TextSpace.of(cfg, inputs, datamodule, module).measured("test")
    return module.test_results, text
