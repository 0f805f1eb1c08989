"""Check the exported backbone against the trained model and write into README.md what it says about new pictures."""

import csv
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer, Qwen3VLForConditionalGeneration

from style_match.synthetic.captions import caption

from .pictures import patches
from .samples import chat_prompt, image_placeholder

if TYPE_CHECKING:
    from .pretrain import Pretraining

HERE = Path(__file__).parent
OUTPUT = HERE.parents[1] / "style_match" / "backbone" / "tiny"
NEW_TOKENS = 96
BATCH = 64
# Reading weights stored in bfloat16 into a float32 model is exact, so only the order of summation differs.
TOLERANCE = 1e-4


@torch.inference_mode()
def finish(run: "Pretraining") -> None:
    """`run` is a `Pretraining` that has exported. Raises AssertionError if the export is not the trained model."""
    for path in OUTPUT.iterdir():
        path.chmod(0o644)
    difference = _largest_difference(run, OUTPUT)
    captions, hits = _captions(run, OUTPUT)
    _write_readme(run, captions, hits, difference)


def _held_out(run: "Pretraining", start: int, stop: int, prompt: str) -> dict[str, torch.Tensor]:
    """Model inputs of held-out pictures, ready for generation."""
    first, drawing = run.recipe["pictures"]["num_train"], run.recipe["pictures"]
    pictures = np.array(run.pictures[first + start : first + stop])
    user = image_placeholder(drawing["size_px"], run.vision) + prompt
    input_ids = run.tokenizer([chat_prompt(user)] * len(pictures), return_tensors="pt").input_ids
    side = drawing["size_px"] // run.vision["patch_size"]
    return {
        "input_ids": input_ids,
        "attention_mask": torch.ones_like(input_ids),
        "mm_token_type_ids": (input_ids == run.model.config.image_token_id).int(),
        "pixel_values": patches(pictures, run.vision),
        "image_grid_thw": torch.tensor([[1, side, side]] * len(pictures)),
    }


def _largest_difference(run: "Pretraining", folder: Path) -> float:
    """Largest relative difference of a hidden state between the trained model and the reloaded export.

    The comparison that must be exact is with the trained weights rounded to bfloat16; it is asserted.
    """
    inputs = _held_out(run, 0, 8, run.recipe["prompt"]["en"])
    reloaded = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    exported = reloaded(**inputs, use_cache=False).last_hidden_state
    run.model.eval()
    trained = run.model.model(**inputs, use_cache=False).last_hidden_state
    full = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    run.model.load_state_dict({name: tensor.bfloat16().float() for name, tensor in full.items()})
    rounded = run.model.model(**inputs, use_cache=False).last_hidden_state
    run.model.load_state_dict(full)
    assert torch.allclose(exported, rounded, atol=TOLERANCE, rtol=TOLERANCE), "the export is not the trained model"
    return ((exported - trained).norm(dim=-1) / trained.norm(dim=-1)).max().item()


def _captions(run: "Pretraining", folder: Path) -> tuple[list[tuple[str, str]], dict[str, float]]:
    """Some (true, generated) captions, and how often each part of a true caption is generated."""
    model = Qwen3VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    examples, hits = [], {}
    for language, prompt in run.recipe["prompt"].items():
        pairs = []
        for start in range(0, run.recipe["pictures"]["num_held_out"], BATCH):
            inputs = _held_out(run, start, start + BATCH, prompt)
            output = model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
            said = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
            first = run.recipe["pictures"]["num_train"] + start
            pairs += [(caption(run.looks[first + row], language), text) for row, text in enumerate(said)]
        examples += pairs[: run.recipe["num_sample_captions"]]
        hits[language] = {
            name: float(np.mean([true.split(", ")[part] in said.split(", ") for true, said in pairs]))
            for part, name in enumerate(("quality", "shot", "garments", "look", "light", "background"))
        }
    return examples, hits


def _write_readme(
    run: "Pretraining", captions: list[tuple[str, str]], hits: dict[str, dict[str, float]], difference: float
) -> None:
    with open(HERE / "log.csv", newline="") as file:
        log = list(csv.DictReader(file))
    shown = [row for row in log if int(row["step"]) % 1500 == 0 or row is log[-1]]
    last = log[-1]
    lines = [
        f"{sum(p.numel() for p in run.model.parameters()):,} parameters, {int(last['samples']):,} samples in "
        f"{float(last['seconds']) / 60:.0f} minutes ({int(last['samples']) / float(last['seconds']):.0f} a second).",
        "",
        "| samples | minutes | loss | held-out loss |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {int(row['samples']):,} | {float(row['seconds']) / 60:.0f} | {row['loss']} | {row['held_out_loss']} |"
        for row in shown
    ]
    lines += [
        "",
        "Loss is nats a token of the assistant's text (all tasks, mean since the row before in log.csv), held-out loss "
        f"that of English captions of {run.recipe['pictures']['num_held_out']} pictures never trained on.",
        "",
        "Share of held-out pictures whose greedy caption has this part of the true one:",
        "",
        "| | " + " | ".join(hits["en"]) + " |",
        "|---|" + "---|" * len(hits["en"]),
    ]
    for language, parts in hits.items():
        lines.append(f"| {language} | " + " | ".join(f"{share:.2f}" for share in parts.values()) + " |")
    lines += [
        "",
        f"Storing the weights in bfloat16 moves a hidden state by at most {difference:.1%} of its norm.",
        "",
        "Held-out pictures, the true caption and under it the generated one:",
        "",
    ]
    for true, said in captions:
        lines += [f"- {true}", f"  - {said}"]
    readme = HERE / "README.md"
    results = "<!-- results -->\n" + "\n".join(lines) + "\n<!-- /results -->"
    text = re.sub(r"<!-- results -->.*<!-- /results -->", lambda _: results, readme.read_text(), flags=re.DOTALL)
    readme.write_text(text)
