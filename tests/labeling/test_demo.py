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
LOOKS = [profile.look for couple in couple_profiles(world_seed=3, num_couples=8, params=PARAMS) for profile in couple]


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


@pytest.fixture(autouse=True)
def asked_to_draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """(name, seed) of the demos that were drawn, in miniature: the real ones take half a minute."""
    names: list[tuple[str, int]] = []

    def draw(data, *, show):
        names.append((data.name, data.world_seed))
        if data.task == "style":
            write_styles(tmp_path / "drawn", num_photos=2, **{**DRAWING, "world_seed": 4})
        return tmp_path / "drawn"

    monkeypatch.setattr(offline, "draw_demo", draw)
    return names


def told(folder: Path) -> dict[str, dict]:
    """The metadata.jsonl of a drawn folder, by the name of the file."""
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()]
    return {Path(row.pop("image")).name: row for row in rows}


def test_descriptions_equal_the_metadata_of_the_demo():
    for look in LOOKS:
        said, style, couple = describe(look, "en"), style_metadata(look), couple_metadata(look)
        free = ("photo_style", "image_quality")  # free text there, classes in the schema
        both = {**style, **{name: value for name, value in couple.items() if name not in free}}
        assert {name: said[name] for name in both} == both


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("name", ["style", "couple"])
def test_every_look_has_an_answer_to_both_schemas(name, language):
    schema = make_schema(name)
    for look in LOOKS:
        values = schema.check(describe(look, language))
        texts = " ".join(value for key, value in values.items() if key not in schema.nominal)
        assert any("가" <= letter <= "힣" for letter in texts) == (language == "ko")
        assert language == "en" or not any(letter.isascii() and letter.isalpha() for letter in texts)


def test_photos_are_known_by_their_bytes_and_stay_synthetic_wherever_they_are_copied(command, drawn, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, path in enumerate(sorted((drawn / "styles-label" / "images").iterdir())):
        shutil.copy(path, photos / f"profile {number}.jpg")
    assert not is_synthetic(photos)
    done = command(f"images={photos}", "schema=style")
    assert "style labels of 12 of 12 photos, synthetic data" in done.out and is_synthetic(photos)
    assert done.lines["profile 3.jpg"] == told(drawn / "styles-label")["s0004.jpg"]
    done = command(f"images={photos}", "schema=style", "labeler.language=ko")
    assert "사진" in done.lines["profile 3.jpg"]["caption"]


def test_a_folder_that_is_named_is_the_only_one_looked_at(command, drawn):
    couples = drawn / "couples-label"
    words = [f"images={couples / 'images'}", "schema=couple"]
    assert len(command(*words, f"labeler.folder={couples}", "out=labels").lines) == 6
    done = command(*words, f"labeler.folder={drawn / 'styles-label'}", "out=others", code=2)
    assert "6 of 6 photos have no answer" in done.err
    assert "is not a figure of the demo" in done.failed["f0001.jpg"]["detail"]


@pytest.mark.integration
def test_photos_of_people_are_not_answered_for_and_not_synthetic(command, drawn, asked_to_draw, tmp_path):
    people = tmp_path / "people"
    people.mkdir()
    (people / "b.jpg").write_bytes(picture(1))
    command(f"images={people}", "max_failed_share=1", typed=True)
    assert asked_to_draw == [("demo_styles", 0), ("demo_couples", 0)] and not is_synthetic(people)
    shutil.copy(drawn / "styles-label" / "images" / "s0001.jpg", people / "a.jpg")
    done = command(f"images={people}", f"labeler.folder={drawn / 'styles-label'}", code=2)
    assert "1 of 2 photos have no answer" in done.err and "use labeler=openai" in done.failed["b.jpg"]["detail"]


def test_the_demo_folder_keeps_its_own_metadata(command, drawn):
    styles = drawn / "styles-label"
    before = (styles / "metadata.jsonl").read_bytes()
    assert "is not overwritten" in command(f"images={styles}", code=2).err
    assert (styles / "metadata.jsonl").read_bytes() == before
    command(f"images={styles}", "out=labels")
    assert Path("labels/metadata.jsonl").read_bytes() == before  # image names are those of profiles.csv
    (styles / "labels.sqlite").unlink()


@pytest.mark.integration
def test_the_demos_of_the_configs_are_drawn_where_no_folder_has_the_photo(command, tmp_path, monkeypatch):
    monkeypatch.setenv("STYLE_MATCH_CACHE", str(tmp_path / "cache"))
    write_styles(tmp_path / "same", num_photos=2, **{**DRAWING, "world_seed": 4})
    done = command(f"images={tmp_path / 'same' / 'images'}", "out=labels", typed=True)
    assert "drawing data=demo_styles" in done.err and len(done.lines) == 2
