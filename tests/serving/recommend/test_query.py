"""Who asks, in whatever form the query is typed, and what is refused instead of being ignored."""

import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from style_match.cli import main, schema
from style_match.serving.matcher_folder import MatcherFolder
from style_match.serving.mutual import mutual_best, recommend_to_all
from style_match.serving.output import lines_of
from style_match.serving.recommend import Candidates, Query, make_query, nearest
from style_match.utils.errors import UserError
from tests.serving.recommend import by_loops


def matcher(sides: bool = True, metadata: int = 0) -> MatcherFolder:
    prompt = {"name": "image_metadata" if metadata else "image", "image": 1, "metadata": metadata}
    about = {"name": "mine", "digest": "0" * 64, "sides": ["female", "male"] if sides else None, "prompt": prompt}
    return MatcherFolder(Path("mine"), {**about, "head": {"dim": 6}})


def ask(folder: MatcherFolder, query, profiles, side=None, metadata=None) -> Query:
    """The query of a text for which nothing is encoded."""
    return make_query(query, profiles, folder, lambda *_, **__: pytest.fail("encoded"), side=side, metadata=metadata)


@pytest.fixture
def people(profiles):
    found = profiles(6)
    columns = tuple({"이름": name} for name in ("김민지", "이", "이", "박", "", "김"))
    return replace(found, profile_ids=("여é0", *found.profile_ids[1:]), columns=columns)


@pytest.mark.parametrize("query", ["x" * 400, "a\0b", "~nobody_of_that_name/x.jpg", "gone.jpg"])
def test_an_unknown_profile_or_file_is_refused(profiles, query):
    with pytest.raises(UserError, match="there is no such profile among 6, and no such file"):
        ask(matcher(), query, profiles(6))


@pytest.mark.parametrize("typed", ["여é0", unicodedata.normalize("NFD", "여é0"), " 여é0\u200b"])
def test_an_id_is_found_in_any_unicode_form(people, typed):
    assert ask(matcher(), typed, people).row == 0


def test_a_photo_and_a_filter_are_found_in_any_unicode_form(people, tmp_path):
    (tmp_path / unicodedata.normalize("NFD", "사진.jpg")).write_bytes(b"")
    with pytest.raises(UserError, match=r"reads metadata .*\. Set metadata=FILE\.json"):  # so the photo was found
        ask(matcher(metadata=1), str(tmp_path / "사진.jpg"), people, side="male")
    where = unicodedata.normalize("NFD", "이름 in ['김민지', '박']")
    assert Candidates(people, where).filtered.tolist() == [True, False, False, True, False, False]


def test_an_id_in_other_capitals_is_named(people):
    with pytest.raises(UserError, match=r"query=P001: there is no such profile .* Did you mean p001\?"):
        ask(matcher(), "P001", people)


@pytest.mark.parametrize(
    ("asks", "options", "message"),
    [
        (matcher(), {"metadata": {"top": "coat"}}, r"metadata: .* reads none \(prompt=image\)\. Drop metadata"),
        (matcher(sides=False), {"side": "male"}, "side=male: .* of styles, which have no sides. Drop side"),
        (matcher(metadata=1), {"metadata": {"top": "coat"}}, "query=p000 is a profile .*. Drop metadata"),
    ],
)
def test_an_option_that_is_not_read_is_refused(profiles, asks, options, message):
    found = profiles(6, sides=asks.sides is not None)
    assert ask(asks, "p000", found).row == 0
    with pytest.raises(UserError, match=message):
        ask(asks, "p000", found, **options)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["query=f0", "mode=mutual", "index=faiss"], "mode=mutual compares all pairs .* Drop index"),
        (["query=all", "exposure_cap=3", "index=faiss"], "exposure_cap=3 compares all pairs .* Drop index"),
        (["query=all", "side=male"], "side=male describes one photo"),
        (["query=all", "metadata=a.json"], "metadata=a.json describes one photo"),
        (["query=all", "index=faiss"], None),
        (["query=all", "mode=mutual", "exposure_cap=3"], None),
        (["query=a.jpg", "side=male", "metadata=a.json"], None),
    ],
)
def test_options_that_do_not_go_together_are_refused_before_work(words, message):
    with initialize_config_dir(str(main.conf_dir()), version_base=main.VERSION_BASE):
        config = compose("recommend", ["model=m", *words])
    if message is None:
        schema.check(config, step="recommend")
        return
    with pytest.raises(UserError, match=message):
        schema.check(config, step="recommend")


def test_an_index_of_another_matcher_is_refused(profiles):
    found = profiles(10)
    queries, candidates = [Query.of_profile(found, 0)], Candidates(found, None)
    assert nearest(queries, candidates, k=2, index=found.exact_index) == nearest(queries, candidates, k=2)
    other = replace(found, matcher="f" * 64).exact_index
    with pytest.raises(UserError, match=r"another matcher \(ffffffff\) than these profiles \(00000000\)"):
        nearest(queries, candidates, k=2, index=other)


def test_a_profile_of_unknown_side_is_recommended_to_nobody(profiles):
    found = profiles(8)
    sides = found.sides.copy()
    sides[6:] = -1
    found = replace(found, sides=sides)
    candidates = Candidates(found, None)
    for row in range(6):
        assert np.flatnonzero(candidates.allowed(Query.of_profile(found, row))).tolist() == [
            other for other in range(6) if by_loops.paired(found, row, other)
        ]


def test_known_partners_are_marked_or_left_out(profiles):
    """p002 and p004 are one person; p003 is the known partner of the one, p007 of the other."""
    couples = {frozenset(("p002", "p003")): "couple in train", frozenset(("p007", "p004")): "couple"}
    found = replace(profiles(10), couples=couples)
    for name in ("p002", "p004"):
        query = Query.of_profile(found, found.row_of[name])
        assert found.known(query.person) == {"p003": "couple in train", "p007": "couple"}
        every = nearest([query], Candidates(found, None), k=5)[0]
        marks = {line["profile_id"]: line["known"] for line in lines_of(found, every, query)}
        assert marks == {"p001": "", "p003": "couple in train", "p005": "", "p007": "couple", "p009": ""}
        others = [answer for answer in every if answer[0] not in ("p003", "p007")]
        candidates = Candidates(found, None, exclude_known=True)
        assert nearest([query], candidates, k=3)[0] == others
        assert {one for one, *_ in mutual_best(query, candidates, k=3)} == {"p001", "p005", "p009"}
        with pytest.raises(UserError, match=r"k=4: there are 3 profiles to choose from\. Set k=3 or less\."):
            candidates.refuse_too_many(query, 4)
    stranger = Query("photo", found.embeddings[0], side=0)
    assert len(nearest([stranger], Candidates(found, None, exclude_known=True), k=5)[0]) == 5


@pytest.mark.parametrize("mode", ["similar", "mutual"])
def test_nobody_gets_a_known_partner_with_exclude_known(profiles, mode):
    found = replace(profiles(10), couples={frozenset((f"p00{i}", f"p00{i + 1}")): "couple" for i in (0, 6, 8)})
    options = {"k": 3, "mode": mode, "exposure_cap": None, "max_pairs": 10**6}
    lists, _ = recommend_to_all(Candidates(found, None, exclude_known=True), **options)
    for row, recommended in enumerate(lists):
        assert len(recommended) == 3
        assert not {found.profile_ids[one] for one in recommended} & found.known(int(found.people[row])).keys()
