"""The table of results.csv: mean over worlds, in percent.

python -m experiments.text_search.table experiments/text_search/results.csv
"""

import csv
import sys
from pathlib import Path
from statistics import mean, stdev

METRICS = {"recall@1": "R@1", "recall@5": "R@5", "recall@10": "R@10", "recall@50": "R@50", "mrr": "MRR"}
WAYS = {
    ("photos alone", "chance"): "chance",
    ("photos alone", "untrained"): "text through the untrained path",
    ("photos alone", "captions"): "the captions' own features, untrained",
    ("photos alone", "fitted, image"): "`text_weight=0`, text head fitted at export: photos",
    ("photos alone", "fitted, caption"): "the same: captions",
    ("photos alone", "fitted, both"): "the same: both",
    ("own", "trained, image"): "`text_weight=1`, own text head: photos",
    ("own", "trained, caption"): "the same: captions",
    ("own", "trained, both"): "the same: both",
    ("own", "fitted, image"): "`text_weight=1`, text head fitted anew: photos",
}
KINDS = {
    "caption en": "Held-out English captions",
    "caption ko": "Held-out Korean captions",
    "short en": "Short English requests",
    "short ko": "Short Korean requests",
}


def table(lines: list[dict[str, str]]) -> str:
    worlds = sorted({line["world"] for line in lines})
    about = "test split, 150 photos and texts each; percent, mean over worlds."
    out = [f"Synthetic data; worlds {', '.join(worlds)}, {about}"]
    for kind, title in KINDS.items():
        out += ["", f"**{title}**", "", f"| | {' | '.join(METRICS.values())} |", "|---|" + "---:|" * len(METRICS)]
        for (run, way), name in WAYS.items():
            rows = [line for line in lines if (line["run"], line["queries"], line["way"]) == (run, kind, way)]
            finds_itself = kind == "caption en" and ("caption" in way or "both" in way)
            if rows and not finds_itself:
                cells = (f"{100 * mean(float(row[metric]) for row in rows):.1f}" for metric in METRICS)
                out.append(f"| {name} | {' | '.join(cells)} |")
    out += ["", "**Couples, MRR of the test split**", "", "| run | MRR | worlds |", "|---|---:|---|"]
    for run in dict.fromkeys(line["run"] for line in lines):
        values = {line["world"]: 100 * float(line["couples_mrr"]) for line in lines if line["run"] == run}
        spread = f" +- {stdev(values.values()):.1f} sd" if len(values) > 1 else ""
        each = ", ".join(f"{value:.1f}" for value in values.values())
        weight = {"photos alone": "0", "own": "1"}.get(run, "1, shared head")
        out.append(f"| `loss.text_weight={weight}` | {mean(values.values()):.1f}{spread} | {each} |")
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    with Path(sys.argv[1]).open() as file:
        print(table(list(csv.DictReader(file))), end="")
