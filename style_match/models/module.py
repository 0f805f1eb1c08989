"""The LightningModule: frozen backbone, trainable head and loss.

Shape suffixes: P photos, N profiles, B batch, D feature dim, E embedding dim.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from style_match.data.datamodule import MatchDataModule
from style_match.evaluation.evaluator import Evaluator, Result
from style_match.evaluation.metrics import means
from style_match.evaluation.ranks import couple_ranks, style_ranks
from style_match.models.embed import embed
from style_match.models.head.ensemble import joined, members
from style_match.models.head.identity import Identity
from style_match.models.loss.pairs import LossOutput
from style_match.models.text_term import TextTerm
from style_match.utils.errors import UserError

DEFAULT_LR = 5e-5  # of conf/optimizer


@dataclass(frozen=True)
class TestResults:
    """Results and embeddings of the test split.

    Attributes:
        frozen: Result of the frozen backbone.
        trained: Result of the trained head; None for head=identity.
        val: Result of the reported model on the validation split.
        profile_ids: (N,) the profiles of the test gallery.
        embeddings: Model ("frozen", "trained") to (N, E) embeddings.
    """

    frozen: Result
    trained: Result | None
    val: Result
    profile_ids: tuple[str, ...]
    embeddings: dict[str, Tensor]

    @property
    def models(self) -> dict[str, Result]:
        """The results by model."""
        return {"frozen": self.frozen} | ({"trained": self.trained} if self.trained else {})

    @property
    def reported(self) -> Tensor:
        """(N, E) embeddings of the reported model."""
        return self.embeddings.get("trained", self.embeddings["frozen"])


class MatchModule(lightning.LightningModule):
    """Turns features of a frozen backbone into embeddings of unit length, and learns the head by metric learning.

    A checkpoint contains weights and hyperparameters, but no parts: load it with
    `MatchModule.load_from_checkpoint(path, head=..., loss=...)`.

    Under DDP the features, labels and sides of all ranks are joined before the head, so that BatchNorm and negatives
    see the whole batch. Every rank computes the same loss and the same gradient, which DDP's average leaves as it is.

    Logged: train/loss and the loss's own logs as means over the epoch; val/loss, val/mrr, val/recall@k and the other
    retrieval metrics over the validation gallery, by the cosine even if the run is tested by CSLS;
    val/effective_rank, which falls to 1 when all embeddings become one; test/MODEL/METRIC.

    Args:
        head: Features (B, D) and, for couples, sides (B,) to embeddings (B, E) of unit length.
        loss: (embeddings, labels, side) to `LossOutput`; only needed for training.
        optimizer: Makes the optimizer from the parameters; only needed for training.
        scheduler: Makes the learning rate schedule, stepped once an epoch; None for a constant rate.
        evaluator: Ranks, metrics and intervals of the test; its ks are those of validation, too.
        backbone: For encode=online: turns a batch with `rows` (B,) into features (B, D). It stays frozen, in eval mode
            and out of checkpoints.
        text: The loss between photos and their texts, if any.
        hyperparameters: For checkpoints and loggers, such as the config of a run.
    """

    def __init__(
        self,
        *,
        head: nn.Module,
        loss: nn.Module | None = None,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] | None = None,
        scheduler: Callable[[Optimizer], Any] | None = None,
        evaluator: Evaluator | None = None,
        backbone: nn.Module | None = None,
        text: TextTerm | None = None,
        hyperparameters: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        self.head, self.loss, self.text = head, loss, text
        self.backbone = None if backbone is None else backbone.eval().requires_grad_(False)
        self.strict_loading = False  # checkpoints lack the backbone
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.evaluator = evaluator or Evaluator()
        self.test_embeddings: dict[str, dict[str, Tensor]] = {}
        self.test_results: TestResults | None = None
        self.was_trained = False
        self.selected_epoch: int | None = None  # of the weights, once a checkpoint was loaded
        # Lightning saves the argument of the same name, and adds the parts given to `load_from_checkpoint` to it.
        plain = (str, int, float, dict, list, type(None))
        hyperparameters = {name: each for name, each in (hyperparameters or {}).items() if isinstance(each, plain)}
        self.save_hyperparameters(hyperparameters)

    def train(self, mode: bool = True) -> "MatchModule":
        """Set the training mode of everything but the backbone."""
        super().train(mode)
        if self.backbone is not None:
            self.backbone.eval()
        return self

    def state_dict(self, *args: Any, **options: Any) -> dict[str, Any]:  # type: ignore[override]
        """Return the weights of head, loss and text term; not those of the frozen backbone."""
        state = super().state_dict(*args, **options)
        return {name: value for name, value in state.items() if not name.startswith("backbone.")}

    def forward(self, batch: dict[str, Any]) -> Tensor:
        """Turn the features or rows of a batch into embeddings (B, E)."""
        return self.head(self.features(batch), batch.get("side"))

    def features(self, batch: dict[str, Any]) -> Tensor:
        """Return (B, D) features on this module's device: those of the batch, or encoded on the spot."""
        if "features" in batch:
            return batch["features"].to(self.device)
        if self.backbone is None:
            raise ValueError("the batch has no features, and the module has no backbone to compute them")
        return self.backbone(batch).to(self.device, torch.float32)

    def on_fit_start(self) -> None:
        self.fit_closed(self.trainer.datamodule)  # type: ignore[attr-defined]

    def fit_closed(self, data: MatchDataModule) -> None:
        """Fit the parts of the head that are computed from the training features at once and are not fitted yet."""
        parts: list[Any] = [part for part in self.head.modules() if hasattr(part, "fit_closed")]
        if parts := [part for part in parts if not part.is_fitted()]:
            train = data.train_set(self.features(data.train_photos()).cpu())
            for part in parts:
                part.fit_closed(train)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        features, labels = self.gathered(self.features(batch)), self.gathered(batch["labels"])
        side = None if batch.get("side") is None else self.gathered(batch["side"])
        if self.text is None:
            loss, logs = self.members_loss(members(self.head, features, side), labels, side)
        else:
            e_photos, e_texts = self.text.embed(self.head, features, side, self.gathered(batch["texts"].to(features)))
            loss, logs = self.members_loss(e_photos, labels, side)
            numbers, people = self.gathered(batch["text_numbers"]), self.gathered(batch["people"])
            output = self.text.compare(joined(e_photos), e_texts, numbers, people)
            logs["text_loss"] = output.loss.detach()
            loss = loss + self.text.weight * output.loss
        self.was_trained = True
        self.log_dict(
            {f"train/{name}": value for name, value in logs.items()}, on_step=False, on_epoch=True, batch_size=1
        )
        return loss

    def members_loss(self, embedded: list[Tensor], labels: Tensor, side: Tensor | None) -> tuple[Tensor, dict]:
        """Return the summed loss of the members of an ensemble, and the means of their losses and logs.

        The sum gives each member the gradient that it would get alone, unless gradients are clipped: the norm of
        trainer.gradient_clip_val is over all members together.
        """
        outputs = [self.compare(embeddings, labels, side) for embeddings in embedded]
        logs: dict[str, Any] = {"loss": torch.stack([output.loss.detach() for output in outputs]).mean()}
        for name in outputs[0].logs:
            logs[name] = sum(output.logs[name] for output in outputs) / len(outputs)
        return torch.stack([output.loss for output in outputs]).sum(), logs

    def gathered(self, rows: Tensor) -> Tensor:
        """Return the rows (B, ...) of all ranks, rank after rank."""
        if self.trainer.world_size == 1:
            return rows
        gathered = self.all_gather(rows)
        assert isinstance(gathered, Tensor)
        return gathered.flatten(0, 1).to(rows.device)

    def compare(self, embeddings: Tensor, labels: Tensor, side: Tensor | None) -> LossOutput:
        """Return the loss in float32 also under mixed precision: a temperature magnifies rounding."""
        assert self.loss is not None
        with torch.autocast(self.device.type, enabled=False):
            return self.loss(embeddings.float(), labels, side)

    def on_validation_epoch_start(self) -> None:
        if self.was_trained and not all(
            weight.isfinite().all() for weight in self.state_dict().values() if weight.is_floating_point()
        ):
            raise self.diverged(f"After epoch {self.current_epoch + 1} a weight of the head is not a finite number")

    def diverged(self, what: str) -> UserError:
        """Return the error for a learning rate that is too high; `what` describes the symptom."""
        group = self.trainer.optimizers[0].param_groups[0]
        rate = group.get("initial_lr", group["lr"])
        lower = f"to {min(rate / 10, DEFAULT_LR):g}, for example"
        more = ", or raise loss.temperature" if hasattr(self.loss, "temperature") else ""
        return UserError(f"{what}: lower optimizer.lr, which is {rate:g}, {lower}{more}.")

    def optimizer_step(self, *args: Any, **options: Any) -> None:
        """Name the learning rate if a step overflows; some optimizers raise an error then."""
        try:
            super().optimizer_step(*args, **options)
        except RuntimeError as error:
            if "overflow" not in str(error):
                raise
            raise self.diverged(f"A step of epoch {self.current_epoch + 1} is not a finite number") from error

    def embed_profiles(self, batch: dict[str, Any], head: nn.Module | None = None) -> Tensor:
        """Return (N, E) embeddings of a gallery's profiles (`MatchDataModule.gallery_batch`), in eval mode."""
        photo_profile, num_left = batch["photo_profile"], batch["num_left"]
        side = (photo_profile >= num_left).long() if num_left else None
        try:
            e_NE = embed(head or self.head, self.features(batch), photo_profile, side)
        except UserError as error:
            if not self.was_trained:
                raise
            raise self.diverged(f"{str(error).rstrip('.')}. If it is not too small") from error
        if self.was_trained and not e_NE.isfinite().all():
            raise self.diverged(f"After epoch {self.current_epoch + 1} the head gives numbers that are not finite")
        return e_NE

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        e_NE = self.embed_profiles(batch)
        values = self.retrieval(e_NE, batch) | self.validation_loss(e_NE, batch)
        values["effective_rank"] = float(effective_rank(e_NE))
        self.log_dict({f"val/{name}": value for name, value in values.items()}, batch_size=1, sync_dist=True)

    def retrieval(self, e_NE: Tensor, batch: dict[str, Any]) -> dict[str, float]:
        """Return mrr, recall@k and the other retrieval metrics over a gallery."""
        num_left, items, block = batch["num_left"], batch["items"], self.evaluator.block
        if num_left:
            left, right = e_NE[:num_left], e_NE[num_left:]
            ks = self.evaluator.val_ks(min(len(left), len(right)))
            return means(couple_ranks(left, right, items, known=batch["known"], block=block), ks)
        ks = self.evaluator.val_ks(len(e_NE) - 1)
        return means(style_ranks(e_NE, items, ks=ks, people=batch["known"], block=block), ks)

    def validation_loss(self, e_NE: Tensor, batch: dict[str, Any]) -> dict[str, float]:
        """Return the loss and its logs over all items of a gallery, as if they were one batch (or `loss_batches`)."""
        num_left, items = batch["num_left"], batch["items"]
        totals: dict[str, float] = {}
        for chosen in batch["loss_batches"]:
            if num_left:
                rows = torch.cat([items[chosen, 0], items[chosen, 1] + num_left])
                labels, side = chosen.repeat(2), torch.arange(2).repeat_interleave(len(chosen))
            else:
                rows, labels, side = chosen, items[chosen], None
            output = self.compare(e_NE[rows.to(e_NE.device)], labels, side)
            for name, value in {"loss": output.loss, **output.logs}.items():
                totals[name] = totals.get(name, 0.0) + float(value) * len(chosen)
        num_items = sum(len(chosen) for chosen in batch["loss_batches"])
        return {name: total / num_items for name, total in totals.items()}

    def on_test_epoch_start(self) -> None:
        self.test_embeddings, self.test_results = {}, None

    def test_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> None:
        features = {"features": self.features(batch)}
        frozen = Identity(in_dim=features["features"].shape[1])
        heads = {"frozen": frozen} | ({} if isinstance(self.head, Identity) else {"trained": self.head})
        self.test_embeddings[batch["split"]] = {
            model: self.embed_profiles(batch | features, head).cpu() for model, head in heads.items()
        }

    def on_test_epoch_end(self) -> None:
        """Score the frozen backbone and the trained head by the same code."""
        data: MatchDataModule = self.trainer.datamodule  # type: ignore[attr-defined]
        scored: dict[str, Result] = {}
        for model, embeddings in self.test_embeddings["test"].items():
            bank = None
            if self.evaluator.csls_k is not None:
                train, num_left = self.test_embeddings["train"][model], data.gallery("train").num_left
                bank = train[:num_left], train[num_left:]
            scored[model] = data.evaluate(self.evaluator, "test", embeddings, bank)
        reported = list(scored)[-1]
        self.test_results = TestResults(
            frozen=scored["frozen"],
            trained=scored.get("trained"),
            val=data.evaluate(self.evaluator, "val", self.test_embeddings["val"][reported], bank),
            profile_ids=data.gallery("test").profile_ids,
            embeddings=self.test_embeddings["test"],
        )
        epoch = {} if self.selected_epoch is None else {"epoch": float(self.selected_epoch)}  # else the tester's, 0
        self.log_dict(test_values(self.test_results) | epoch)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by the norm over all parameters; Lightning's own refuses fused optimizers under mixed precision."""
        if gradient_clip_val:
            nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)

    def configure_optimizers(self) -> Any:
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        if not parameters or self.make_optimizer is None:
            return None  # a closed form
        optimizer = self.make_optimizer(parameters)
        if self.make_scheduler is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self.make_scheduler(optimizer), "interval": "epoch"},
        }


def test_values(results: TestResults) -> dict[str, float]:
    """Return test/MODEL/METRIC, and selected/val/METRIC: the validation split under the selected checkpoint."""
    sections = {"test/chance": results.frozen.chance} | {
        f"test/{model}": result.metrics for model, result in results.models.items()
    }
    sections["selected/val"] = results.val.metrics
    return {
        f"{prefix}/{name}": float(cell["value"])
        for prefix, section in sections.items()
        for name, cell in section.items()
        if isinstance(cell, Mapping)
    }


def effective_rank(embeddings: Tensor) -> Tensor:
    """Return the exponential of the entropy of the singular values of (N, E) embeddings, from 1 to min(N, E).

    O. Roy, M. Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007, definition 1.
    """
    e = embeddings.detach().double()
    gram = e.T @ e if len(e) > e.shape[1] else e @ e.T  # its eigenvalues are the squares of the singular values
    share = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    share = share / share.sum()
    return torch.exp(-torch.special.xlogy(share, share).sum())
