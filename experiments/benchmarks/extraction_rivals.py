"""Other ways to the mean over a photo's last hidden states, as the documentation of each shows it."""

from collections.abc import Sequence
from pathlib import Path

import torch
from measure import ROOT
from omegaconf import OmegaConf
from PIL import Image
from sentence_transformers import SentenceTransformer
from transformers import AutoImageProcessor, AutoProcessor, Qwen3VLForConditionalGeneration

from style_match.backbone.extractor import Row

NEWLINE = "\n"  # which the chat template of a checkpoint adds to our prompt


class Loop:
    """The model card of Qwen3-VL: `Qwen3VLForConditionalGeneration` and its processor, one photo at a time.

    Without `logits` only its base model runs: no vocabulary logits and not all hidden states. The image processor is
    torchvision's; `pil` is Pillow's.
    """

    def __init__(self, folder: Path, dtype: torch.dtype, device: torch.device, max_pixels: int):
        self.device = device
        self.model = Qwen3VLForConditionalGeneration.from_pretrained(folder, dtype=dtype).to(device).eval()
        self.processors = {}
        for backend in ("torchvision", "pil"):
            self.processors[backend] = AutoProcessor.from_pretrained(folder)
            self.processors[backend].image_processor = AutoImageProcessor.from_pretrained(folder, backend=backend)
            limit_size(self.processors[backend].image_processor, max_pixels)

    @torch.inference_mode()
    def __call__(self, rows: Sequence[Row], *, logits: bool = True, backend: str = "torchvision") -> torch.Tensor:
        """Return (N, D) float32."""
        vectors = []
        for row in rows:
            image = Image.open(row.path).convert("RGB")
            inputs = self.processors[backend](text=[row.prompt], images=[image], return_tensors="pt").to(self.device)
            if logits:
                hidden = self.model(**inputs, output_hidden_states=True).hidden_states[-1]
            else:
                hidden = self.model.model(**inputs).last_hidden_state
            vectors.append(hidden[0].float().mean(0).cpu())
        return torch.stack(vectors)


class SentenceTransformers:
    """`SentenceTransformer(folder).encode`, which adds a mean pooling to a checkpoint without a pooling."""

    def __init__(self, folder: Path, dtype: torch.dtype, device: torch.device, max_pixels: int):
        self.instruction = OmegaConf.load(ROOT / "conf" / "prompt" / "image.yaml").instruction
        self.model = SentenceTransformer(str(folder), device=str(device), model_kwargs={"dtype": dtype})
        limit_size(self.model[0].processor.image_processor, max_pixels)

    def __call__(self, rows: Sequence[Row], batch_size: int) -> torch.Tensor:
        """Return (N, D) float32."""
        photos = [{"image": str(row.path), "text": self.instruction} for row in rows]
        options = {"batch_size": batch_size, "convert_to_tensor": True, "show_progress_bar": False}
        return self.model.encode(photos, **options).float().cpu()


def limit_size(processor: AutoImageProcessor, max_pixels: int) -> None:
    least = min(processor.size["shortest_edge"], max_pixels)
    processor.size = {"shortest_edge": least, "longest_edge": max_pixels}
