"""Who asks, and what is refused instead of being passed over."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from style_match.cli import main, schema
from style_match.serving.matcher_folder import MatcherFolder
from style_match.serving.recommend import make_query
from style_match.utils.errors import UserError


def matcher(sides: bool = True, metadata: int = 0) -> MatcherFolder:
    """The folder of a matcher."""
    prompt = {"name": "image_metadata" if metadata else "image", "image": 1, "metadata": metadata}
    about = {"name": "mine", "digest": "0" * 64, "sides": ["female", "male"] if sides else None, "prompt": prompt}
    return MatcherFolder(Path("mine"), {**about, "head": {"dim": 6}})


def ask(folder: MatcherFolder, query, profiles, **options):
    """The query of a text for which nothing is encoded."""
    return make_query(query, profiles, folder, lambda *_, **__: pytest.fail("encoded"), **options)


@pytest.mark.parametrize("query", ["x" * 400, "a\0b", "~nobody_of_that_name/x.jpg", "gone.jpg"])
def test_what_no_file_can_be_called_is_no_profile_either(profiles, query):
    with pytest.raises(UserError, match="there is no such profile among 6, and no such file"):
        ask(matcher(), query, profiles(6), side=None, metadata=None)


def test_a_photo_without_the_metadata_that_is_read_is_told_the_option(profiles, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"reads metadata .*\. Set metadata=FILE\.json"):
        ask(matcher(metadata=1), str(tmp_path / "photo.jpg"), profiles(6), side="male", metadata=None)


@pytest.mark.parametrize(
    ("asks", "options", "said"),
    [
        (matcher(), {"metadata": {"top": "coat"}}, r"metadata: .* reads none \(prompt=image\)\. Drop metadata"),
        (matcher(sides=False), {"side": "male"}, "side=male: .* of styles, which have no sides. Drop side"),
        (matcher(metadata=1), {"metadata": {"top": "coat"}}, "query=p000 is a profile .*. Drop metadata"),
    ],
)
def test_an_option_that_nothing_reads_is_refused(profiles, asks, options, said):
    found = profiles(6, sides=asks.sides is not None)
    assert ask(asks, "p000", found, side=None, metadata=None).row == 0
    with pytest.raises(UserError, match=said):
        ask(asks, "p000", found, **{"side": None, "metadata": None, **options})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["query=f0", "mode=mutual", "index=faiss"], "mode=mutual compares all pairs .* Drop index"),
        (["query=all", "mode=mutual", "index=qdrant"], "mode=mutual compares all pairs .* Drop index"),
        (["query=all", "exposure_cap=3", "index=faiss"], "exposure_cap=3 compares all pairs .* Drop index"),
        (["query=all", "side=male"], "side=male describes one photo"),
        (["query=all", "metadata=a.json"], "metadata=a.json describes one photo"),
        (["query=all", "index=faiss"], None),
        (["query=f0", "index=faiss"], None),
        (["query=all", "mode=mutual", "exposure_cap=3"], None),
        (["query=a.jpg", "side=male", "metadata=a.json"], None),
    ],
)
def test_options_that_do_not_go_together_are_refused_before_work(words, said):
    with initialize_config_dir(str(main.conf_dir()), version_base=main.VERSION_BASE):
        config = compose("recommend", ["model=m", *words])
    if said is None:
        schema.check(config, step="recommend")
        return
    with pytest.raises(UserError, match=said):
        schema.check(config, step="recommend")
