"""What the page shows, and what it does not show."""

import io

import pytest
from PIL import Image

from style_match.serving.web import catalogue as catalogues
from tests.serving.web.conftest import EVIL


def error(answer) -> str:
    assert answer.status_code == 400, answer.text
    return answer.json()["error"]


def test_matches_of_both_models(client):
    answer = client().get("/api/match", params={"number": 0, "k": 4}).json()
    assert answer["query"]["id"] == EVIL
    assert [each["id"][0] for each in answer["trained"]] == ["p"] * 4  # the other side, never oneself
    scores = [[each["score"] for each in answer[model]] for model in ("trained", "frozen")]
    assert scores[0] != scores[1] and all(each == sorted(each, reverse=True) for each in scores)
    assert {each["columns"]["city"] for each in answer["trained"]} <= {EVIL, "부산"}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"k": 0}, "k=0 must be at least 1"),
        ({"k": 5}, "there are 4 profiles to choose from. Set k=4 or less"),
        ({"k": ""}, "k= must be an integer"),
        ({"k": "9" * 6000}, "must be an integer"),
        ({"number": "x"}, "number=x must be an integer"),
        ({"number": 8}, "no profile number 8"),
        ({"number": -1}, "no profile number -1"),
        ({"where": "agee < 3"}, "Did you mean age?"),
        ({"where": "age <"}, "where: the condition is not complete"),
        ({"where": "__import__('os').system('true')"}, "where:"),
        ({"where": f"city == '{EVIL}x'"}, "where leaves 0 of 4"),
    ],
)
def test_a_mistake_is_an_answer(client, params, message):
    assert message in error(client().get("/api/match", params={"number": 0, "k": 2, **params}))


def test_a_filter_goes_for_every_tab(client):
    asking = client()
    where = "`a b` == 'o\\'x1' and vip == true"
    found = asking.get("/api/match", params={"number": 0, "k": 4, "where": where}).json()
    assert {each["columns"]["a b"] for each in found["trained"] + found["frozen"]} == {"o'x1"}
    points = asking.get("/api/map", params={"colour": "city", "where": "age >= 22"}).json()
    assert [group["name"] for group in points["groups"]] == ["부산"]
    assert points["note"].startswith("6 of 8 profiles. t-SNE")
    assert "Did you mean age?" in error(asking.get("/api/map", params={"where": "agee > 3"}))
    assert "where:" in error(asking.get("/api/search", params={"text": "a", "k": 1, "where": "age >"}))
    assert "Set k=8 or less" in error(asking.get("/api/search", params={"text": "a", "k": 9}))
    assert "Write some words" in error(asking.get("/api/search", params={"text": " ", "k": 1}))


def test_markup_and_metadata_that_json_cannot_hold_come_as_text(client):
    answer = client().get("/api/match", params={"number": 0, "k": 1})
    assert answer.headers["content-type"] == "application/json"
    query = answer.json()["query"]
    metadata = query["metadata"]
    assert query["columns"]["city"] == EVIL and metadata["caption"] == EVIL
    assert metadata["colours"] == '["red", "파랑"]' and metadata["big"] == "Infinity"
    assert metadata["half"] == "\ud800" and "no" not in metadata


def test_profiles_are_found_by_part_of_their_id(client):
    asking = client(num=1000)
    every = asking.get("/api/profiles").json()
    assert every["total"] == 1000 and len(every["profiles"]) == 24
    found = asking.get("/api/profiles", params={"find": " P099 "}).json()
    assert [each["id"] for each in found["profiles"]] == [f"p099{last}" for last in range(10)]
    assert asking.get("/api/profiles", params={"find": "nobody"}).json() == {"profiles": [], "total": 0}


def test_columns_to_choose_from_and_colours(client, monkeypatch):
    monkeypatch.setattr(catalogues, "MAX_VALUES", 4)
    about = client().get("/api/about").json()
    columns = {each["name"]: (each["kind"], each["values"]) for each in about["columns"]}
    assert columns["city"][1] == [EVIL, "부산"] and columns["vip"] == ("flag", None)
    assert columns["age"] == ("number", None)  # too many values
    assert about["colours"] == ["city", "a b", "look"]
    assert about["sides"] == ["female", "male"] and about["k"] == 4  # no more can be recommended


