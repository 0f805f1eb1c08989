"""From embeddings to the sections of metrics.json and the rows of ranks.parquet."""

import json

import pytest
import torch
from torch.nn.functional import normalize

from style_match.evaluation.outputs import answers_table, metrics_sections, ranks_table, write_table
from style_match.utils.errors import UserError

COUPLES = [(f"f{i}", f"m{i}") for i in range(30)]
IDS = [profile for couple in COUPLES for profile in couple]  # sides mixed, as in a profiles table


def embeddings(noise, seed=0, count=30):
    generator = torch.Generator().manual_seed(seed)
    taste = torch.randn(count, 6, generator=generator).repeat_interleave(2, dim=0)
    return normalize(taste + noise * torch.randn(2 * count, 6, generator=generator), dim=1)


def test_metrics_json_has_the_documented_form(evaluator):
    evaluate = evaluator()
    frozen, trained = (evaluate.couples(embeddings(noise), IDS, COUPLES) for noise in (2.0, 0.7))
    val = evaluate.couples(embeddings(0.7, 1, 20), IDS[:40], COUPLES[:20], split="val")
    sections = json.loads(json.dumps(metrics_sections(frozen=frozen, trained=trained, val=val)))
    assert list(sections) == ["chance", "frozen", "trained", "val"]
    names = ["recall@5", "recall@10", "recall@20", "recall@30", "mrr", "median_rank"]
    for name, section in sections.items():
        metrics = [n for n in names if not (name == "val" and n == "recall@30")]
        assert list(section) == [*metrics, "queries", "gallery", "dropped_ks"]
        for metric in metrics:
            assert set(section[metric]) == {"value", "ci95"}
            low, high = section[metric]["ci95"]
            assert low <= section[metric]["value"] <= high
    assert (sections["trained"]["queries"], sections["trained"]["gallery"]) == (60, 30)
    assert (sections["trained"]["dropped_ks"], sections["val"]["dropped_ks"]) == ([50], [30, 50])
    assert sections["chance"]["recall@5"] == {"value": pytest.approx(5 / 30), "ci95": [pytest.approx(5 / 30)] * 2}
    assert sections["trained"]["mrr"]["value"] > sections["frozen"]["mrr"]["value"] > sections["chance"]["mrr"]["value"]
    assert list(metrics_sections(frozen=frozen)) == ["chance", "frozen"]


def test_ranks_parquet_holds_every_query_and_its_metrics(evaluator, tmp_path):
    import pyarrow.parquet as pq

    evaluate = evaluator()
    results = {name: evaluate.couples(embeddings(n), IDS, COUPLES) for name, n in (("frozen", 2.0), ("trained", 0.7))}
    write_table(tmp_path / "ranks.parquet", ranks_table(results))
    assert [file.name for file in tmp_path.iterdir()] == ["ranks.parquet"]
    table = pq.read_table(tmp_path / "ranks.parquet")
    assert table.column_names == ["model", "query", "partner", "direction", "rank", "gallery", "similarity", "cluster"]
    rows = [row for row in table.to_pylist() if row["model"] == "trained"]
    assert {(row["query"], row["partner"]) for row in rows} == {*COUPLES, *((m, f) for f, m in COUPLES)}
    assert all((row["direction"] == "left_to_right") == (row["query"][0] == "f") for row in rows)
    metrics = results["trained"].metrics
    assert sum(1 / row["rank"] for row in rows) / 60 == pytest.approx(metrics["mrr"]["value"])
    assert sum(row["rank"] <= 5 for row in rows) / 60 == pytest.approx(metrics["recall@5"]["value"])
    rows_of = dict(zip(IDS, embeddings(0.7), strict=True))
    for row in rows:
        assert row["similarity"] == pytest.approx(float(rows_of[row["query"]] @ rows_of[row["partner"]]), abs=1e-6)


def test_the_first_answers_are_those_of_the_ranking(evaluator):
    evaluate, known = evaluator(num_answers=4), [*COUPLES, ("f0", "m1")]
    result = evaluate.couples(embeddings(1.0), IDS, COUPLES, known=known)
    rows = answers_table({"trained": result}).to_pylist()
    vector = dict(zip(IDS, embeddings(1.0).double(), strict=True))
    sides = {side: [profile for profile in IDS if profile[0] == side] for side in "fm"}
    for query, partner, rank in zip(result.query_ids, result.partner_ids, result.ranks.rank.tolist(), strict=True):
        answers = [row for row in rows if row["query"] == query]
        assert [row["place"] for row in answers] == [1, 2, 3, 4]
        others = {a for pair in known if query in pair for a in pair} - {query, partner}
        gallery = [profile for profile in sides["m" if query[0] == "f" else "f"] if profile not in others]
        best = sorted(gallery, key=lambda profile: -float(vector[query] @ vector[profile]))[:4]
        assert [row["answer"] for row in answers] == best
        assert (partner in best) == (rank <= 4) and (partner not in best or best.index(partner) == rank - 1)
    everyone = evaluator(num_answers=99).styles(embeddings(1.0), IDS, {i: i[0] for i in IDS})
    assert {len(answers) for answers in everyone.answer_ids} == {59}
    assert all(query not in answers for query, answers in zip(everyone.query_ids, everyone.answer_ids, strict=True))


