"""The measured tables of this repository: `python -m experiments.tables.tables TABLE SWEEP [report words]`.

Writes the report's table into TABLE/, adds the new runs to TABLE/results.csv, and puts the table into the pages
(`experiments/docs/build.py`).
"""

import hashlib
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from experiments.docs import build
from style_match.cli.targets import conf_dir
from style_match.reporting.runs import Run, match, read_runs

HERE = Path(__file__).resolve().parent
NAMES = ("table1", "table2", "table3", "style", "recipes", "prompts")
KEY = ["row", "seed", "data", "split_seed", "fold", "code"]


def record(name: str, sweep: Path, words: Sequence[str]) -> None:
    """Report `sweep` into the folder of a table, add its runs, renew the pages."""
    folder, results = HERE / name, HERE / name / "results.csv"
    folder.mkdir(exist_ok=True)
    report = [sys.executable, "-m", "style_match.report", f"table={name}", f"sweep={sweep}", f"out={sweep}/report"]
    subprocess.run([*report, *words], check=True)
    (folder / "table.md").write_text((sweep / "report" / f"{name}.md").read_text(encoding="utf-8"), encoding="utf-8")
    runs = pd.DataFrame(_lines(spec_of(name), read_runs(sweep)[0]), dtype=object).fillna("").astype(str)
    known = pd.read_csv(results, dtype=str, keep_default_na=False) if results.exists() else runs[:0]
    pd.concat([known, runs]).drop_duplicates(KEY).to_csv(results, index=False)
    build.main(["--no-commands"])


def spec_of(name: str) -> dict[str, Any]:
    """Return the table as conf/table defines it."""
    return OmegaConf.to_container(OmegaConf.load(conf_dir() / "table" / f"{name}.yaml")[name])


def _lines(spec: Mapping[str, Any], runs: Sequence[Run]) -> Iterator[dict[str, Any]]:
    for row in match(spec, runs):
        for (test_set, seed), run in row.runs.items():
            provenance = run.provenance
            git = provenance["git"] or {}
            config = OmegaConf.to_yaml(run.config, sort_keys=True)
            values = {metric: f"{run.metrics[row.model][metric]['value']:.6f}" for metric in spec["metrics"]}
            yield {
                "row": row.name,
                "model": row.model,
                "seed": "" if seed is None else seed,
                "data": test_set.data[:16],
                "world_seed": provenance["seeds"]["data.world_seed"],
                "split_seed": test_set.split_seed,
                "fold": "" if test_set.fold is None else test_set.fold,
                "commit": git.get("commit", ""),
                "dirty": git.get("dirty", ""),
                "code": provenance["code"][:16],
                "config": hashlib.sha256(config.encode()).hexdigest()[:16],
                "features": provenance["features"]["key"][:16],
                "device": provenance["device"],
                "seconds": provenance["wall_time_s"],
                "synthetic": provenance["synthetic"],
                "folder": run.folder.name,
                **values,
            }


if __name__ == "__main__":
    if len(sys.argv) > 2 and sys.argv[1] in NAMES:
        record(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
    else:
        sys.exit(f"{__doc__}\nTables: {', '.join(NAMES)}")
