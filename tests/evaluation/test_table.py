"""The table that a run prints."""

import io

import pytest
import torch
from rich.console import Console
from torch.nn.functional import normalize

from style_match.evaluation.outputs import metrics_sections
from style_match.evaluation.tables import print_results


@pytest.fixture(scope="module")
def couples(evaluator):
    evaluate = evaluator()
    names = [(f"f{i}", f"m{i}") for i in range(40)]
    generator = torch.Generator().manual_seed(0)
    taste = torch.randn(40, 6, generator=generator).repeat_interleave(2, dim=0)
    ids = [profile for couple in names for profile in couple]
    frozen, trained = (
        evaluate.couples(normalize(taste + noise * torch.randn(80, 6, generator=generator), dim=1), ids, names)
        for noise in (2.0, 0.6)
    )
    return metrics_sections(frozen=frozen, trained=trained), evaluate.difference(trained, frozen)


def printed(sections, gain=None, *, width, **options):
    stream = io.StringIO()
    print_results(sections, gain=gain, console=Console(file=stream, width=width), **options)
    return stream.getvalue()


@pytest.mark.parametrize("width", [60, 80, 200])
def test_every_value_and_interval_is_readable_at_any_width(couples, width):
    sections, gain = couples
    text = printed(sections, gain, width=width, synthetic=True)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text and "\x1b" not in text
    assert text.startswith("Test split: 80 queries, gallery of 40, synthetic data\n")
    for section in sections.values():
        for metric, cell in section.items():
            if isinstance(cell, dict) and metric != "median_rank":
                assert f"{100 * cell['value']:.1f}" in text
                if section is not sections["chance"]:
                    assert "-".join(f"{100 * bound:.1f}" for bound in cell["ci95"]) in text
    low, high = gain["mrr"]["ci95"]
    assert f"MRR {100 * gain['mrr']['value']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]" in " ".join(text.split())
    assert "above the gallery of 40: k = 50" in text


def test_rows_and_columns(couples):
    sections, _ = couples
    lines = [line.split() for line in printed(sections, width=200).splitlines()]
    assert lines[2] == ["percent", "R@5", "R@10", "R@20", "R@30", "MRR"]
    rows = [" ".join(line[:2]) for line in lines[4:9]]
    assert rows == ["chance 12.5", "frozen backbone", "95 %", "trained head", "95 %"]
    assert "synthetic" not in printed(sections, width=80)
    frozen = printed({name: sections[name] for name in ("chance", "frozen")}, width=80)
    assert "trained" not in frozen.lower()


def test_a_perfect_column_keeps_its_width(couples):
    sections, _ = couples
    perfect = {"value": 1.0, "ci95": [0.905, 1.0]}
    changed = {
        name: {metric: perfect if isinstance(cell, dict) else cell for metric, cell in section.items()}
        for name, section in sections.items()
    }
    text = printed(changed, width=80)
    assert text.count("90.5-100.0") == 10 and max(map(len, text.splitlines())) <= 80


def test_styles_tell_both_readings_of_recall(evaluator):
    labels = {f"p{i}": "AB"[i % 2] for i in range(40)} | {"p40": "C"}
    rows = normalize(torch.randn(41, 5, generator=torch.Generator().manual_seed(0)), dim=1)
    text = printed(metrics_sections(frozen=evaluator().styles(rows, list(labels), labels)), width=80)
    assert all(name in text for name in ("R@5", "P@5", "MAP@R", "MRR", "P@k: share of the top k"))
    assert "the only one of their class: 1" in text


def test_csls_is_named_with_what_it_ranks(couples):
    sections, gain = couples
    told = "Ranked by CSLS (k=10), the frozen backbone too; val/mrr, by which epochs are selected, is the cosine's."
    assert told in " ".join(printed(sections, gain, width=80, csls_k=10).split())
    assert "CSLS" not in printed(sections, gain, width=80)
