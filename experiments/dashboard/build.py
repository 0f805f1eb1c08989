"""A W&B workspace for sweeps: `python experiments/dashboard/build.py --entity NAME [--project P] [--spec FILE]`.

Needs the extra style_match[dashboard]. Saves the workspace on the server of `wandb login` and prints its address; with
--spec it writes the specification to a file instead, without a network.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

KS = (5, 10, 20, 30, 50)
MODELS = ("trained", "frozen", "chance")


def workspace(entity: str, project: str, by: Sequence[str]) -> Any:
    """Make a workspace with recall, ablation bars, training curves and tables; runs are grouped by the options `by`."""
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    def bars(title: str, metrics: list[str]) -> Any:
        return wr.BarPlot(title=title, metrics=metrics, groupby_aggfunc="mean", groupby_rangefunc="stderr")

    def curve(name: str) -> Any:
        spread = {"groupby_aggfunc": "mean", "groupby_rangefunc": "minmax"}
        return wr.LinePlot(title=name, x="epoch", y=[name], **spread)

    recall = [bars(f"recall@k, {model}", [f"test/{model}/recall@{k}" for k in KS]) for model in MODELS]
    ablation = [bars(f"{metric}, trained", [f"test/trained/{metric}"]) for metric in ("mrr", "recall@5", "precision@5")]
    training = [curve(name) for name in ("val/mrr", "val/recall@5", "train/loss", "val/loss", "val/effective_rank")]
    tables = [wr.WeavePanelSummaryTable(table_name=name) for name in ("test/metrics", "test/ranks")]
    pictures = [wr.MediaBrowser(title="t-SNE", media_keys=["tsne"])]
    return ws.Workspace(
        entity=entity,
        project=project,
        name="Ablations",
        sections=[
            ws.Section(name="Recall curves", panels=recall, is_open=True),
            ws.Section(name="Ablation", panels=ablation, is_open=True),
            ws.Section(name="Training", panels=training, is_open=True),
            ws.Section(name="Tables", panels=tables, is_open=True),
            ws.Section(name="Pictures", panels=pictures),
        ],
        runset_settings=ws.RunsetSettings(groupby=[ws.Config(option) for option in by]),
    )


def specification(made: Any) -> dict[str, Any]:
    """Return the content that `save` sends to the server."""
    return json.loads(made._to_model().model_dump_json(by_alias=True, exclude_none=True))


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="A W&B workspace with recall curves, ablation bars and tables.")
    parser.add_argument("--entity", required=True, help="user or team on the server")
    parser.add_argument("--project", default="style_match")
    parser.add_argument("--by", nargs="+", default=["head.dim", "loss.temperature"], help="options that group the runs")
    parser.add_argument("--spec", type=Path, help="write the specification to this file and send nothing")
    args = parser.parse_args(words)
    try:
        made = workspace(args.entity, args.project, args.by)
    except ModuleNotFoundError as error:
        sys.exit(f"{error.name} is missing. Run pip install 'style_match[dashboard]'")
    if args.spec:
        args.spec.write_text(json.dumps(specification(made), indent=2) + "\n", encoding="utf-8")
        print(args.spec)
    else:
        made.save()
        print(made.url)


if __name__ == "__main__":
    main()
