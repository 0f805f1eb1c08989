"""The parts of the benchmark of extraction; all of it where its rivals are installed (`make setup VERSIONS=bench`)."""

import json
import runpy
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from style_match.backbone import extractor as extraction
from style_match.backbone.qwen3_vl import Qwen3VL
from style_match.data.prompt import render

BENCHMARKS = Path(__file__).parents[3] / "experiments" / "benchmarks"


@pytest.mark.parametrize("size", [(200, 130), (64, 64), (90, 500)])
def test_operations_are_those_that_torch_counts(part, tmp_path, size):
    runpy.run_path(str(part("measure").RANDOM_CHECKPOINT))["make"](tmp_path)
    backbone = Qwen3VL(
        folder=tmp_path,
        dtype="fp32",
        attention="eager",
        fused_patch_embedding=True,
        image_backend="pil",
        min_pixels=4096,
        max_pixels=16384,
        device="cpu",
        layer=None,
    )
    options = dict(image=True, metadata=None, system=None, template="{instruction}", leave_out=())
    inputs = backbone.preprocess([Image.new("RGB", size)], [render(instruction="Describe.", **options)])
    with FlopCounterMode(display=False) as counter:
        backbone.hidden(inputs)
    told = part("extraction_flops").model_flops(
        backbone.model.config, len(inputs["pixel_values"]), inputs["input_ids"].shape[1]
    )
    assert told == counter.get_total_flops() > 0


def test_padding_is_what_a_batch_lacks_to_its_longest(part):
    padded_share = part("extraction_gauge").padded_share
    assert padded_share([10, 20, 20, 10], 40) == 0
    assert padded_share([10, 30, 20], 60) == pytest.approx(1 - 60 / 70)  # 30 and 20 together, 10 alone
    assert padded_share([5, 10], 20) == pytest.approx(1 - 15 / 20)


def test_waiting_is_for_the_first_batch_and_for_slow_photos(part):
    def load(seconds):
        time.sleep(seconds)
        return seconds

    with ThreadPoolExecutor(1) as threads, part("extraction_gauge").waiting() as waited:
        batches = [(number, [seconds]) for number, seconds in enumerate((0.2, 0.0, 0.4))]
        ahead = extraction.prepared_ahead(threads, load, lambda batch, loaded: loaded[0].result(), batches, 1)
        given = [prepared for _, prepared in ahead if not time.sleep(0.1)]
    assert given == [0.2, 0.0, 0.4] and len(waited) == 3
    assert waited[0] > 0.15 and waited[2] > 0.1


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells peaks")
def test_peak_memory_is_that_of_the_run(part):
    peak_memory = part("extraction_gauge").peak_memory
    peaks = [peak_memory(lambda: len(b"x" * 50_000_000), torch.device("cpu")) for _ in range(2)]
    assert all(45e6 < peak < 60e6 for peak in peaks)


def test_the_part_runs_and_all_ways_give_the_same(tmp_path):
    pytest.importorskip("torchvision", reason="needs make setup VERSIONS=bench")
    pytest.importorskip("sentence_transformers", reason="needs make setup VERSIONS=bench")
    command = [sys.executable, BENCHMARKS / "run.py", "extraction", "--small", "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "extraction.json").read_text(encoding="utf-8"))
    against = {row["against"] for row in content["comparisons"]}
    assert {"its forward and poolings alone", "sentence-transformers' encode"} <= against
    assert len(content["checks"]) == 8
    assert [growth["sizes"] for growth in content["growth"]] == [[2, 3, 4]]
