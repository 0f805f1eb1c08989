"""labeler=demo: the drawn figures are labelled from what was drawn, in both languages, and nobody else is."""

import json
import shutil
from pathlib import Path

import pytest

from style_match.labeling import offline
from style_match.labeling.offline import describe
from style_match.synthetic.captions import couple_metadata, style_metadata
from style_match.synthetic.dataset import couple_profiles, is_synthetic, write_couples, write_styles
from style_match.synthetic.world import WorldParams
from tests.labeling.makers import make_schema, picture

PARAMS = WorldParams(rho=0.95, scene_follow=0.2, temperature=0.05, noise=0.1, background_follow=0.0, accessory_gain=1.5)
DRAWING = dict(world_seed=3, size_px=24, params=PARAMS, num_workers=1, progress=lambda done, total: None)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two demo folders of one world, as the cache keeps them."""
    demos = tmp_path_factory.mktemp("cache") / "demo"
    write_styles(demos / "styles-label", num_photos=12, **DRAWING)
    write_couples(demos / "couples-label", num_couples=3, **DRAWING)
    return demos


@pytest.fixture
def drawn(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the two, in the cache in use."""
    monkeypatch.setenv("STYLE_MATCH_CACHE", str(made.parent))
    return made


@pytest.fixture
def no_drawing(made: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the demos that would be drawn, which takes half a minute; in their place is one that is known."""
    names: list[str] = []

    def draw(self: offline.Demo, name: str) -> Path:
        names.append(name)
        return made / "styles-label"

    monkeypatch.setattr(offline.Demo, "_draw", draw)
    return names


def lines(path: Path) -> dict[str, dict]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {Path(row.pop("image")).name: row for row in rows}


def looks():
    couples = couple_profiles(world_seed=3, num_couples=8, params=PARAMS)
    return [profile.look for couple in couples for profile in couple]


def test_descriptions_equal_the_metadata_of_the_demo():
    for look in looks():
        said, style, couple = describe(look, "en"), style_metadata(look), couple_metadata(look)
        assert {name: said[name] for name in style} == style
        other = ("photo_style", "image_quality")  # free text there, classes in the schema
        assert {name: said[name] for name in couple if name not in other} == {
            name: value for name, value in couple.items() if name not in other
        }


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("name", ["style", "couple"])
def test_every_look_has_an_answer_to_both_schemas(name, language):
    schema = make_schema(name)
    for look in looks():
        values = schema.check(describe(look, language))
        texts = " ".join(value for key, value in values.items() if key not in schema.nominal)
        assert any("가" <= letter <= "힣" for letter in texts) == (language == "ko")
        assert language == "en" or not any(letter.isascii() and letter.isalpha() for letter in texts)


def test_photos_are_known_by_their_bytes(command, drawn, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, path in enumerate(sorted((drawn / "styles-label" / "images").iterdir())):
        shutil.copy(path, photos / f"profile {number}.jpg")
    printed = command(f"images={photos}", "schema=style")
    assert "style labels of 12 of 12 photos, synthetic data" in printed
    told = lines(drawn / "styles-label" / "metadata.jsonl")
    assert lines(photos / "metadata.jsonl")["profile 3.jpg"] == told["s0004.jpg"]
    command(f"images={photos}", "schema=style", "labeler.language=ko")
    assert "사진" in lines(photos / "metadata.jsonl")["profile 3.jpg"]["caption"]


def test_a_folder_that_is_named_is_the_only_one_looked_at(command, drawn):
    couples = drawn / "couples-label"
    words = [f"images={couples / 'images'}", "schema=couple"]
    command(*words, f"labeler.folder={couples}", "out=labels")
    assert len(lines(Path("labels/metadata.jsonl"))) == 6
    said = command(*words, f"labeler.folder={drawn / 'styles-label'}", "out=others", code=2)
    assert "6 of 6 photos have no answer" in said
    assert "is not a figure of the demo" in Path("others/failed.csv").read_text()


def test_photos_of_people_are_not_answered_for(command, drawn, no_drawing, tmp_path):
    (tmp_path / "mixed").mkdir()
    shutil.copy(drawn / "styles-label" / "images" / "s0001.jpg", tmp_path / "mixed" / "a.jpg")
    (tmp_path / "mixed" / "b.jpg").write_bytes(picture(1))
    said = command("images=mixed", code=2)
    assert "1 of 2 photos have no answer" in said
    assert "use labeler=openai" in (tmp_path / "mixed" / "failed.csv").read_text()


def test_the_demo_folder_keeps_its_own_metadata(command, drawn):
    before = (drawn / "styles-label" / "metadata.jsonl").read_bytes()
    assert "is not overwritten" in command(f"images={drawn / 'styles-label'}", code=2)
    assert (drawn / "styles-label" / "metadata.jsonl").read_bytes() == before
    command(f"images={drawn / 'styles-label'}", "out=labels")
    assert Path("labels/metadata.jsonl").read_bytes() == before  # image names are those of profiles.csv
    (drawn / "styles-label" / "labels.sqlite").unlink()


@pytest.mark.integration
def test_the_demos_of_the_configs_are_drawn_where_no_folder_has_the_photo(typed, tmp_path, monkeypatch):
    monkeypatch.setenv("STYLE_MATCH_CACHE", str(tmp_path / "cache"))
    drawn = []

    def draw(data, *, show):  # in miniature: the real ones take half a minute
        drawn.append(data)
        if data.task == "style":
            write_styles(tmp_path / "drawn", num_photos=2, **{**DRAWING, "world_seed": 4})
        return tmp_path / "drawn"

    monkeypatch.setattr(offline, "draw_demo", draw)
    write_styles(tmp_path / "same", num_photos=2, **{**DRAWING, "world_seed": 4})
    typed(f"images={tmp_path / 'same' / 'images'}", "out=labels")
    assert "drawing data=demo_styles" in typed.err
    assert [(data.name, data.world_seed) for data in drawn] == [("demo_styles", 0), ("demo_couples", 0)]
    assert len(lines(Path("labels/metadata.jsonl"))) == 2


def test_drawn_photos_stay_synthetic_wherever_they_are_copied(command, drawn, no_drawing, tmp_path):
    photos = tmp_path / "copied"
    shutil.copytree(drawn / "styles-label" / "images", photos)
    assert not is_synthetic(photos)
    command(f"images={photos}")
    assert is_synthetic(photos)
    (tmp_path / "people").mkdir()
    (tmp_path / "people" / "a.jpg").write_bytes(picture(3))
    command(f"images={tmp_path / 'people'}", "max_failed_share=1")
    assert no_drawing == ["demo_styles", "demo_couples"]
    assert not is_synthetic(tmp_path / "people")
