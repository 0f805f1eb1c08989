import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import silhouette_score
from torch.nn.functional import normalize

from style_match.evaluation import tsne
from style_match.evaluation.tsne import draw_tsne

SETTINGS = {"perplexity": 10.0, "max_points": 500, "seed": 0, "dpi": 60}


def rows(count=40, dim=6, seed=0):
    return normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def colours(path):
    return set(map(tuple, np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)))


def rgb(colour):
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


@pytest.fixture
def drawn(monkeypatch):
    """The figures as they are saved."""
    figures = []
    save = tsne.save

    def keep(drawing, path, **options):
        figures.append(drawing)
        save(drawing, path, **options)

    monkeypatch.setattr(tsne, "save", keep)
    return figures


def words(drawing):
    told = [text.get_text() for axis in drawing.axes for text in axis.texts]
    return [axis.get_title().strip() for axis in drawing.axes], told, [t.get_text() for t in drawing.legends[0].texts]


def test_styles_are_coloured_by_class_and_the_title_tells_the_silhouette(tmp_path, drawn):
    labels = ["Street_Hip", "Casual_Basic", "Chic_Modern", "Chic_Modern"] * 10
    panels = {"frozen backbone": rows(), "trained head": rows(seed=1)}
    draw_tsne(tmp_path / "tsne.png", panels, labels=labels, synthetic=True, **SETTINGS)
    titles, told, legend = words(drawn[0])
    assert titles == list(panels)
    expected = [silhouette_score(panel.numpy(), labels, metric="cosine") for panel in panels.values()]
    assert told == [f"silhouette of the classes {value:.2f}" for value in expected]
    assert legend == ["Casual_Basic", "Chic_Modern", "Street_Hip"]
    assert drawn[0].legends[0].get_title().get_text() == "synthetic data"
    assert {rgb(colour) for colour in tsne.COLOURS[:3]} <= colours(tmp_path / "tsne.png")
    for axis in drawn[0].axes:  # the point of a profile has its class's colour
        assert [len(scatter.get_offsets()) for scatter in axis.collections] == [10, 20, 10]


def test_couples_are_two_sides_with_a_line_between_partners(tmp_path, drawn):
    embedding = rows(41)
    couples = [(i, 20 + i) for i in range(20)] + [(3, 40)]
    draw_tsne(tmp_path / "tsne.png", {"trained head": embedding}, couples=couples, sides=("female", "male"), **SETTINGS)
    _, told, legend = words(drawn[0])
    assert legend == ["female", "male", "10 nearest couples (cosine)", "10 farthest couples (cosine)"]
    assert drawn[0].get_supxlabel() == "t-SNE, perplexity 10, started from the principal components"
    left, right = embedding[:20], embedding[20:]
    similarity = left @ right.T
    partners = [float(embedding[i] @ embedding[j]) for i, j in couples]
    others = (float(similarity.sum()) - sum(partners)) / (20 * 21 - 21)
    assert told == [f"mean cosine: partners {np.mean(partners):.2f}, others {others:.2f}"]
    females, males, near, far = drawn[0].axes[0].collections
    assert (len(females.get_offsets()), len(males.get_offsets())) == (20, 21)
    place = [*females.get_offsets().tolist(), *males.get_offsets().tolist()]
    order = sorted(couples, key=lambda couple: -float(embedding[couple[0]] @ embedding[couple[1]]))
    for lines, joined in ((near, order[:10]), (far, order[-10:])):
        ends = [segment.tolist() for segment in lines.get_segments()]
        assert sorted(ends) == sorted([place[left], place[right]] for left, right in joined)


def test_the_same_embeddings_give_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        draw_tsne(tmp_path / f"{name}.png", {"frozen backbone": rows()}, labels=["a", "b"] * 20, **SETTINGS)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_neighbours_stay_near(tmp_path, drawn):
    centres = torch.eye(4)[torch.arange(40) % 4]
    close = normalize(centres + 0.05 * rows(40, 4), dim=1)
    draw_tsne(tmp_path / "tsne.png", {"x": close}, labels=[str(i % 4) for i in range(40)], **SETTINGS)
    places = [np.asarray(scatter.get_offsets()) for scatter in drawn[0].axes[0].collections]
    for i, own in enumerate(places):
        apart = min(np.linalg.norm(own.mean(0) - other.mean(0)) for j, other in enumerate(places) if j != i)
        assert np.linalg.norm(own - own.mean(0), axis=1).mean() < apart / 3


def test_more_points_than_wanted_are_drawn_from(tmp_path, drawn):
    settings = SETTINGS | {"max_points": 20}
    couples = [(i, 30 + i) for i in range(30)]
    draw_tsne(tmp_path / "couples.png", {"x": rows(60)}, couples=couples, **settings)
    left, right, lines = drawn[0].axes[0].collections
    assert [len(part) for part in (lines.get_segments(), left.get_offsets(), right.get_offsets())] == [10, 10, 10]
    assert drawn[0].legends[0].get_title().get_text() == "20 of 60 profiles"
    draw_tsne(tmp_path / "styles.png", {"x": rows(60)}, labels=["a", "b"] * 30, **settings)
    assert sum(len(part.get_offsets()) for part in drawn[1].axes[0].collections) == 20


@pytest.mark.parametrize(
    ("embedding", "labels"),
    [
        (rows(2), ["a", "b"]),
        (rows(1).repeat(30, 1), ["a", "b"] * 15),
        (rows(30), ["a"] * 30),
        (rows(12, 1), ["a", "b"] * 6),
        (rows(90), [f"class {i % 20}" for i in range(90)]),
    ],
    ids=["two points", "collapsed", "one class", "one dimension", "more classes than colours"],
)
def test_odd_embeddings_are_drawn_too(tmp_path, embedding, labels):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        draw_tsne(tmp_path / "tsne.png", {"x": embedding}, labels=labels, **SETTINGS)
    assert Image.open(tmp_path / "tsne.png").size[0] > 300


def test_labels_and_couples_exclude_each_other(tmp_path):
    with pytest.raises(ValueError, match="either labels or couples"):
        draw_tsne(tmp_path / "tsne.png", {"x": rows()}, **SETTINGS)
