"""Other ways to the mean over a photo's last hidden states, written as their makers' pages show it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from measure import ROOT
from omegaconf import OmegaConf
from PIL import Image

from style_match.backbone.extractor import Row


class Loop:
    """Qwen3-VL's model card: `Qwen3VLForConditionalGeneration` and its processor, one photo at a time.

    Called without `logits`, its base model alone runs: neither vocabulary logits nor all hidden states. The image
    processor is torchvision's, unless `with_backend` asks for another.
    """

    def __init__(self, folder: Path, dtype: torch.dtype, device: torch.device, max_pixels: int):
        from transformers import Qwen3VLForConditionalGeneration

        self.folder, self.device, self.max_pixels = folder, device, max_pixels
        self.model = Qwen3VLForConditionalGeneration.from_pretrained(folder, dtype=dtype).to(device).eval()
        self.processor = self._processor(None)

    def _processor(self, image_backend: str | None) -> Any:
        from transformers import AutoImageProcessor, AutoProcessor

        processor = AutoProcessor.from_pretrained(self.folder)
        if image_backend is not None:
            processor.image_processor = AutoImageProcessor.from_pretrained(self.folder, backend=image_backend)
        least = min(processor.image_processor.size["shortest_edge"], self.max_pixels)
        processor.image_processor.size = {"shortest_edge": least, "longest_edge": self.max_pixels}
        return processor

    def with_backend(self, image_backend: str) -> "Loop":
        """The same loop and weights with another image processor."""
        other = object.__new__(Loop)
        other.__dict__ |= self.__dict__ | {"processor": self._processor(image_backend)}
        return other

    @torch.inference_mode()
    def __call__(self, rows: Sequence[Row], *, logits: bool = True) -> torch.Tensor:
        """(N, D) float32."""
        vectors = []
        for row in rows:
            image = Image.open(row.path).convert("RGB")
            inputs = self.processor(text=[row.prompt], images=[image], return_tensors="pt").to(self.device)
            if logits:
                hidden = self.model(**inputs, output_hidden_states=True).hidden_states[-1]
            else:
                hidden = self.model.model(**inputs).last_hidden_state
            vectors.append(hidden[0].float().mean(0).cpu())
        return torch.stack(vectors)


class SentenceTransformers:
    """`SentenceTransformer(folder).encode`, which adds a mean pooling to a checkpoint without one of its own.

    It renders messages with the checkpoint's chat template, hence a newline after our prompt (`ENDING`).
    """

    ENDING = "\n"

    def __init__(self, folder: Path, dtype: torch.dtype, device: torch.device, max_pixels: int):
        from sentence_transformers import SentenceTransformer

        self.instruction = OmegaConf.load(ROOT / "conf" / "prompt" / "image.yaml").instruction
        self.model = SentenceTransformer(str(folder), device=str(device), model_kwargs={"dtype": dtype})
        processor = self.model[0].processor.image_processor
        least = min(processor.size["shortest_edge"], max_pixels)
        processor.size = {"shortest_edge": least, "longest_edge": max_pixels}

    def __call__(self, rows: Sequence[Row], batch_size: int) -> torch.Tensor:
        """(N, D) float32."""
        photos = [{"image": str(row.path), "text": self.instruction} for row in rows]
        options = {"batch_size": batch_size, "convert_to_tensor": True, "show_progress_bar": False}
        return self.model.encode(photos, **options).float().cpu()
