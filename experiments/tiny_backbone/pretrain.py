"""Pretrain the tiny Qwen3-VL on drawn figures: `python -m experiments.tiny_backbone.pretrain --scratch FOLDER`.

Three stages: the vision tower predicts visible attributes, the text model learns the language of the captions without
images, then both together write captions. All numbers are in recipe.yaml. An interrupted run continues from the last
checkpoint of its stage in the scratch folder.
"""

import argparse
import os
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import Qwen2Tokenizer, Qwen2VLImageProcessorPil, Qwen3VLForConditionalGeneration

from style_match.synthetic.captions import caption, couple_metadata, query, style_metadata

from .attributes import AttributeHead, Targets, targets
from .finish import OUTPUT, finish
from .hub_format import build_model, export, image_processor, train_tokenizer, whiten_patches
from .pictures import Drawings, load_drawings, patches, vision_inputs
from .samples import IGNORED, Sample, SampleMaker, chat_prompt, collate, num_image_tokens

HERE = Path(__file__).parent
EVALUATION_BATCH = 50


@dataclass
class Materials:
    """What all stages share: recipe, drawings with their attributes, tokenizer, image processor and model."""

    recipe: dict
    scratch: Path
    drawings: Drawings
    targets: Targets
    tokenizer: Qwen2Tokenizer
    processor: Qwen2VLImageProcessorPil
    model: Qwen3VLForConditionalGeneration

    @classmethod
    def prepare(cls, recipe: dict, scratch: Path, num_workers: int) -> "Materials":
        """Draw the pictures, train the tokenizer and build an untrained model."""
        drawings = load_drawings(scratch, recipe["pictures"], num_workers)
        tokenizer = train_tokenizer(_corpus(recipe, drawings), recipe["tokenizer"]["vocab_size"])
        processor = image_processor(recipe["pictures"]["input_px"], recipe["model"]["vision"])
        model = build_model(recipe["model"], tokenizer, recipe["seed"], recipe["attention_shift"])
        whitening = dict(recipe["patch_whitening"])
        some = np.array(drawings.pictures[: whitening.pop("num_pictures")])
        whiten_patches(model.model.visual, patches(some, recipe["model"]["vision"]), **whitening)
        materials = cls(recipe, scratch, drawings, targets(drawings.looks), tokenizer, processor, model)
        materials._check()
        return materials

    @property
    def vision(self) -> dict:
        return self.recipe["model"]["vision"]

    def _check(self) -> None:
        """Assert that patches and prompts are those of the exported processor and chat template."""
        few = np.array(self.drawings.pictures[:3])
        expected = self.processor([Image.fromarray(picture) for picture in few], return_tensors="pt").pixel_values
        assert torch.allclose(patches(few, self.vision), expected, atol=1e-5), "patches differ from the processor's"
        content = [{"type": "image"}, {"type": "text", "text": self.recipe["prompt"]["en"]}]
        turn = [{"role": "user", "content": content}]
        rendered = self.tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        user = f"<|vision_start|><|image_pad|><|vision_end|>{self.recipe['prompt']['en']}"
        assert rendered == chat_prompt(user), rendered


def _corpus(recipe: dict, drawings: Drawings) -> list[str]:
    lines = [chat_prompt(prompt) for prompt in recipe["prompt"].values()]
    for index, look in enumerate(drawings.looks[: recipe["tokenizer"]["num_looks"]]):
        rng = np.random.default_rng(index)
        lines += [caption(look), caption(look, "ko"), query(look, rng, "en"), query(look, rng, "ko")]
        attributes = couple_metadata(look) | style_metadata(look)
        # The names of the classes are never read; they need no tokens.
        lines += [f"{key}: {value}\n" for key, value in attributes.items() if key != "fashion_style"]
    return lines