def test_a_folder_without_couples_columns_or_texts(client, tmp_path):
    asking = client(sides=False, searches=False, with_columns=False)
    about = asking.get("/api/about").json()
    assert (about["sides"], about["columns"], about["k"]) == ([], [], 7)
    assert about["search_note"] == "No text search."
    assert "No text search" in error(asking.get("/api/search", params={"text": "a", "k": 1}))
    assert "there is no column 'age'" in error(asking.get("/api/map", params={"where": "age > 3"}))
    photo = (tmp_path / "people" / "1.jpg").read_bytes()
    answer = asking.post("/api/match", params={"k": 7}, content=photo, headers={"X-Upload": "photo"})
    assert len(answer.json()["trained"]) == 7


@pytest.mark.parametrize("prompt", [{"image": 0, "metadata": 1}, {"image": 1, "metadata": 1}])
def test_a_matcher_that_reads_metadata_takes_no_upload(client, tmp_path, prompt):
    asking = client(prompt={"name": "both", **prompt})
    assert "prompt=both" in asking.get("/api/about").json()["upload_note"]
    photo = (tmp_path / "people" / "1.jpg").read_bytes()
    params = {"k": 1, "side": "male"}
    answer = asking.post("/api/match", params=params, content=photo, headers={"X-Upload": "photo"})
    assert "reads metadata" in error(answer)


def test_a_profile_of_unknown_side_gets_a_remedy(client):
    answer = client(unknown_side=3).get("/api/match", params={"number": 3, "k": 1})
    assert "it is unknown whether this profile is female or male" in error(answer)


def test_no_answer_tells_where_things_are_on_this_machine(client, tmp_path):
    asking = client()
    answers = [asking.get(path) for path in ("/api/about", "/api/profiles", "/api/map", "/api/search?k=1&text=a")]
    answers += [asking.get(f"/api/match?number={number}&k=2") for number in range(9)]
    (tmp_path / "people" / "3.jpg").unlink()
    answers.append(asking.get("/photo/3.jpg"))
    assert answers[-1].status_code == 404
    assert not any(str(tmp_path) in answer.text for answer in answers)


def test_a_thumbnail_has_nothing_but_pixels(client):
    asking = client()
    for path, side in (("/photo/0.jpg", 128), ("/photo/0.jpg?side=99999", 512), ("/photo/0.jpg?side=0", 16)):
        picture = thumbnail(asking.get(path))
        assert max(picture.size) == side and picture.size[0] * 2 == pytest.approx(picture.size[1] * 3, abs=3)


def test_every_photo_of_a_profile_can_be_seen(client):
    asking = client()
    assert asking.get("/api/match", params={"number": 1, "k": 1}).json()["query"]["num_photos"] == 2
    assert thumbnail(asking.get("/photo/1.jpg?photo=0")).getpixel((5, 5))[0] < 50
    assert thumbnail(asking.get("/photo/1.jpg?photo=1")).getpixel((5, 5))[0] > 200


def thumbnail(answer) -> Image.Image:
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/jpeg"
    assert b"secret" not in answer.content and b"Exif" not in answer.content
    return Image.open(io.BytesIO(answer.content))


def test_the_map_holds_places_by_both_models(client, monkeypatch):
    monkeypatch.setattr(catalogues, "MAX_POINTS", 20)
    found = client(num=40).get("/api/map", params={"colour": "look"}).json()
    assert len(found["numbers"]) == len(found["ids"]) == len(found["trained"][0]) == len(found["frozen"][1]) == 20
    assert sorted(point for group in found["groups"] for point in group["points"]) == list(range(20))
    assert {group["name"] for group in found["groups"]} >= {"dandy", "neat"}
    assert found["note"].startswith("20 of 40 profiles, drawn at random.")
    assert found["trained"] != found["frozen"]