def test_ranks_that_cannot_be_written_are_the_users_to_mend(evaluator, tmp_path):
    result = evaluator().couples(embeddings(1.0), IDS, COUPLES)
    with pytest.raises(UserError, match=r"Cannot write .*ranks\.parquet"):
        write_table(tmp_path / "missing" / "ranks.parquet", ranks_table({"frozen": result}))


def test_the_order_of_profiles_and_couples_changes_no_metric(evaluator):
    evaluate = evaluator()
    there = evaluate.couples(embeddings(1.0), IDS, COUPLES)
    back = evaluate.couples(embeddings(1.0).flip(0), IDS[::-1], COUPLES[::-1])
    assert back.query_ids[:30] == there.query_ids[:30][::-1]
    for name, cell in there.metrics.items():
        if isinstance(cell, dict):
            assert back.metrics[name]["value"] == pytest.approx(cell["value"])


def test_a_profile_in_several_couples_is_once_in_the_gallery_and_masked(evaluator):
    couples = [("a", "x"), ("a", "y"), ("b", "y"), ("c", "z")]
    ids = ["a", "b", "c", "x", "y", "z", "not in the split"]
    rows = normalize(torch.randn(7, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    result = evaluator(ks=[1]).couples(rows, ids, couples)
    assert (result.metrics["gallery"], result.metrics["queries"]) == (3, 8)
    asked = list(zip(result.query_ids, result.ranks.gallery.tolist(), strict=True))
    assert asked == [("a", 2), ("a", 2), ("b", 3), ("c", 3), ("x", 3), ("y", 2), ("y", 2), ("z", 3)]
    assert result.clusters.tolist() == [0, 0, 0, 1] * 2


def test_known_couples_of_other_splits_are_masked(evaluator):
    couples = [("a", "x"), ("b", "y"), ("c", "z")]
    rows = normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    result = evaluator(ks=[1]).couples(rows, list("abcxyz"), couples, known=[("a", "y"), ("a", "elsewhere")])
    assert result.ranks.gallery.tolist() == [2, 3, 3, 3, 2, 3]


def test_profiles_of_one_person_are_one_cluster_and_no_rivals(evaluator):
    couples = [("a1", "x"), ("a2", "y"), ("b", "z")]
    people = {"a1": "anna", "a2": "anna"}
    rows = normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    result = evaluator(ks=[1]).couples(rows, ["a1", "a2", "b", "x", "y", "z"], couples, people=people)
    assert result.clusters.tolist() == [0, 0, 1] * 2
    assert result.ranks.gallery.tolist() == [2, 2, 3, 2, 2, 3]


def test_a_person_on_both_sides_is_no_rival_of_itself(evaluator):
    couples = [("a1", "x"), ("y", "a2"), ("b", "z")]
    rows = normalize(torch.tensor([[1, 0.0], [0, 1.0], [-1, 1.0], [1, 0.1], [1, 0.0], [-1, 0.0]]), dim=1)
    ids, people = ["a1", "y", "b", "x", "a2", "z"], {"a1": 0, "a2": 0}
    result = evaluator(ks=[1]).couples(rows, ids, couples, people=people)
    asked = dict(zip(result.query_ids, result.ranks.rank.tolist(), strict=True))
    assert (asked["a1"], asked["a2"]) == (1, 1), "behind neither the own photo nor a partner"
    assert result.clusters.tolist() == [0, 0, 1] * 2


def test_styles(evaluator):
    labels = {f"p{i}": "ABC"[i % 3] for i in range(30)} | {"p30": "lonely"}
    rows = normalize(torch.eye(3)[torch.tensor([i % 3 for i in range(30)] + [0])] + 0.1, dim=1)
    result = evaluator(ks=[1, 9]).styles(rows, list(labels), labels)
    assert list(result.metrics) == [
        *("recall@1", "recall@9", "precision@1", "precision@9", "map@r", "mrr", "median_rank"),
        *("queries", "gallery", "dropped_ks", "skipped"),
    ]
    assert (result.metrics["queries"], result.metrics["gallery"], result.metrics["skipped"]) == (30, 30, 1)
    # The lonely one sits among the As, and a tie counts against the model.
    assert result.metrics["precision@1"]["value"] == pytest.approx(20 / 30)
    assert result.metrics["precision@9"]["value"] == pytest.approx((20 + 10 * 8 / 9) / 30)
    assert result.chance["precision@9"]["value"] == pytest.approx(9 / 30)
    table = ranks_table({"frozen": result})
    assert table["direction"].unique().to_pylist() == ["among_profiles"]
    assert all(labels[row["query"]] == labels[row["partner"]] for row in table.to_pylist())


def test_style_photos_of_one_person_neither_help_nor_hurt(evaluator):
    labels = {"a1": "A", "a2": "A", "a3": "A", "b1": "B", "b2": "B"}
    rows = normalize(torch.tensor([[1, 0.0], [1, 0.0], [0, 1.0], [1, 0.1], [0, 1.1]]), dim=1)
    result = evaluator(ks=[1]).styles(rows, list(labels), labels, people={"a1": "anna", "a2": "anna"})
    assert result.ranks.gallery.tolist() == [3, 3, 4, 4, 4]
    assert result.partner_ids[:2] == ("a3", "a3")
    assert result.clusters.tolist() == [0, 0, 1, 2, 3]


def test_the_paired_difference_is_narrower_than_the_two_intervals(evaluator):
    evaluate = evaluator()
    one = evaluate.couples(embeddings(1.0), IDS, COUPLES)
    generator = torch.Generator().manual_seed(9)
    nearly = normalize(embeddings(1.0) + 0.05 * torch.randn(60, 6, generator=generator), dim=1)
    other = evaluate.couples(nearly, IDS, COUPLES)
    cell = evaluate.difference(other, one)["mrr"]
    assert cell["value"] == pytest.approx(other.metrics["mrr"]["value"] - one.metrics["mrr"]["value"])
    assert cell["ci95"][0] <= cell["value"] <= cell["ci95"][1]
    widths = [high - low for low, high in (cell["ci95"], one.metrics["mrr"]["ci95"])]
    assert widths[0] < widths[1] / 2
    assert evaluate.difference(one, one)["recall@5"] == {"value": 0, "ci95": [0, 0]}
    with pytest.raises(ValueError, match="same queries"):
        evaluate.difference(one, evaluate.couples(embeddings(1.0), IDS, COUPLES[::-1]))


def test_a_k_asked_for_above_the_gallery(evaluator):
    evaluate = evaluator(ks=[5, 31])
    for ask in (lambda: evaluate.couples(embeddings(1.0), IDS, COUPLES), lambda: evaluate.check_ks(30)):
        with pytest.raises(UserError, match=r"evaluation\.ks=\[5, 31\]: 31 exceeds the gallery of 30"):
            ask()
    val = evaluate.couples(embeddings(1.0), IDS, COUPLES, split="val")
    assert val.metrics["dropped_ks"] == [31]
    evaluate.check_ks(31)
    with pytest.raises(UserError, match="gallery of 29"):
        evaluator(ks=[30]).styles(embeddings(1.0, count=15), IDS[:30], dict.fromkeys(IDS, "A"))


def test_settings_that_make_no_sense_are_named_together(evaluator):
    with pytest.raises(UserError) as caught:
        evaluator(ks=[0, 5], default_ks=[5, 5], confidence=95, num_resamples=1, block=0, num_answers=-1)
    lines = str(caught.value).splitlines()
    options = ("ks", "default_ks", "confidence", "num_resamples", "block", "num_answers")
    assert [line.split(" must be ")[0].removeprefix("evaluation.") for line in lines] == list(options)
    values = ("[0, 5]", "[5, 5]", "95", "1", "0", "-1")
    assert [line.rpartition("(got ")[2] for line in lines] == [f"{value})." for value in values]


def test_profiles_and_rows_must_match(evaluator):
    with pytest.raises(ValueError, match=r"no embedding for 1 profiles.*nobody"):
        evaluator().couples(embeddings(1.0), IDS, [("f0", "nobody")])
    with pytest.raises(ValueError, match="60 embeddings for 60 profiles, 59"):
        evaluator().couples(embeddings(1.0), [*IDS[:-1], "f0"], COUPLES[:5])
    with pytest.raises(UserError, match="val split has no couple"):
        evaluator().couples(embeddings(1.0), IDS, [], split="val")
