"""The pages of the repository, and their commands."""

import re
from pathlib import Path

from experiments.docs.build import pages

ROOT = Path(__file__).resolve().parents[2]
ALL = {str(page.relative_to(ROOT)): page for page in pages()}
# pages whose commands are run word for word; those below experiments/ repeat measurements of hours
RUN = tuple(name for name in ALL if not name.startswith("experiments/") or name == "experiments/README.md")
# lines that are not run as they are, each with what is done in their place; any other line must be a step
OTHERS = {
    ". .venv/bin/activate": "the tests' Python is on the path",
    "make demo": "what make would run in .venv is run",
    "make test": "what make would run in .venv is looked at: these are the tests",
}
REAL_BACKBONE = re.compile(r"backbone=qwen3_vl|experiment=paper")


def commands(page: str) -> list[str]:
    blocks = re.findall(r"^```bash\n(.*?)^```", ALL[page].read_text(encoding="utf-8"), re.M | re.S)
    lines = [re.sub(r"\s+#.*", "", line).strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]
