"""What benchmarks train on: synthetic couples, and a backbone of random weights whose features are 2048 wide."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

from measure import RANDOM_CHECKPOINT

# as wide as Qwen3-VL-2B's features, and else as small as the architecture allows
WIDE = {
    "vocab_size": 512,
    "hidden_size": 2048,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "mrope_section": [4, 2, 2],
}


def write_wide_checkpoint(folder: Path) -> None:
    """A random checkpoint with h in R^2048; the same weights every time."""
    runpy.run_path(str(RANDOM_CHECKPOINT))["make"](folder, text=WIDE)


def run(*words: str, cache: Path) -> str:
    """Run `python -m style_match.WORDS` to its end with a cache of its own; returns what it printed.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    env = {**os.environ, "STYLE_MATCH_CACHE": str(cache)}
    command = [sys.executable, "-m", f"style_match.{words[0]}", *words[1:], "progress=false"]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=cache)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr
