import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from style_match.evaluation.evaluator import Evaluator
from style_match.evaluation.outputs import metrics_sections
from style_match.training.page import draw_curves, write_report
from style_match.utils.errors import UserError

PHOTO = "data:image/jpeg;base64,AAAA"
EVIL = "f0<script>alert('x')</script>&\"'"


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "link", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    couples = [(EVIL if i == 0 else f"f{i}", f"m{i}") for i in range(25)]
    ids = [profile for couple in couples for profile in couple]
    generator = torch.Generator().manual_seed(0)
    taste = torch.randn(25, 6, generator=generator).repeat_interleave(2, dim=0)
    evaluator = Evaluator(
        ks=None,
        default_ks=[5, 20, 30],
        confidence=0.95,
        num_resamples=200,
        seed=0,
        block=64,
        num_answers=5,
        csls_k=None,
    )
    frozen, trained = (
        evaluator.couples(normalize(taste + noise * torch.randn(50, 6, generator=generator), dim=1), ids, couples)
        for noise in (2.0, 0.8)
    )
    tsne = tmp_path_factory.mktemp("run") / "tsne.png"
    Image.new("RGB", (30, 20), "red").save(tsne)
    return {
        "name": "runs/train/<b>demo</b>",
        "sections": metrics_sections(frozen=frozen, trained=trained, val=frozen),
        "results": {"frozen": frozen, "trained": trained},
        "gain": evaluator.difference(trained, frozen),
        "tsne": tsne,
        "logged": [
            {"epoch": "0", "train/loss": "3.0", "val/mrr": ""},
            {"epoch": "0", "train/loss": "", "val/mrr": ".1"},
        ],
        "provenance": {
            "git": {"commit": "c0ffee", "dirty": False},
            "seed": 0,
            "command": "train data.root='<&>'",
            "gpu": None,
            "choices": {"data": "couples<b>", "loss": "infonce", "head": "mlp", "pooling": "mean", "hydra/help": "x"},
        },
        "config": "head:\n  dim: 512\nnote: '</pre><script>'\n",
        "synthetic": True,
        "num_queries": 4,
        "thumbnails": None,
        "photo": lambda profile: f"{PHOTO}?{profile[1:]}",
        "dpi": 50,
    }


def written(run, path, **changes):
    write_report(path, **(run | changes))
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    return text, page


def test_the_page_is_whole_and_asks_nothing_of_the_network(run, tmp_path):
    text, page = written(run, tmp_path / "report.html")
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "iframe", "object", "b"})
    assert not re.search(r"""(src|href|url\()=?["']?(https?:|//|file:)""", text)
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a)
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    images = [a["src"] for tag, a in page.tags if tag == "img" and not a["src"].startswith(PHOTO)]
    sizes = [Image.open(io.BytesIO(base64.b64decode(src.partition(",")[2]))).size for src in images]
    assert (30, 20) in sizes and len(sizes) == 2
    assert any(a.get("name") == "viewport" for tag, a in page.tags if tag == "meta")


def test_the_page_tells_the_run(run, tmp_path):
    _, page = written(run, tmp_path / "report.html")
    said = " ".join(" ".join(page.text).split())
    assert "runs/train/<b>demo</b>" in said and "couples<b>: infonce, mlp head, mean pooling" in said
    assert "Test split: 50 queries, gallery of 25, synthetic data" in said
    for section in run["sections"].values():
        cell = section["mrr"]
        assert f"{100 * cell['value']:.1f}" in said
    low, high = run["sections"]["trained"]["recall@5"]["ci95"]
    assert f"{100 * low:.1f} to {100 * high:.1f}" in said
    assert f"{100 * run['gain']['mrr']['value']:+.1f} [" in said
    assert "gpu" not in said and "hydra/help" not in said
    assert "k left out" in said and "git.commit c0ffee" in said and "command train data.root='<&>'" in said
    assert "note: '</pre><script>'" in said


def test_best_and_worst_queries_by_id(run, tmp_path):
    _, page = written(run, tmp_path / "report.html", num_queries=50)
    said = " ".join(page.text)
    assert EVIL in said
    trained = run["results"]["trained"]
    ranks = trained.ranks.rank.tolist()
    _, page = written(run, tmp_path / "report.html")
    said = " ".join(" ".join(page.text).split())
    best, worst = (said[said.index(f"{which} queries") :] for which in ("Best", "Worst"))
    pattern = r"(left to right|right to left): rank (\d+) of 25"
    assert [int(rank) for _, rank in re.findall(pattern, best)[:4]] == sorted(ranks)[:4]
    assert [int(rank) for _, rank in re.findall(pattern, worst)[:4]] == sorted(ranks, reverse=True)[:4]
    last = trained.query_ids[int(np.argmax(ranks))]
    assert last in worst


@pytest.mark.parametrize(
    ("synthetic", "thumbnails", "shown"),
    [(True, None, True), (True, False, False), (False, None, False), (False, True, True)],
)
def test_photos_of_people_only_where_they_are_wanted(run, tmp_path, synthetic, thumbnails, shown):
    _, page = written(run, tmp_path / "report.html", synthetic=synthetic, thumbnails=thumbnails)
    photos = [a["src"] for tag, a in page.tags if tag == "img" and a["src"].startswith(PHOTO)]
    said = " ".join(" ".join(page.text).split())
    assert len(photos) == shown * 2 * 4 * (2 + 5)
    assert ("it shows people" in said) == (shown and not synthetic)
    assert ("picture.report.thumbnails=true" in said) == (not shown)
    framed = [a for tag, a in page.tags if tag == "figure" and a.get("class") == "true"]
    hits = sum(rank <= 5 for rank in run["results"]["trained"].ranks.rank.tolist())
    assert len(framed) == 8 + min(4, hits)  # each partner, and each partner among the answers of the best queries


def test_a_run_that_reads_no_photos(run, tmp_path):
    _, page = written(run, tmp_path / "report.html", photo=None)
    assert not [a for tag, a in page.tags if tag == "img" and a["src"].startswith(PHOTO)]


def test_no_query_is_both_best_and_worst(run, tmp_path):
    _, page = written(run, tmp_path / "report.html", num_queries=40)
    said = " ".join(" ".join(page.text).split())
    best, worst = said.split("Worst queries")
    assert (best.count(" of 25, frozen"), worst.count(" of 25, frozen")) == (40, 10)


def test_classes_of_the_first_answers(run, tmp_path):
    """Three classes on a line, each nearest to itself but for one profile of the first that lies in the second."""
    labels = dict(zip("abcdefg", ("A", "A", "A", "B", "B", "C", "C"), strict=True))
    angles = torch.tensor([0.0, 0.01, 1.0, 1.01, 1.03, 2.0, 2.02])
    embeddings = torch.stack([angles.cos(), angles.sin()], 1)
    result = Evaluator(default_ks=[1], num_resamples=100).styles(embeddings, list(labels), labels)
    sections = metrics_sections(frozen=result)
    changes = {"sections": sections, "results": {"frozen": result}, "gain": None, "labels": labels}
    text, _ = written(run, tmp_path / "report.html", **changes)
    table = text[text.index('class="confusion"') :]
    rows = re.findall(r"<tr><th>(\w)</th>(.*?)</tr>", table, re.DOTALL)
    shares = {name: [int(each) for each in re.findall(r">(\d+)</td>", cells)] for name, cells in rows}
    assert shares == {"A": [67, 33, 0, 3], "B": [50, 50, 0, 2], "C": [0, 0, 100, 2]}


def test_a_run_without_a_head_and_without_pictures(run, tmp_path):
    sections = {name: run["sections"][name] for name in ("chance", "frozen")}
    results = {"frozen": run["results"]["frozen"]}
    _, page = written(
        run,
        tmp_path / "report.html",
        sections=sections,
        results=results,
        gain=None,
        tsne=None,
        logged=[],
        synthetic=False,
    )
    said = " ".join(page.text)
    assert "trained" not in said and "synthetic" not in said and "Queries of the test split, frozen backbone" in said
    assert not [tag for tag, _ in page.tags if tag == "img"]


def test_a_page_that_cannot_be_written(run, tmp_path):
    with pytest.raises(UserError, match="Cannot write"):
        write_report(tmp_path / "missing" / "report.html", **run)


def test_curves_need_something_to_draw():
    assert draw_curves([], dpi=50) is None
    assert draw_curves([{"epoch": 0, "step": 4, "lr": 0.1, "train/loss": "nan"}], dpi=50) is None
    one = [{"epoch": "0", "train/loss_epoch": "2"}, {"epoch": "", "train/loss_epoch": "7"}]
    small = Image.open(io.BytesIO(draw_curves(one, dpi=50)))
    four = [{"epoch": e, "train/loss": 1 / (e + 1), "val/mrr": e, "train/effective_rank": 3.0} for e in range(3)]
    large = draw_curves(four, dpi=50)
    assert Image.open(io.BytesIO(large)).size == (2 * small.width, 2 * small.height)
    assert draw_curves(iter(four), dpi=50) == large
    results = {"epoch": 0, "selected/val/mrr": 0.5, "test/trained/mrr": 0.5}
    assert draw_curves([*four, results], dpi=50) == large
    assert draw_curves([results], dpi=50) is None
