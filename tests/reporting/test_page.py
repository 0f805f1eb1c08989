"""The page: asks nothing of the network, shows nobody unasked, and takes ids for text."""

import base64
import io
import re
from html import unescape

import pytest
from PIL import Image

from style_match.reporting.runs import LeftOut, Options, read_runs
from style_match.reporting.tables import make_table
from style_match.utils.errors import UserError
from tests.reporting.pages import Tags, figure, report_options, shown
from tests.reporting.run_folders import read_ranks, spec, table3, write_run

NASTY = ["<b>x</b>", '"><img src=x onerror=alert(1)>', "</script><script>alert(1)</script>", "%{x}", "{{7*7}}"]
NASTY += ['<a href="https://evil.example">you</a>', "a&lt;b", "d'oh", "plain0", "plain1", "plain2", "plain3"]


def without_plotly(text: str) -> str:
    return re.sub(r"<script>/\*\*\n\* plotly\.js.*?</script>", "", text, flags=re.DOTALL)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    for path in table3(folder).values():
        (path / "csv" / "version_0").mkdir(parents=True)
        (path / "csv" / "version_0" / "metrics.csv").write_text("epoch,train/loss,val/mrr\n0,2.5,0.2\n1,2.0,0.3\n")
    return folder


@pytest.fixture(scope="module")
def nasty(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nasty")
    for seed in range(3):
        write_run(folder / f"run <i>{seed}", seed=seed, names=NASTY)
    return folder


def test_the_page_asks_nothing_of_the_network(sweep):
    text = shown(sweep)
    tags = Tags(text).tags
    (policy,) = [a["content"] for tag, a in tags if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none';") and "http" not in policy and "*" not in policy
    for _, attributes in tags:
        for name in ("src", "href", "action", "srcset", "data"):
            assert not re.match(r"\s*(https?:)?//", attributes.get(name) or ""), attributes
    own = without_plotly(text)
    assert len(own) < len(text) / 5, "plotly's own script is in the page"
    assert "http" not in re.sub(r"http-equiv", "", own)


def test_the_page_shows_every_number_of_the_table(sweep):
    text = shown(sweep, "table3")
    options = Options.from_config(report_options())
    table = make_table("table3", spec("table3"), read_runs(sweep)[0], options)
    seen = Tags(text).text
    for row in table.rows:
        for metric, cell in row.metrics.items():
            assert f"{100 * cell.value:.1f}" in seen and f"{100 * cell.low:.1f} to {100 * cell.high:.1f}" in seen
            assert metric not in row.row.paper or f"paper {row.row.paper[metric]:.1f}*" in seen
    assert "synthetic data, not comparable" in seen and "Synthetic data: drawn figures" in seen
    bars = figure(text, "bars-table3")
    assert [trace["name"] for trace in bars] == [row.row.label for row in table.rows]
    curves = figure(text, "curves-table3")
    assert len(curves) == 2 * 9 and (curves[0]["x"], curves[0]["y"]) == ([1, 2], [0.2, 0.3])


def test_recall_curves_are_hit_rates_beside_exact_chance(sweep):
    frozen, ours, chance = figure(shown(sweep), "recall-table1")
    assert chance["name"] == "chance" and numbers(chance["y"]) == pytest.approx([100 * k / 12 for k in range(1, 13)])
    ranks = [
        rank for seed in range(3) for rank in read_ranks(sweep / f"row=dim512_tau0.2,seed={seed}", "trained").values()
    ]
    hits = [100 * sum(rank <= k for rank in ranks) / len(ranks) for k in range(1, 13)]
    assert numbers(ours["y"]) == pytest.approx(hits)
    assert numbers(frozen["y"])[-1] == 100


def numbers(values):
    """Plotly may pack arrays."""
    if isinstance(values, dict):
        import numpy as np

        return np.frombuffer(base64.b64decode(values["bdata"]), dtype=values["dtype"]).tolist()
    return values


def test_ids_are_text_wherever_they_stand(nasty):
    text = shown(nasty, left_out=[LeftOut(nasty / "<b>", "failed", "<script>alert(2)</script>")], num_queries=24)
    parsed = Tags(text)
    assert not {"i", "a"} & {tag for tag, _ in parsed.tags}, "<b> marks the true partner among the answers"
    assert not [a for tag, a in parsed.tags if tag == "img" and a.get("id") != "thumb"]
    assert not [a for _, a in parsed.tags if any(name.startswith("on") for name in a)]
    scripts = [tag for tag, _ in parsed.tags].count("script")
    plain = Tags(shown(nasty, num_queries=0)).tags
    assert scripts == [tag for tag, _ in plain].count("script"), "no id opens or closes a script"
    for name in NASTY:
        assert f"f{name}" in parsed.text


def test_ids_are_text_to_plotly_too(nasty):
    """Plotly draws <b>, <br> and <a href> of what it shows, and fills in %{...} of a template."""
    text = shown(nasty)
    traces = figure(text, "tsne-table1")
    ids = [profile for trace in traces for profile in trace["customdata"]]
    assert {f"m{name}" for name in NASTY} <= set(ids)
    for trace in [*traces, *figure(text, "recall-table1"), *figure(text, "bars-table1")]:
        template = trace.get("hovertemplate") or ""
        assert not any(name in template for name in NASTY)
        words = [*(trace.get("text") or []), trace["name"], *re.findall("%{text}", template)]
        assert not [word for word in words if "<" in word.replace("<br>", "")]
        for profile, word in zip(trace.get("customdata") or [], trace.get("text") or [], strict=True):
            assert unescape(word.partition("<br>")[0]) == profile, "it is read as it is written"


def test_nobody_is_shown_unasked(dataset):
    assert "data:image" not in without_plotly(shown(dataset))


def test_thumbnails_are_small_and_say_nothing_of_the_file(dataset):
    text = shown(dataset, thumbnails=True)
    pictures = set(re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", text))
    assert len(pictures) == 12, "two photos of a couple have one colour"
    for content in map(base64.b64decode, pictures):
        assert b"Exif" not in content and b"Nowhere" not in content
        with Image.open(io.BytesIO(content)) as picture:
            assert max(picture.size) == 96 and not picture.getexif()


def test_thumbnails_of_a_dataset_that_changed_are_a_mistake(dataset):
    folder = dataset.parent / "data"
    for name in ("profiles.csv", "couples.csv"):
        lines = (folder / name).read_text().splitlines()
        (folder / name).write_text("\n".join(line for line in lines if "003" not in line) + "\n")
    with pytest.raises(UserError, match=r"profiles\.csv has no profile f003"):
        shown(dataset, thumbnails=True)


@pytest.mark.parametrize("option", [{"by": "age"}, {"thumbnails": True}])
def test_a_dataset_that_is_gone_is_named_where_it_is_needed(sweep, option):
    with pytest.raises(UserError, match=r"dataset folder .* is missing: /gone"):
        shown(sweep, **option)
