"""Recommendations by the command: for one profile, for everybody, and for mistakes."""

import json
import shutil

import pyarrow.parquet as pq
import pytest

from tests.commands import HEAVY, unimportable
from tests.serving.web.people import data_folder


def test_recommend_prints_and_writes_a_page(matcher_folder, run_step, tmp_path):
    out = tmp_path / "out"
    words = (
        f"model={matcher_folder}",
        "query=f0003",
        "k=4",
        "where=gender == 'male' and not user_id in ['x, y']",
        f"out={out}",
    )
    done = run_step("recommend", *words)
    assert "For f0003: 80 profiles, synthetic data" in done.stdout
    rows = [line.split()[:2] for line in done.stdout.splitlines() if line.strip()[:1].isdigit()]
    assert [rank for rank, _ in rows] == ["1", "2", "3", "4"] and all(name[0] == "m" for _, name in rows)
    html = (out / "recommendations.html").read_text(encoding="utf-8")
    assert html.count("data:image/jpeg;base64,") == 5 and "://" not in html
    assert "Synthetic data: drawn figures" in html
    assert "couple" not in done.stdout
    every = run_step("recommend", *words[:2], "k=40", f"out={out}").stdout
    (partner,) = [line for line in every.splitlines() if "couple in training" in line or " couple " in line]
    assert partner.split()[1] == "m0003" and "couple" in (out / "recommendations.html").read_text(encoding="utf-8")
    assert "m0003" not in run_step("recommend", *words[:2], "k=39", "exclude_known=true", f"out={out}").stdout
    mutual = run_step("recommend", *words[:3], "mode=mutual", f"out={out}").stdout
    assert "rank back" in mutual
    faiss = run_step("recommend", *words[:3], "index=faiss", f"out={out}", f"index.root={tmp_path / 'indexes'}").stdout
    assert [line.split()[:2] for line in faiss.splitlines() if line.strip()[:1].isdigit()] == rows


def test_recommend_for_everybody_writes_a_table(matcher_folder, run_step, tmp_path):
    words = (f"model={matcher_folder}", "query=all", "k=3", "mode=mutual", "exposure_cap=3", f"out={tmp_path}")
    done = run_step("recommend", *words, "page.num_users=2")
    assert "similar " in done.stdout and "mutual, cap 3" in done.stdout
    table = pq.read_table(tmp_path / "recommendations.parquet").to_pylist()
    reported = json.loads((tmp_path / "recommendations.json").read_text())["spread"]["mutual, cap 3"]
    counts = [sum(row["profile"] == name for row in table) for name in {row["profile"] for row in table}]
    assert max(counts) == reported["most"] <= 3 and len(table) == reported["recommendations"]
    assert reported["coverage"] == len(counts) / reported["candidates"]
    assert all({row["query"][0], row["profile"][0]} == {"f", "m"} for row in table)
    first = [row["rank"] for row in table if row["query"] == table[0]["query"]]
    assert first == list(range(1, len(first) + 1))


@pytest.mark.slow
def test_mistakes_are_answered_plainly(matcher_folder, run_step, tmp_path):
    def refuses(message: str, *words: str) -> None:
        reported = run_step("recommend", *words, code=2).stderr
        assert message in reported and "Traceback" not in reported, reported

    model, query = f"model={matcher_folder}", "query=f0003"
    with unimportable(*HEAVY):
        refuses("model is required. Set model=FOLDER.")
        refuses("k must be an integer >= 1", model, query, "k=0")
        refuses("= is not an operator of where; use ==", model, query, "where=gender = 'male'")
        refuses("Did you mean mode=mutual", model, query, "mode=mutul")
        refuses("exposure_cap=3 needs query=all", model, query, "exposure_cap=3")
        refuses("has no matcher.json", f"model={tmp_path}", query)
    refuses("there is no such profile among 80, and no such file. Did you mean f0", model, "query=f003")
    refuses("does not exist", model, query, f"data.root={tmp_path / 'gone'}")
    refuses("backbone.path=/gone: there is no such folder", model, query, "backbone.path=/gone")


def test_signs_in_ids_are_shown_as_text(couples_run, matcher_folder, run_step, tmp_path):
    photos = sorted((data_folder(couples_run) / "images").iterdir())
    root = tmp_path / "people"
    root.mkdir()
    rows = ["profile_id,image,gender,note"]
    for number in range(4):
        shutil.copy(photos[number], root / f"{number}.jpg")
        rows.append(f'"<script>alert({number})</script>[red]",{number}.jpg,{"fm"[number % 2]},<b>한글</b>')
    (root / "profiles.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    words = (
        f"model={matcher_folder}",
        f"data.root={root}",
        "query=<script>alert(0)</script>[red]",
        "k=2",
        f"out={tmp_path}",
    )
    done = run_step("recommend", *words, "features.root=" + str(tmp_path / "store"))
    assert "<script>alert(1)</script>[red]" in done.stdout and "synthetic" not in done.stdout
    html = (tmp_path / "recommendations.html").read_text(encoding="utf-8")
    assert "<script" not in html and "&lt;script&gt;alert(1)" in html and "&lt;b&gt;한글" in html
