"""Pretrain the tiny Qwen3-VL: `python -m experiments.tiny_backbone.pretrain --scratch FOLDER`.

Teaches a Qwen3-VL of some 2.8 million parameters to caption the drawn figures, so that the demo's frozen features mean
something. All numbers are in recipe.yaml. Killed and started again, it goes on from the scratch folder's checkpoint;
after the last step it only exports and writes the README's results again.
"""

import argparse
import csv
import math
import os
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image
from torch.nn.functional import cross_entropy

from style_match.synthetic.captions import caption, couple_metadata, query, style_metadata

from .finish import OUTPUT, finish
from .hub_format import build_model, export, image_processor, train_tokenizer
from .pictures import draw_pictures, patches, pretraining_look
from .samples import IGNORED, SampleMaker, chat_prompt, collate

HERE = Path(__file__).parent


class Pretraining:
    """The state of one run: model, optimiser, step, and the rows of the log."""

    def __init__(self, *, recipe: dict, scratch: Path, num_workers: int) -> None:
        self.recipe, self.scratch, self.training = recipe, scratch, recipe["training"]
        self.vision = recipe["model"]["vision"]
        self.num_steps = self.training["num_samples"] // self.training["batch_size"]
        drawing = recipe["pictures"]
        self.pictures = draw_pictures(scratch, drawing, num_workers)
        self.looks = [pretraining_look(index, drawing) for index in range(len(self.pictures))]
        self.processor = image_processor(drawing["size_px"], self.vision)
        self._check_patches()
        self.tokenizer = train_tokenizer(self._corpus(), recipe["tokenizer"]["vocab_size"])
        self._check_chat_template()
        self.model = build_model(recipe["model"], self.tokenizer, recipe["seed"])
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=self.training["learning_rate"],
            weight_decay=self.training["weight_decay"],
            betas=tuple(self.training["betas"]),
        )
        self.maker = SampleMaker(recipe=recipe)
        self.step, self.seconds, self.rows = 0, 0.0, []
        self.losses: dict[str, list[float]] = defaultdict(list)

    def _corpus(self) -> list[str]:
        lines = [chat_prompt(prompt) for prompt in self.recipe["prompt"].values()]
        for index, look in enumerate(self.looks[: self.recipe["tokenizer"]["num_looks"]]):
            rng = np.random.default_rng(index)
            lines += [caption(look), caption(look, "ko"), query(look, rng, "en"), query(look, rng, "ko")]
            attributes = couple_metadata(look) | style_metadata(look)
            # Class names would earn tokens of their own, and they are never read.
            lines += [f"{key}: {value}\n" for key, value in attributes.items() if key != "fashion_style"]
        return lines

    def _check_patches(self) -> None:
        few = np.array(self.pictures[:3])
        expected = self.processor([Image.fromarray(picture) for picture in few], return_tensors="pt").pixel_values
        assert torch.allclose(patches(few, self.vision), expected, atol=1e-5), "patches differ from the processor's"

    def _check_chat_template(self) -> None:
        content = [{"type": "image"}, {"type": "text", "text": self.recipe["prompt"]["en"]}]
        turn = [{"role": "user", "content": content}]
        rendered = self.tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        user = f"<|vision_start|><|image_pad|><|vision_end|>{self.recipe['prompt']['en']}"
        assert rendered == chat_prompt(user), rendered

    def run(self) -> None:
        """Train from the last checkpoint to the last step and export."""
        self._load_checkpoint()
        self._export()
        saved = exported = started = time.monotonic() - self.seconds
        while self.step < self.num_steps:
            self._train_step()
            now = time.monotonic()
            self.seconds = now - started
            last = self.step == self.num_steps
            if self.step % self.recipe["log_every_steps"] == 0 or last:
                self._log()
            if now - saved > self.recipe["checkpoint_every_s"] or last:
                self._save_checkpoint()
                saved = now
            if now - exported > self.recipe["export_every_s"] or last:
                self._export()
                exported = now

    def learning_rate(self) -> float:
        """Linear warm-up, then a cosine down to a share of the peak."""
        floor = self.training["final_learning_rate"]
        warmth = min(1.0, (self.step + 1) / self.training["warmup_steps"])
        cosine = 0.5 * (1 + math.cos(math.pi * self.step / self.num_steps))
        return self.training["learning_rate"] * warmth * (cosine * (1 - floor) + floor)

    def _batch(self) -> tuple[list, dict[str, torch.Tensor]]:
        """The samples of a step depend on the seed and the step alone, so a resumed run sees the same ones."""
        rng = np.random.default_rng([self.recipe["seed"], self.step])
        tasks = self.recipe["tasks"]
        shares = np.array([task["share"] for task in tasks.values()])
        first = list(tasks)[int(rng.choice(len(tasks), p=shares / shares.sum()))]
        group = [name for name, task in tasks.items() if task["group"] == tasks[first]["group"]]
        group_shares = np.array([tasks[name]["share"] for name in group])
        num_train, size = self.recipe["pictures"]["num_train"], self.training["batch_size"]
        chosen = np.sort(rng.choice(num_train, size, replace=False))
        names = rng.choice(group, size, p=group_shares / group_shares.sum())
        samples = [
            self.maker.make(str(name), int(picture), self.looks[picture], rng)
            for name, picture in zip(names, chosen, strict=True)
        ]
        return samples, self._inputs(samples)

    def _inputs(self, samples: list) -> dict[str, torch.Tensor]:
        inputs = collate(samples, self.tokenizer)
        if samples[0].has_image:
            few = np.array(self.pictures[[sample.picture for sample in samples]])
            side = self.recipe["pictures"]["size_px"] // self.vision["patch_size"]
            inputs["pixel_values"] = patches(few, self.vision)
            inputs["image_grid_thw"] = torch.tensor([[1, side, side]] * len(samples))
        return inputs

    def _token_losses(self, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Losses of the labelled tokens and the row each is in; logits are computed for these tokens alone."""
        labels = inputs.pop("labels")[:, 1:]
        hidden = self.model.model(**inputs, use_cache=False).last_hidden_state[:, :-1]
        labelled = labels != IGNORED
        logits = self.model.lm_head(hidden[labelled])
        return cross_entropy(logits, labels[labelled], reduction="none"), labelled.nonzero()[:, 0]

    def _train_step(self) -> None:
        samples, inputs = self._batch()
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        self.model.train()
        losses, rows = self._token_losses(inputs)
        losses.mean().backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.training["clip_norm"])
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        sums = torch.zeros(len(samples)).index_add_(0, rows, losses.detach())
        for sample, loss in zip(samples, (sums / rows.bincount(minlength=len(samples))).tolist(), strict=True):
            self.losses[sample.task].append(loss)

    @torch.inference_mode()
    def held_out_loss(self) -> float:
        """Mean loss a token of the English captions of pictures never trained on."""
        self.model.eval()
        num_train, size = self.recipe["pictures"]["num_train"], self.training["batch_size"]
        losses = []
        for start in range(num_train, len(self.pictures), size):
            indices = range(start, min(start + size, len(self.pictures)))
            rng = np.random.default_rng(0)
            samples = [self.maker.make("image_to_english", index, self.looks[index], rng) for index in indices]
            losses.append(self._token_losses(self._inputs(samples))[0])
        return torch.cat(losses).mean().item()

    def _log(self) -> None:
        every = [loss for losses in self.losses.values() for loss in losses]
        row = {
            "step": self.step,
            "samples": self.step * self.training["batch_size"],
            "seconds": round(self.seconds, 1),
            "learning_rate": round(self.learning_rate(), 7),
            "loss": round(float(np.mean(every)), 4),
            "held_out_loss": round(self.held_out_loss(), 4),
        }
        for task in self.recipe["tasks"]:
            row[task] = round(float(np.mean(self.losses[task])), 4) if self.losses[task] else ""
        self.losses.clear()
        self.rows.append(row)
        print(row, flush=True)
        with open(HERE / "log.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            writer.writeheader()
            writer.writerows(self.rows)

    def _save_checkpoint(self) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "rows": self.rows,
            "losses": dict(self.losses),
            "recipe": self.recipe,
        }
        path = self.scratch / "checkpoint.pt"
        torch.save(state, path.with_suffix(".writing"))
        os.replace(path.with_suffix(".writing"), path)

    def _load_checkpoint(self) -> None:
        path = self.scratch / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        if state["recipe"] != self.recipe:
            raise SystemExit(f"{path} was made by another recipe.yaml: remove it or name another --scratch")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds, self.rows = state["step"], state["seconds"], state["rows"]
        self.losses.update(state["losses"])

    def _export(self) -> None:
        export(self.model, self.tokenizer, self.processor, OUTPUT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, required=True, help="folder for pictures (1.2 GB) and checkpoints")
    parser.add_argument("--num-workers", type=int, default=2, help="processes that draw")
    arguments = parser.parse_args()
    arguments.scratch.mkdir(parents=True, exist_ok=True)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    recipe = yaml.safe_load((HERE / "recipe.yaml").read_text())
    torch.set_num_threads(recipe["training"]["num_threads"])
    run = Pretraining(recipe=recipe, scratch=arguments.scratch, num_workers=arguments.num_workers)
    num_parameters = sum(parameter.numel() for parameter in run.model.parameters())
    print(f"{num_parameters:,} parameters, {len(run.tokenizer)} tokens, {run.num_steps} steps", flush=True)
    run.run()
    finish(run)


if __name__ == "__main__":
    main()
