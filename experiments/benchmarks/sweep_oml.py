"""Training steps in open-metric-learning with the frozen backbone in every step, as its README writes a loop."""

import time
from pathlib import Path

import torch
from oml.interfaces.models import IExtractor
from oml.losses.triplet import TripletLossWithMiner
from oml.samplers.balance import BalanceSampler
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import AutoImageProcessor, AutoModel


class Photos(Dataset):
    """The patches of photos and the numbers of their couples."""

    def __init__(self, paths: list[Path], labels: list[int], checkpoint: Path, max_pixels: int):
        self.paths, self.labels = paths, labels
        self.processor = AutoImageProcessor.from_pretrained(
            checkpoint, backend="pil", min_pixels=max_pixels, max_pixels=max_pixels
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, item: int) -> dict:
        made = self.processor(images=[Image.open(self.paths[item]).convert("RGB")], return_tensors="pt")
        return {
            "input_tensors": made["pixel_values"],
            "image_grid_thw": made["image_grid_thw"][0],
            "labels": self.labels[item],
        }


class Extractor(IExtractor):
    """Frozen Qwen3-VL, mean over its hidden states, and the trained head."""

    def __init__(self, checkpoint: Path, hidden_dim: int, dim: int):
        super().__init__()
        self.backbone = AutoModel.from_pretrained(checkpoint).eval().requires_grad_(False)
        width = self.backbone.config.text_config.hidden_size
        self.head = nn.Sequential(
            nn.Linear(width, hidden_dim, bias=False),
            nn.BatchNorm1d(hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, dim, bias=False),
        )
        self.dim = dim

    @property
    def feat_dim(self) -> int:
        return self.dim

    def forward(self, patches: Tensor, grids: Tensor) -> Tensor:
        """Turn (B, P, patch) patches of photos of one size and their (B, 3) grids into (B, E) of unit length."""
        config = self.backbone.config
        tokens = int(grids[0].prod()) // config.vision_config.spatial_merge_size**2
        start, image, end = config.vision_start_token_id, config.image_token_id, config.vision_end_token_id
        ids = torch.tensor([[start, *[image] * tokens, end]]).repeat(len(patches), 1)
        with torch.no_grad():
            hidden = self.backbone(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                mm_token_type_ids=(ids == image).int(),
                pixel_values=patches.flatten(0, 1),
                image_grid_thw=grids,
                use_cache=False,
            ).last_hidden_state
        return nn.functional.normalize(self.head(hidden.mean(1)), dim=1)


class Loop:
    """Steps over batches of `batch_size` couples.

    Args:
        couples: Photos (left, right) of each couple.
        checkpoint: Folder of a Qwen3-VL.
        batch_size: Couples of a batch.
        max_pixels: Pixels of every photo.
    """

    def __init__(self, couples: list[tuple[Path, Path]], checkpoint: Path, *, batch_size: int, max_pixels: int):
        labels = [number for number in range(len(couples)) for _ in range(2)]
        self.photos = Photos([photo for couple in couples for photo in couple], labels, checkpoint, max_pixels)
        self.sampler = BalanceSampler(labels, n_labels=batch_size, n_instances=2)
        self.extractor = Extractor(checkpoint, 2048, 512).train()
        self.extractor.backbone.eval()
        self.criterion = TripletLossWithMiner(margin=0.5, need_logs=False)
        self.optimizer = torch.optim.AdamW(self.extractor.head.parameters(), lr=5e-5, weight_decay=1e-3)

    def seconds(self, steps: int) -> float:
        """Return the seconds of so many steps, reading the photos included."""
        batches = iter(DataLoader(self.photos, batch_sampler=self.sampler))
        began = time.perf_counter()
        for _ in range(steps):
            batch = next(batches)
            embeddings = self.extractor(batch["input_tensors"], batch["image_grid_thw"])
            loss = self.criterion(embeddings, batch["labels"])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return time.perf_counter() - began
