"""`python -m style_match.app`: its mistakes, and the server that it makes of a matcher and a folder."""

import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("starlette", reason="the extra app is not installed")
pytest.importorskip("uvicorn", reason="the extra app is not installed")

from starlette.testclient import TestClient

from style_match.serving.web import catalogue
from style_match.serving.web import server as serving
from tests.commands import HEAVY, unimportable
from tests.serving.web.people import CAPTION, CITIES, EVIL, data_folder, evil_folder

PASSWORD = "STYLE_MATCH_APP_PASSWORD"


@pytest.fixture(autouse=True)
def no_password(monkeypatch):
    monkeypatch.delenv(PASSWORD, raising=False)


@pytest.fixture
def refuses(run_step, tmp_path):
    """`refuses(message, *words)`: the step ends with code 2 before it imports anything heavy."""

    def refuse(message: str, *words: str, without: tuple[str, ...] = (), **environment: str) -> None:
        with unimportable(*HEAVY, *without):
            reported = run_step("app", *words, code=2, cwd=tmp_path, **environment).stderr
        assert message in reported and "Traceback" not in reported, reported

    return refuse


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_other_machines_need_a_password(refuses):
    for host in ("0.0.0.0", "::", "192.168.0.7"):
        refuses(PASSWORD, "model=nowhere", f'app.host="{host}"')
    refuses(
        "model=nowhere: there is no such folder",
        "model=nowhere",
        "app.host=0.0.0.0",
        f"app.port={free_port()}",
        **{PASSWORD: "x"},
    )


def test_a_port_in_use(refuses):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refuses(f"app.port={port} cannot be used", "model=nowhere", f"app.port={port}")
        refuses("Set another app.port", "model=nowhere", f"app.port={port}")


@pytest.mark.parametrize("name", ["starlette", "uvicorn"])
def test_a_missing_extra(refuses, name):
    refuses(f"{name} is not installed: pip install 'style_match[app]'", "model=nowhere", without=(name,))


def test_a_damaged_matcher(refuses, tmp_path):
    folder = tmp_path / "matcher"
    folder.mkdir()
    words = ("model=matcher", f"app.port={free_port()}")
    refuses("has no matcher.json", *words)
    (folder / "matcher.json").write_text('{"format": 1}')
    refuses("changed or damaged", *words)
    (folder / "matcher.json").write_text('{"format": 9}')
    refuses("Install a newer style_match", *words)


class Served:
    """The server, its line and its options, which the step passes on; it does not run."""

    def __init__(self, people: Path | None = None):
        self.people, self.server, self.line, self.options = people, None, "", {}

    def serve(self, server, line, **options) -> None:
        self.server, self.line, self.options = server, line, options

    def client(self, host: str = "127.0.0.1") -> TestClient:
        return TestClient(self.server, base_url=f"http://{host}:{self.options['port']}")


@pytest.fixture(scope="module")
def served(couples_run, matcher_folder, run_step, tmp_path_factory) -> Served:
    """The server of `matcher_folder` over a folder of 80 profiles with markup."""
    people = evil_folder(data_folder(couples_run), tmp_path_factory.mktemp("app") / "people")
    found = Served(people)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serving, "serve", found.serve)
        words = (f"model={matcher_folder}", f"data.root={people}", f"app.port={free_port()}")
        run_step("app", *words, "app.max_upload_mb=1")
    assert found.line == f"http://127.0.0.1:{found.options['port']} - press Ctrl-C to stop"
    return found


@pytest.fixture
def client(served) -> TestClient:
    return served.client()


def test_only_this_machine_is_served(served):
    assert served.options["host"] == "127.0.0.1" and not served.options["access_log"]
    assert served.client().get("/").status_code == 200
    assert served.client("evil.example").get("/").status_code == 400


def test_other_machines_are_served_with_the_password(run_step, matcher_folder, monkeypatch):
    found = Served()
    monkeypatch.setattr(serving, "serve", found.serve)
    monkeypatch.setattr(catalogue, "open_catalogue", lambda *_: SimpleNamespace(close=lambda: None))
    words = (f"model={matcher_folder}", "app.host=0.0.0.0", f"app.port={free_port()}")
    done = run_step("app", *words, **{PASSWORD: "open sesame"})
    assert "(password needed)" in found.line and "sesame" not in done.stdout + done.stderr + found.line
    assert found.options["host"] == "0.0.0.0"
    page = found.client("style.example")
    assert page.get("/").status_code == 401 and page.get("/", auth=("anybody", "open")).status_code == 401
    assert page.get("/", auth=("anybody", "open sesame")).status_code == 200


def test_a_profile_has_matches_of_both_models(client):
    found = client.get("/api/match", params={"number": 0, "k": 8}).json()
    query = found["query"]
    assert (query["id"], query["num_photos"], query["metadata"]["caption"]) == (EVIL, 2, CAPTION)
    for model in ("trained", "frozen"):
        assert [each["id"][0] for each in found[model]] == ["m"] * 8
        scores = [each["score"] for each in found[model]]
        assert scores == sorted(scores, reverse=True)
        for each in found[model]:
            assert client.get(f"/photo/{each['number']}.jpg").headers["content-type"] == "image/jpeg"
    assert found["trained"] != found["frozen"]
    one = client.get("/api/match", params={"number": 0, "k": 3, "where": f"city == '{CITIES[1]}'"}).json()
    assert {each["columns"]["city"] for each in one["trained"] + one["frozen"]} == {CITIES[1]}


def test_an_uploaded_photo_has_the_matches_of_its_profile(client, served):
    (number,) = (each["number"] for each in client.get("/api/profiles", params={"find": "f0009"}).json()["profiles"])
    (file,) = (served.people / "images").glob("f0009*")
    options = {"params": {"k": 8, "side": "female"}, "headers": {"X-Upload": "photo"}}
    found = client.post("/api/match", content=file.read_bytes(), **options).json()
    wanted = client.get("/api/match", params={"number": number, "k": 8}).json()
    for model in ("trained", "frozen"):
        assert [each["id"] for each in found[model]] == [each["id"] for each in wanted[model]]
        scores = [each["score"] for each in wanted[model]]
        assert [each["score"] for each in found[model]] == pytest.approx(scores, abs=1e-5)
    large = client.post("/api/match", content=bytes(1_100_000), **options)
    assert large.status_code == 413 and "above 1 MB (app.max_upload_mb)" in large.text


def test_photos_are_found_by_texts_in_english_and_korean(client):
    about = client.get("/api/about").json()
    assert not about["search_note"] and not about["upload_note"]
    for text in ("a neat dandy look", "깔끔한 댄디룩 찾아줘"):
        found = client.get("/api/search", params={"text": text, "k": 8, "where": "gender == 'male'"}).json()
        assert [each["id"][0] for each in found["hits"]] == ["m"] * 8


def test_the_map_has_a_place_for_every_profile_by_both_models(client):
    found = client.get("/api/map", params={"colour": "city"}).json()
    assert found["note"].startswith("80 profiles. t-SNE")
    assert len(found["trained"][0]) == len(found["frozen"][1]) == 80
    assert {group["name"] for group in found["groups"]} == set(CITIES)