class Stage:
    """One stage of the training, with schedule, log and checkpoint.

    Args:
        materials: Materials of the run; its model is trained.
        heads: Modules that are trained with the model and are not exported.

    Attributes:
        name: Name in recipe.yaml; set by subclasses.
    """

    name: str

    def __init__(self, materials: Materials, heads: nn.Module) -> None:
        self.materials, self.recipe, self.model = materials, materials.recipe, materials.model
        self.options, self.heads = self.recipe["stages"][self.name], heads
        self.num_steps = self.options["num_samples"] // self.options["batch_size"]
        self.parameters = [*self.trained().parameters(), *heads.parameters()]
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            weight_decay=self.recipe["optimizer"]["weight_decay"],
            betas=tuple(self.recipe["optimizer"]["betas"]),
        )
        self.path = materials.scratch / f"{self.name}.pt"
        self.step, self.seconds, self.rows = 0, 0.0, []
        self.losses: dict[str, list[float]] = defaultdict(list)

    def trained(self) -> nn.Module:
        """Return the part of the model that is trained."""
        return self.model

    def loss(self, rng: np.random.Generator) -> Tensor:
        """Return the loss of a batch; `self.losses` receives the values to log."""
        raise NotImplementedError

    def evaluate(self) -> dict[str, float]:
        """Return numbers on held-out drawings to log."""
        raise NotImplementedError

    def run(self) -> None:
        """Train from the last checkpoint to the last step."""
        self.load()
        started = time.monotonic() - self.seconds
        saved = time.monotonic()
        while self.step < self.num_steps:
            self._train_step()
            now = time.monotonic()
            self.seconds = now - started
            is_last = self.step == self.num_steps
            if self.step % self.recipe["log_every_steps"] == 0 or is_last:
                self._log()
            if now - saved > self.recipe["checkpoint_every_s"] or is_last:
                self._save()
                saved = now

    def learning_rate(self) -> float:
        """Return the rate of the step: linear warm-up, constant, linear decay to 0."""
        options = self.recipe["optimizer"]
        warmup = (self.step + 1) / options["warmup_steps"]
        decay = (self.num_steps - self.step) / (options["decay_share"] * self.num_steps)
        return self.options["learning_rate"] * min(1.0, warmup, decay)

    def _train_step(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        self.model.train()
        # The batch depends on seed, stage and step, so that a resumed run sees the same batches.
        loss = self.loss(np.random.default_rng([self.recipe["seed"], len(self.name), self.step]))
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, self.recipe["optimizer"]["clip_norm"])
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.losses["loss"].append(loss.item())
        self.step += 1

    def _log(self) -> None:
        self.model.eval()
        with torch.inference_mode():
            held_out = self.evaluate()
        row = {
            "stage": self.name,
            "samples": self.step * self.options["batch_size"],
            "seconds": round(self.seconds, 1),
            "learning_rate": round(self.learning_rate(), 7),
            **{name: round(float(np.mean(values)), 4) for name, values in self.losses.items()},
            **{name: round(value, 4) for name, value in held_out.items()},
        }
        self.losses.clear()
        self.rows.append(row)
        print(row, flush=True)

    def _save(self) -> None:
        state = {
            "model": self.model.state_dict(),
            "heads": self.heads.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "rows": self.rows,
            "losses": dict(self.losses),
        }
        torch.save(state, self.path.with_suffix(".writing"))
        os.replace(self.path.with_suffix(".writing"), self.path)

    def load(self) -> None:
        """Continue from the checkpoint of this stage, if there is one."""
        if self.path.exists():
            state = torch.load(self.path, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.heads.load_state_dict(state["heads"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.seconds, self.rows = state["step"], state["seconds"], state["rows"]
            self.losses.update(state["losses"])

    def choose(self, rng: np.random.Generator) -> np.ndarray:
        """Return the indices of a batch of training drawings, sorted."""
        return np.sort(rng.choice(self.materials.drawings.num_train, self.options["batch_size"], replace=False))

    def pixels(self, indices: np.ndarray, rng: np.random.Generator | None) -> dict[str, Tensor]:
        """Return the inputs of the vision tower; `rng` shifts and mirrors the pictures."""
        drawings = self.materials.drawings
        if rng is None:
            return vision_inputs(np.array(drawings.pictures[indices]), self.materials.vision)
        shifted = drawings.shifted(indices, self.recipe["max_shift_px"], rng)
        return vision_inputs(shifted, self.materials.vision)

    def held_out_batches(self) -> list[np.ndarray]:
        drawings = self.materials.drawings
        held_out = np.arange(drawings.num_train, len(drawings.looks))
        return np.array_split(held_out, -(-len(held_out) // EVALUATION_BATCH))


class VisionStage(Stage):
    """Predicts visible attributes from all image tokens side by side.

    Their mean would learn the same attributes, but from more than twice the pictures.
    """

    name = "vision"

    def __init__(self, materials: Materials) -> None:
        width = materials.recipe["model"]["text"]["hidden_size"]
        super().__init__(materials, AttributeHead(num_image_tokens(materials.recipe) * width))

    def trained(self) -> nn.Module:
        return self.model.model.visual

    def loss(self, rng: np.random.Generator) -> Tensor:
        indices = self.choose(rng)
        features_BD = self._features(self.pixels(indices, rng))
        return self.heads.loss(features_BD, self.materials.targets.rows(torch.from_numpy(indices)))

    def evaluate(self) -> dict[str, float]:
        batches = self.held_out_batches()
        features = torch.cat([self._features(self.pixels(indices, None)) for indices in batches])
        target = self.materials.targets.rows(torch.from_numpy(np.concatenate(batches)))
        return {"held_out_loss": self.heads.loss(features, target).item(), **self.heads.accuracies(features, target)}

    def _features(self, pixels: dict[str, Tensor]) -> Tensor:
        grid = pixels["image_grid_thw"]
        outputs = self.model.model.visual(pixels["pixel_values"], grid)
        # The text model adds the deepstack features to the image tokens.
        tokens = outputs.pooler_output + sum(outputs.deepstack_features)
        return tokens.view(len(grid), -1)  # (B, image tokens * D)


class ChatStage(Stage):
    """Writes captions; subclasses choose the tasks."""

    def __init__(self, materials: Materials, heads: nn.Module) -> None:
        super().__init__(materials, heads)
        self.maker = SampleMaker(recipe=self.recipe)
        self.tasks = {name: task for name, task in self.recipe["tasks"].items() if self.has_task(task)}

    def has_task(self, task: dict) -> bool:
        return True

    def loss(self, rng: np.random.Generator) -> Tensor:
        samples = self._samples(rng)
        loss, attribute_loss = self._losses(samples, self._inputs(samples, rng))
        self.losses[samples[0].task].append(loss.item())
        if attribute_loss is None:
            return loss
        self.losses["attributes"].append(attribute_loss.item())
        return loss + self.recipe["attribute_weight"] * attribute_loss

    def _samples(self, rng: np.random.Generator) -> list[Sample]:
        """Return a batch of tasks of one group."""
        shares = np.array([task["share"] for task in self.tasks.values()])
        first = list(self.tasks)[int(rng.choice(len(self.tasks), p=shares / shares.sum()))]
        group = [name for name, task in self.tasks.items() if task["group"] == self.tasks[first]["group"]]
        group_shares = np.array([self.tasks[name]["share"] for name in group])
        indices = self.choose(rng)
        names = rng.choice(group, len(indices), p=group_shares / group_shares.sum())
        looks = self.materials.drawings.looks
        return [
            self.maker.make(str(name), int(index), looks[index], rng)
            for name, index in zip(names, indices, strict=True)
        ]

    def _inputs(self, samples: list[Sample], rng: np.random.Generator | None) -> dict[str, Tensor]:
        inputs = collate(samples, self.materials.tokenizer)
        if samples[0].has_image:
            inputs |= self.pixels(np.array([sample.picture for sample in samples]), rng)
        return inputs

    def _losses(self, samples: list[Sample], inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """Return the mean loss of a token of the answers and, of samples with an image, the loss of the attributes."""
        labels = inputs.pop("labels")[:, 1:]
        hidden = self.model.model(**inputs, use_cache=False).last_hidden_state  # (B, T, D)
        labelled = labels != IGNORED
        logits = self.model.lm_head(hidden[:, :-1][labelled])  # only of the tokens that have a loss
        loss = cross_entropy(logits, labels[labelled])
        if not samples[0].has_image:
            return loss, None
        # The poolings of the demo: over the user turn up to its <|im_end|>, as features are extracted.
        is_end = inputs["input_ids"] == self.materials.tokenizer.eos_token_id
        ends = is_end.int().argmax(1)
        turn = torch.arange(hidden.shape[1]) <= ends[:, None]  # (B, T)
        mean = (hidden * turn.unsqueeze(-1)).sum(1) / turn.sum(1, keepdim=True)
        eos = hidden[torch.arange(len(hidden)), ends]
        target = self.materials.targets.rows(torch.tensor([sample.picture for sample in samples]))
        return loss, self.heads["mean"].loss(mean, target) + self.heads["eos"].loss(eos, target)

    def _held_out_loss(self, task: str) -> float:
        looks, losses = self.materials.drawings.looks, []
        for indices in self.held_out_batches():
            rng = np.random.default_rng(0)
            samples = [self.maker.make(task, int(index), looks[index], rng) for index in indices]
            losses.append(self._losses(samples, self._inputs(samples, None))[0])
        return torch.stack(losses).mean().item()


class TextStage(ChatStage):
    """Trains the text model on the tasks without images."""

    name = "text"

    def __init__(self, materials: Materials) -> None:
        super().__init__(materials, nn.ModuleDict())

    def trained(self) -> nn.Module:
        return self.model.model.language_model  # its embeddings are tied to the output layer

    def has_task(self, task: dict) -> bool:
        return task["group"] == "text"

    def evaluate(self) -> dict[str, float]:
        return {"held_out_loss": self._held_out_loss("metadata_to_english")}


class CaptionStage(ChatStage):
    """Trains the model that begins with the vision tower and the text model of the other stages."""

    name = "caption"

    def __init__(self, materials: Materials) -> None:
        width = materials.recipe["model"]["text"]["hidden_size"]
        super().__init__(materials, nn.ModuleDict({"mean": AttributeHead(width), "eos": AttributeHead(width)}))

    def load(self) -> None:
        if self.path.exists():
            super().load()
            return
        for stage, part in ((VisionStage, self.model.model.visual), (TextStage, self.model.model.language_model)):
            state = torch.load(self.materials.scratch / f"{stage.name}.pt", weights_only=True)["model"]
            prefix = next(name for name, module in self.model.named_modules() if module is part) + "."
            part.load_state_dict(
                {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
            )

    def evaluate(self) -> dict[str, float]:
        materials = self.materials
        export(self.model, materials.tokenizer, materials.processor, materials.scratch / "tiny")
        return {"held_out_loss": self._held_out_loss("image_to_english")}


STAGES = {stage.name: stage for stage in (VisionStage, TextStage, CaptionStage)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, required=True, help="folder for pictures (1.4 GB) and checkpoints")
    parser.add_argument("--stage", choices=STAGES, nargs="*", default=list(STAGES), help="stages to run, default all")
    parser.add_argument("--threads", type=int, default=2, help="threads, and processes that draw")
    arguments = parser.parse_args()
    arguments.scratch.mkdir(parents=True, exist_ok=True)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(arguments.threads)
    recipe = yaml.safe_load((HERE / "recipe.yaml").read_text())
    materials = Materials.prepare(recipe, arguments.scratch, arguments.threads)
    for name in arguments.stage:
        STAGES[name](materials).run()
    if "caption" in arguments.stage:
        export(materials.model, materials.tokenizer, materials.processor, OUTPUT)
        finish(materials, [row for name in STAGES for row in read_log(arguments.scratch, name)])


def read_log(scratch: Path, stage: str) -> list[dict]:
    """Return the rows that a stage has logged."""
    return torch.load(scratch / f"{stage}.pt", weights_only=True)["rows"]


if __name__ == "__main__":
    main()
