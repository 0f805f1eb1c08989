"""Pages of hand-written runs, and what a browser would read in them."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import yaml

from style_match.cli import main
from style_match.reporting.pages import page
from style_match.reporting.runs import Options, read_runs
from style_match.reporting.tables import make_table
from tests.reporting.run_folders import spec


def report_options(**changed):
    made = yaml.safe_load((main.conf_dir() / "report.yaml").read_text(encoding="utf-8"))["report"]
    return made | {"num_resamples": 200, "min_seeds": 1} | changed


def rows_and_report(dataset, **changed):
    report = report_options(**changed)
    table = make_table("table1", spec("table1"), read_runs(dataset)[0], Options.from_config(report))
    return [result.row for result in table.rows[1:]], report


def shown(folder: Path, table="table1", left_out=(), **changed) -> str:
    report = report_options(**changed)
    made = make_table(table, spec(table), read_runs(folder)[0], Options.from_config(report))
    return page([made], folder, report, left_out=left_out)


class Tags(HTMLParser):
    """All tags with their attributes, and the text outside of scripts and styles."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside not in ("script", "style"):
            self.text += data


def figure(text: str, name: str) -> list[dict]:
    """The traces that a picture is drawn from."""
    start = text.index("[", text.index(f'"{name}"', text.index("Plotly.newPlot(", text.index(f'id="{name}"'))))
    return json.JSONDecoder().raw_decode(text, start)[0]
