"""Tables as text: columns that agree, signs that are escaped, numbers that come back."""

import csv
import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from style_match.reporting import tables as render
from style_match.reporting.runs import read_runs
from style_match.reporting.tables import make_table
from tests.reporting.run_folders import spec, table3

STRANGE = r"a|b & c_d 100% #1 $x$ ~y^2 \frac{1}{2} <b>"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    table3(folder)
    return folder


@pytest.fixture
def table(sweep, options):
    return make_table("table1", spec("table1"), read_runs(sweep)[0], options)


@pytest.fixture
def strange(sweep, options):
    made = spec("table1")
    made["rows"]["ours"]["label"] = made["title"] = STRANGE
    return make_table("table_1", made, read_runs(sweep)[0], options)


def markdown_tables(text):
    """Cells of each table, by Markdown's rule that a bar behind a backslash is none."""
    lines = [re.split(r"(?<!\\)\|", line)[1:-1] if line.startswith("|") else None for line in text.splitlines()]
    tables, last = [], None
    for cells in lines:
        if cells is not None:
            if last is None:
                tables.append([])
            tables[-1].append([cell.strip() for cell in cells])
        last = cells
    return tables


def test_markdown_columns_agree(table, strange):
    for one in (table, strange):
        metrics, differences = markdown_tables(render.markdown(one))
        assert {len(row) for row in metrics} == {len(one.metrics) + 2}
        assert {len(row) for row in differences} == {len(one.metrics) + 5}
    assert len(metrics) == 2 + 2 * 3 and len(differences) == 2 + 2


def test_markdown_says_values_papers_numbers_and_that_they_are_not_comparable(table):
    (_, _, *rows), (_, _, *differences) = markdown_tables(render.markdown(table))
    random, paper, frozen = rows[:3]
    assert random == ["Random", "41.7", "83.3", "25.9", ""], "chance is exact"
    assert paper == ["*paper (synthetic data, not comparable)*", "*6.7*", "*13.3*", "", ""]
    assert re.fullmatch(r"\d+\.\d<br>\d+\.\d-\d+\.\d", frozen[3])
    assert rows[4][0] == "Ours" and float(rows[4][4]) == pytest.approx(100 * table.rows[2].seed_sd["mrr"], abs=0.05)
    assert differences[0][:2] == ["Qwen3-VL, frozen", "Random"] and differences[0][5:] == ["", "", ""]
    assert "frozen minus Random: MRR" in render.latex(table) and "None" not in render.latex(table)
    assert differences[1][:2] == ["Ours", "Qwen3-VL, frozen"]
    assert differences[1][-1] == f"**{table.rows[2].difference.verdict}**"
    assert re.fullmatch(r"[+-]\d+\.\d<br>\[[+-]\d+\.\d, [+-]\d+\.\d\]", differences[1][4])


def test_real_data_has_the_papers_numbers_without_those_words(table):
    text = render.markdown(replace(table, synthetic=False)) + render.latex(replace(table, synthetic=False))
    assert "synthetic" not in text and "comparable only where data and gallery are the same" in text


def without_commands(latex):
    """What LaTeX would read as text: without the commands and signs that `latex` means."""
    return re.sub(r"\\label\{[^}]*\}|\\[&%#_${}]|\\(text\w+|[a-z]+|\\)|\$[<>|]\$", "", latex)


@pytest.mark.parametrize("which", ["table", "strange"])
def test_latex_is_balanced_and_escaped(which, request):
    text = render.latex(request.getfixturevalue(which))
    if which == "strange":
        title = r"a$|$b \& c\_d 100\% \#1 \$x\$ \textasciitilde{}y\textasciicircum{}2 "
        title += r"\textbackslash{}frac\{1\}\{2\} $<$b$>$"
        assert title in text and r"\label{tab:table_1}" in text, "a label is a name, not text"
    depth = 0
    for sign in re.sub(r"\\[{}]", "", text):
        depth += {"{": 1, "}": -1}.get(sign, 0)
        assert depth >= 0
    assert depth == 0
    left = without_commands(text)
    assert not set(left) & set("%#_$~^\\<>"), left
    assert "\\begin{table}" in text and text.rstrip().endswith("\\end{table}")
    body = text[text.index("\\toprule") : text.index("\\bottomrule")].splitlines()
    rows = [re.sub(r"\\&", "", line) for line in body if line.endswith(r"\\")]
    assert {row.count("&") for row in rows} == {3} and len(rows) == 1 + 2 + 3 + 3
    assert text.count("\\toprule") == text.count("\\midrule") == text.count("\\bottomrule") == 1


def test_csv_gives_every_number_back(table, sweep, options):
    tables = [table, make_table("table3", spec("table3"), read_runs(sweep)[0], options)]
    lines = list(csv.DictReader(io.StringIO(render.rows_of_csv(tables))))
    assert len(lines) == 2 * 3 * 3
    found = {(line["table"], line["row"], line["metric"]): line for line in lines}
    for one in tables:
        for row in one.rows:
            for metric, cell in row.metrics.items():
                line = found[one.name, row.row.name, metric]
                assert (float(line["value"]), float(line["low"]), float(line["high"])) == (
                    cell.value,
                    cell.low,
                    cell.high,
                )
                assert line["data"] == "synthetic" and "nan" not in line.values()
                assert line["paper"] == str(row.row.paper.get(metric, ""))
                assert (line["difference"] == "") == (row.difference is None)
                assert (line["p"] != "") == (row.row.against not in (None, "random") and metric == "mrr")
    ours = found["table1", "ours", "mrr"]
    assert float(ours["p_holm"]) == table.rows[2].difference.p_adjusted
    assert (ours["against"], ours["paper"]) == ("frozen", "21.6")


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_shows_every_number_whole(strange, table, width):
    for one in (table, strange):
        console = Console(width=width, record=True, file=io.StringIO())
        render.print_tables([one], console)
        shown = console.export_text()
        assert "…" not in shown and "synthetic data" in shown
        for row in one.rows:
            for cell in row.metrics.values():
                assert f"{100 * cell.value:.1f}" in shown
                assert render.is_exact(cell) or f"{100 * cell.low:.1f}-{100 * cell.high:.1f}" in shown
        assert "[/" not in shown


def test_six_metrics_fit_into_eighty_columns(table):
    """As on the paper's data: 100.0 percent is the widest that there is."""
    wide = replace(table.rows[2].metrics["mrr"], value=1.0, low=0.912, high=1.0)
    metrics = (*(f"recall@{k}" for k in (5, 10, 20, 30, 50)), "mrr")
    rows = tuple(
        replace(row, metrics=dict.fromkeys(metrics, wide), seed_sd=dict.fromkeys(metrics, 0.0), difference=None)
        for row in table.rows
    )
    console = Console(width=80, record=True, file=io.StringIO())
    render.print_tables([replace(table, metrics=metrics, rows=rows)], console)
    shown = console.export_text()
    assert "…" not in shown and shown.count("91.2-100.0") == 18


def test_p_values():
    shown = ["1.000", "0.049", "0.001", "< 0.001", ""]
    assert [render.p_text(p) for p in (1.0, 0.0494, 0.001, 0.0009, None)] == shown
