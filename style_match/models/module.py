"""Training of the head: features of a frozen backbone in, embeddings of unit length out, selected by val/mrr."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from style_match.data.datamodule import MatchData
from style_match.data.texts import groups
from style_match.evaluation.metrics import choose_ks, means
from style_match.evaluation.ranks import couple_ranks, style_ranks
from style_match.models.embed import embed
from style_match.models.loss.infonce import InfoNCE
from style_match.models.loss.pairs import LossOutput
from style_match.utils.errors import UserError

# The term that brings texts to their photos, beside the main loss: InfoNCE in both directions, as in CLIP (A. Radford
# et al., arXiv:2103.00020).


class TextTerm(nn.Module):
    """A head for texts, or the photos' own, and the loss between photos and their texts.

    Args:
        weight: of the term beside the main loss.
        temperature: of its InfoNCE.
        head: features (B, D) of texts to embeddings (B, E); None: they go through the photos' head.
    """

    def __init__(self, *, weight: float, temperature: float, head: nn.Module | None):
        super().__init__()
        self.weight, self.head = weight, head
        self.loss = InfoNCE(temperature=temperature, symmetric=True)

    def embed(
        self, photo_head: Any, features: Tensor, side: Tensor | None, texts: Tensor
    ) -> tuple[list[Tensor], Tensor]:
        """The embeddings of photos by each member of their head, and (B, E) those of texts.

        Under a shared head BatchNorm sees both together, as its statistics serve both afterwards.
        """
        if self.head is not None:
            return members(photo_head, features, side), self.head(texts)
        both = members(photo_head, torch.cat([features, texts]), None)
        return [each[: len(features)] for each in both], joined([each[len(features) :] for each in both])

    def compare(self, photos: Tensor, texts: Tensor, numbers: Tensor, people: Tensor) -> LossOutput:
        """The loss of embeddings (B, E) of photos and of their texts; `numbers` and `people` (B,) tell which texts
        and whose photos they are. What has the same text or person is no negative.

        Raises:
            UserError: all rows of the batch share one text or person.
        """
        labels = groups(numbers, people)
        side = torch.arange(2).repeat_interleave(len(labels))
        return self.loss(torch.cat([photos, texts]).float(), labels.repeat(2), side)


def members(head: Any, features: Tensor, side: Tensor | None) -> list[Tensor]:
    """The embeddings by each member of an ensemble, or by the one head."""
    return head.members(features, side) if hasattr(head, "members") else [head(features, side)]


def joined(embeddings: list[Tensor]) -> Tensor:
    """The members' embeddings as the ensemble gives them."""
    return torch.cat(embeddings, dim=1) / len(embeddings) ** 0.5


def width(head: nn.Module) -> int:
    """E of a head; UserError where it does not tell."""
    dim = getattr(head, "dim", None)
    if not isinstance(dim, int):
        raise UserError(
            f"The head {type(head).__name__} does not tell how wide its embeddings are (an attribute dim), which "
            "loss.text_weight needs to know: write loss.text_weight=0, or head=mlp."
        )
    return dim


DEFAULT_LR = 5e-5  # of conf/optimizer


