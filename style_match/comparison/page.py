"""report.html: tables, pictures, queries, hubs and groups on one page that asks nothing of the network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from style_match.comparison import figures
from style_match.comparison.estimate import Block, blocks_of
from style_match.comparison.groups import Group, group_rows
from style_match.comparison.hubness import Hubness, hubness
from style_match.comparison.match import Row
from style_match.comparison.options import PRIMARY
from style_match.comparison.render import difference_text, is_exact, label_of, notes, p_text, paper_note
from style_match.comparison.runs import LeftOut, Run
from style_match.comparison.table import ResultTable
from style_match.errors import UserError
from style_match.evaluation.table import heading
from style_match.template import fill
from style_match.thumbnail import as_uri, thumbnail

TEMPLATE = Path(__file__).with_name("page.html.jinja")


def page(tables: Sequence[ResultTable], sweep: Path, report: Mapping[str, Any], *, left_out: Sequence[LeftOut]) -> str:
    """The page; `report` is the node of the step's config.

    Raises:
        UserError: a column asked for is not in profiles.csv, or the dataset folder is gone where it is needed.
    """
    from plotly.offline import get_plotlyjs

    shown = [_show(table, report) for table in tables]
    return fill(
        TEMPLATE,
        sweep=str(sweep),
        synthetic=any(table.synthetic for table in tables),
        tables=shown,
        left_out=left_out,
        by=report["by"],
        min_group=report["min_group"],
        num_answers=report["num_answers"],
        plotly=get_plotlyjs(),
        heading=heading,
        percent=lambda value: f"{100 * value:.1f}",
        is_exact=is_exact,
        difference=lambda interval: difference_text(interval, "\n").partition("\n")[::2],
        p=p_text,
        paper_note=paper_note,
        notes=notes,
        label_of=label_of,
        primary=PRIMARY,
    )


def _show(table: ResultTable, report: Mapping[str, Any]) -> dict[str, Any]:
    """What the template shows of one table."""
    rows = [result.row for result in table.rows]
    last = next((row for row in reversed(rows) if row.model == "trained"), rows[-1])
    run = next(iter(last.runs.values()))
    model = "trained" if "trained" in run.metrics else "frozen"
    best, worst = queries(run, model, report["num_queries"], report["num_answers"])
    points = run.table("tsne.parquet").to_pylist()
    listed = [(row["query"], row["partner"], *row["answers"]) for row in (*best, *worst)]
    names = {point["profile_id"] for point in points}.union(*listed)
    curves = figures.training_curves(rows)
    block = blocks_of(rows[0])[0]
    shown = [row for row in rows if row.model != "chance"]
    return {
        "table": table,
        "bars": figures.html(figures.bars(table), f"bars-{table.name}"),
        "recall": figures.html(figures.recall_curves(table), f"recall-{table.name}"),
        "curves": figures.html(curves, f"curves-{table.name}") if curves else "",
        "tsne": figures.html(figures.tsne(points), f"tsne-{table.name}"),
        "run": run.folder.name,
        "model": model,
        "queries": (("Best queries", best), ("Worst queries", worst)),
        "thumbnails": thumbnails(run, names, report["thumbnail_px"]) if report["thumbnails"] else {},
        "hubs": [(row.label, hubs(row, report["hub_k"], report["num_hubs"])) for row in shown],
        "groups": [(row.label, groups(row, block, table.metrics, report)) for row in shown] if report["by"] else [],
        "grouped": ", ".join(map(str, block.test_sets)),
        "runs": [
            (row.label, test_set, seed, one.provenance, one.folder)
            for row in rows
            for (test_set, seed), one in row.runs.items()
        ],
    }


def queries(run: Run, model: str, count: int, num_answers: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The best and the worst queries of a model, with their first answers and the partner's rank."""
    answers: dict[tuple[str, str, str], list[str]] = {}
    for row in run.table("answers.parquet").to_pylist():
        if row["model"] == model and row["place"] <= num_answers:
            answers.setdefault((row["query"], row["direction"], row["partner"]), []).append(row["answer"])
    columns = run.queries(model).columns
    names = ("query", "direction", "partner", "rank", "gallery", "similarity")
    rows = [dict(zip(names, values, strict=True)) for values in zip(*(columns[name] for name in names), strict=True)]
    for row in rows:
        row["answers"] = answers.get((row["query"], row["direction"], row["partner"]), [])
    rows.sort(key=lambda row: (row["rank"], -row["similarity"]))
    return rows[:count], rows[::-1][:count]


def hubs(row: Row, k: int, num_top: int) -> Hubness | None:
    """Hubness of a row's first run; None where it kept no answers."""
    run = next(iter(row.runs.values()))
    first: dict[str, dict[tuple[str, str], list[str]]] = {}
    for line in run.table("answers.parquet").to_pylist():
        if line["model"] == row.model:
            of_query = first.setdefault(line["direction"], {})
            of_query.setdefault((line["query"], line["partner"]), []).append(line["answer"])
    if not first:
        return None
    columns = run.queries(row.model).columns
    galleries = {
        direction: run.gallery_ids
        if direction == "among_profiles"
        else sorted(set(columns["partner"][columns["direction"] == direction]))
        for direction in first
    }
    answers = {direction: list(of_query.values()) for direction, of_query in first.items()}
    shortest = min(len(names) for lists in answers.values() for names in lists)
    return hubness(answers, galleries, k=min(k, shortest), num_top=num_top)


def groups(row: Row, block: Block, metrics: Sequence[str], report: Mapping[str, Any]) -> list[Group]:
    """A row's metrics by group of the asking profile, over its seeds on the test sets of `block`."""
    return group_rows(
        column_of(row.on(block.test_sets[0])[0], report["by"]),
        block.scores(row, metrics, report["gallery"]),
        metrics,
        block.queries,
        block.clusters,
        bands=report["bands"],
        column=f"report.by={report['by']}",
        **{name: report[name] for name in ("min_group", "confidence", "num_resamples", "seed")},
    )


def column_of(run: Run, column: str) -> dict[str, str]:
    """A column of the run's profiles table by profile id.

    Raises:
        UserError: the folder is gone, or has no such column.
    """
    folder = _dataset(run)
    known = sorted({name for columns in folder.columns.values() for name in columns})
    if column not in known:
        raise UserError(f"report.by={column}: {folder.profiles_file} has no such column; it has {', '.join(known)}.")
    return {profile: columns.get(column, "") for profile, columns in folder.columns.items()}


def thumbnails(run: Run, profile_ids: Iterable[str], side_px: int) -> dict[str, str]:
    """Small pictures of profiles as data URIs, without any metadata of the files."""
    folder, made = _dataset(run), {}
    for profile_id in sorted(profile_ids):
        if profile_id not in folder.columns:
            raise UserError(f"{folder.profiles_file} has no profile {profile_id}, which {run.folder} was tested on.")
        photo, bound = folder.photos_of(profile_id)[0].path, run.config.data.max_source_pixels
        made[profile_id] = as_uri(thumbnail(photo, side_px, max_source_pixels=bound))
    return made


def _dataset(run: Run) -> Any:
    from style_match.data.folder import read_folder

    data, root = run.config.data, Path(run.provenance["data"]["folder"])
    if not root.is_dir():
        raise UserError(f"The dataset folder of {run.folder} is gone: {root}. report.by and report.thumbnails need it.")
    return read_folder(root, task=data.task, image_root=data.image_root, label_column=data.label_column)
