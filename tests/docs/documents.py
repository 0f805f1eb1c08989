"""The commands of README.md and CONTRIBUTING.md."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("README.md", "CONTRIBUTING.md")
# lines that are not run as they stand, each with what is done in their place; any other line must be a step
OTHERS = {
    ". .venv/bin/activate": "the tests' Python is on the path",
    "make demo": "what make would run in .venv is run",
    "make test": "what make would run in .venv is looked at: these are the tests",
}
REAL_BACKBONE = re.compile(r"backbone=qwen3_vl|experiment=paper")


def commands(document: str) -> list[str]:
    blocks = re.findall(r"^```bash\n(.*?)^```", (ROOT / document).read_text(encoding="utf-8"), re.M | re.S)
    lines = [re.sub(r"\s+#.*", "", line).strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


COMMANDS = [line for document in DOCUMENTS for line in commands(document)]