class Matcher(lightning.LightningModule):
    """A head and its loss; shape suffixes: P photos, N profiles, B batch, D feature dim, E embedding dim.

    Under DDP the features, labels and sides of all ranks are joined before the head, so that BatchNorm and negatives
    see the whole batch. Every rank computes the same loss and the same gradient, which DDP's average leaves as it is.

    Logged: train/loss and the loss's own logs as means over the epoch; val/loss, val/mrr, val/recall@k and the other
    retrieval metrics over the whole validation gallery, by the cosine also where the run is scored by CSLS, and
    val/effective_rank, which falls to 1 when all embeddings become one.

    Args:
        head: features (B, D) and, for couples, sides (B,) to embeddings (B, E) of unit length.
        loss: (embeddings, labels, side) to `LossOutput`.
        optimizer: makes the optimizer from the parameters.
        scheduler: makes the learning rate schedule from the optimizer; stepped once an epoch.
        ks: of val/recall@k; those above the gallery are left out.
        block: how many queries meet the gallery at a time in validation.
        encode_fn: encode=online: a batch with `rows` (B,) to its features (B, D). Holds the backbone,
            which stays outside of this module's parameters and checkpoints.
        text: the term between photos and their texts; None for none.
    """

    def __init__(
        self,
        *,
        head: nn.Module,
        loss: nn.Module,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        scheduler: Callable[[Optimizer], Any],
        ks: Sequence[int],
        block: int,
        encode_fn: Callable[[dict[str, Any]], Tensor] | None = None,
        text: TextTerm | None = None,
    ):
        super().__init__()
        self.head, self.loss, self.text = head, loss, text
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.ks, self.block = tuple(ks), block
        self._encode_fn = (encode_fn,)  # in a tuple, else nn.Module registers a backbone that is one
        self.train_logs: dict[str, Tensor] = {}
        self.num_logged = 0

    def forward(self, features: Tensor, side: Tensor | None = None) -> Tensor:
        """(B, D) features to (B, E) embeddings."""
        return self.head(features, side)

    def features(self, batch: dict[str, Any]) -> Tensor:
        """(B, D) features on this module's device: those of the batch, or encoded on the spot (encode=online)."""
        if "features" in batch:
            return batch["features"].to(self.device)
        (encode_fn,) = self._encode_fn
        if encode_fn is None:
            raise ValueError("the batch has no features and there is no encode_fn")
        return encode_fn(batch).to(self.device, torch.float32)

    def on_fit_start(self) -> None:
        self.fit_closed(self.trainer.datamodule)  # type: ignore[attr-defined]

    def fit_closed(self, data: MatchData) -> None:
        """Fit those parts of the head that are computed from the training features at once, where they are not yet."""
        parts: list[Any] = [part for part in self.head.modules() if hasattr(part, "fit_closed")]
        if parts := [part for part in parts if not part.is_fitted()]:
            train = data.train_set(self.features(data.train_photos()).cpu())
            for part in parts:
                part.fit_closed(train)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        features, labels = self.gathered(self.features(batch)), self.gathered(batch["labels"])
        side = None if batch.get("side") is None else self.gathered(batch["side"])
        if self.text is None:
            embedded, said = members(self.head, features, side), None
        else:
            embedded, said = self.text.embed(self.head, features, side, self.gathered(batch["texts"].to(features)))
        outputs = [self.compare(embeddings, labels, side) for embeddings in embedded]
        for output in outputs:
            for name, value in {"loss": output.loss.detach(), **output.logs}.items():
                value = value / len(outputs)
                self.train_logs[name] = self.train_logs[name] + value if name in self.train_logs else value
        self.num_logged += 1
        # a sum: each member of an ensemble gets the gradient that it would get alone, as long as it is not clipped: the
        # norm of trainer.gradient_clip_val is over all members together
        loss = torch.stack([output.loss for output in outputs]).sum()
        if self.text is None or said is None:
            return loss
        numbers, people = self.gathered(batch["text_numbers"]), self.gathered(batch["people"])
        with torch.autocast(self.device.type, enabled=False):
            output = self.text.compare(joined(embedded).float(), said.float(), numbers, people)
        self.train_logs["text_loss"] = self.train_logs.get("text_loss", 0) + output.loss.detach()
        return loss + self.text.weight * output.loss

    def gathered(self, rows: Tensor) -> Tensor:
        """The rows (B, ...) of all ranks, where there are several."""
        return self.joined(rows) if self.trainer.world_size > 1 else rows

    def joined(self, rows: Tensor) -> Tensor:
        """The rows (B, ...) of all ranks, rank after rank."""
        gathered = self.all_gather(rows)
        assert isinstance(gathered, Tensor)
        return gathered.flatten(0, 1).to(rows.device)

    def compare(self, embeddings: Tensor, labels: Tensor, side: Tensor | None) -> LossOutput:
        """The loss in float32 also under mixed precision: a temperature magnifies rounding."""
        with torch.autocast(self.device.type, enabled=False):
            return self.loss(embeddings.float(), labels, side)

    def on_train_epoch_start(self) -> None:
        self.train_logs, self.num_logged = {}, 0

    def on_validation_epoch_start(self) -> None:
        """Log the training epoch beside its validation: no checkpoint then knows an epoch that the logs lack."""
        if not self.num_logged:
            return  # validation without training
        logs = {f"train/{name}": total / self.num_logged for name, total in self.train_logs.items()}
        if not torch.isfinite(logs["train/loss"]):
            raise self.diverged(f"The training loss of epoch {self.current_epoch} is not a finite number")
        weights = [weight for weight in self.state_dict().values() if weight.is_floating_point()]
        if not all(weight.isfinite().all() for weight in weights):
            raise self.diverged(f"After epoch {self.current_epoch} a weight of the head is not a finite number")
        self.log_dict(logs, sync_dist=True)

    def diverged(self, what: str) -> UserError:
        """The error of a training that a learning rate spoils; `what` says what came of it."""
        group = self.trainer.optimizers[0].param_groups[0]
        rate = group.get("initial_lr", group["lr"])
        lower = f"to {min(rate / 10, DEFAULT_LR):g}, for example"
        return UserError(f"{what}: lower optimizer.lr, which is {rate:g}, {lower}, or raise loss.temperature.")

    def optimizer_step(self, *args: Any, **options: Any) -> None:
        """Lightning's. Some optimizers refuse a step that no float can hold, others make infinite weights of it."""
        try:
            super().optimizer_step(*args, **options)
        except RuntimeError as error:
            if "overflow" not in str(error):
                raise
            raise self.diverged(f"A step of epoch {self.current_epoch} is not a finite number") from error

    def embed_profiles(self, batch: dict[str, Any]) -> Tensor:
        """(N, E) embeddings of a gallery's profiles, of `MatchData.gallery_batch`; the module is in eval mode."""
        try:
            e_NE = embed_profiles(self.head, self.features(batch), batch["photo_profile"], batch["num_left"])
        except UserError as error:
            if not self.num_logged:  # not trained in this run
                raise
            raise self.diverged(f"{str(error).rstrip('.')}. If it is not too small") from error
        if self.num_logged and not e_NE.isfinite().all():
            raise self.diverged(f"After epoch {self.current_epoch} the head gives values that are not finite numbers")
        return e_NE

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        e_NE = self.embed_profiles(batch)
        values = self.retrieval(e_NE, batch) | self.validation_loss(e_NE, batch)
        values["effective_rank"] = float(effective_rank(e_NE))
        self.log_dict({f"val/{name}": value for name, value in values.items()}, batch_size=1, sync_dist=True)

    def retrieval(self, e_NE: Tensor, batch: dict[str, Any]) -> dict[str, float]:
        """mrr, recall@k and the other retrieval metrics over a gallery."""
        num_left, items = batch["num_left"], batch["items"]
        if num_left:
            left, right = e_NE[:num_left], e_NE[num_left:]
            ks, _ = choose_ks(None, self.ks, min(len(left), len(right)))
            return means(couple_ranks(left, right, items, known=batch["known"], block=self.block), ks)
        ks, _ = choose_ks(None, self.ks, len(e_NE) - 1)
        return means(style_ranks(e_NE, items, ks=ks, people=batch["known"], block=self.block), ks)

    def validation_loss(self, e_NE: Tensor, batch: dict[str, Any]) -> dict[str, float]:
        """The loss and its logs over all items of a gallery, as if they were one batch (or `loss_batches`)."""
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

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """By the norm over all parameters; Lightning's own refuses fused optimizers under any mixed precision."""
        if gradient_clip_val:
            nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)

    def configure_optimizers(self) -> Any:
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        if not parameters:
            raise UserError("head=identity has nothing to train: it is the frozen baseline, use style_match.evaluate.")
        optimizer = self.make_optimizer(parameters)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self.make_scheduler(optimizer), "interval": "epoch"},
        }


def embed_profiles(head: nn.Module, features: Tensor, photo_profile: Tensor, num_left: int) -> Tensor:
    """(N, E) float32 embeddings of profiles: the mean over the photos of each, brought to unit length.

    Args:
        head: in eval mode.
        features: (P, D) of all their photos.
        photo_profile: (P,) long on the CPU, the position from 0 to N - 1 of each photo's profile.
        num_left: how many profiles, the first ones, are on the left of couples, all others on the right; 0 for styles.

    Raises:
        UserError: the head gives zero for a photo.
    """
    return embed(head, features, photo_profile, (photo_profile >= num_left).long() if num_left else None)


def effective_rank(embeddings: Tensor) -> Tensor:
    """Exponential of the entropy of the singular values' distribution of (N, E) embeddings, from 1 to min(N, E).

    O. Roy, M. Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007, definition 1.
    """
    e = embeddings.detach().double()
    gram = e.T @ e if len(e) > e.shape[1] else e @ e.T  # its eigenvalues are the squares of the singular values
    share = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    share = share / share.sum()
    return torch.exp(-torch.special.xlogy(share, share).sum())
