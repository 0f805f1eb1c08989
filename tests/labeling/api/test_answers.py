"""What is sent and what comes of it, in both interfaces."""

import base64
import io
import json

import pytest
from PIL import Image

from tests.labeling.api.conftest import KEY, NUM_PHOTOS

APIS = ("responses", "chat")


def jpeg_of(body: dict) -> bytes:
    parts = [
        part for item in body.get("input") or body["messages"] for part in item["content"] if isinstance(part, dict)
    ]
    url = next(part["image_url"] for part in parts if "image_url" in part)
    return base64.b64decode((url if isinstance(url, str) else url["url"]).partition(",")[2])


@pytest.mark.parametrize("api", APIS)
def test_labels_are_what_was_drawn(api, serve, command, known):
    done = command(server := serve(), f"labeler.api={api}", typed=api == APIS[0])
    assert done.code == 0, done.err
    assert {image: row["fashion_style"] for image, row in done.lines.items()} == {
        name.removeprefix("images/"): look.style for name, look in zip(known.names, known.looks, strict=True)
    }
    assert sum(server.asked.values()) == NUM_PHOTOS
    assert f"{NUM_PHOTOS} requests sent, {NUM_PHOTOS} answered" in done.err


@pytest.mark.parametrize("api", APIS)
def test_nothing_but_prompt_schema_and_pixels_is_sent(api, serve, command):
    command(server := serve(), f"labeler.api={api}")
    allowed = {
        "responses": {"model", "store", "reasoning", "instructions", "input", "text", "max_output_tokens"},
        "chat": {"model", "store", "reasoning_effort", "messages", "response_format", "max_completion_tokens"},
    }
    for _, headers, body in server.requests:
        assert set(body) == allowed[api]
        assert body["store"] is False
        jpeg = jpeg_of(body)
        with Image.open(io.BytesIO(jpeg)) as image:
            assert not image.getexif() and not image.info.keys() & {"exif", "icc_profile", "comment"}
        sent = json.dumps({**headers, **body}) + jpeg.decode("latin-1")
        assert "SecretCamera" not in sent and "s0001" not in sent and "photos" not in headers.values()
        told = {name.lower() for name in headers if name.lower().startswith("x-stainless")}
        assert told <= {"x-stainless-raw-response", "x-stainless-retry-count", "x-stainless-read-timeout"}
        assert {name.lower(): value for name, value in headers.items()}["user-agent"] == "style_match"


def test_stored_answers_are_not_asked_for_again(serve, command):
    command(server := serve())
    again = command(server, "labeler.api=chat")  # the other interface asks the same
    assert sum(server.asked.values()) == NUM_PHOTOS
    assert again.code == 0 and len(again.lines) == NUM_PHOTOS


def test_other_options_are_other_questions(serve, command):
    command(server := serve())
    command(server, "labeler.effort=low")
    assert sum(server.asked.values()) == 2 * NUM_PHOTOS


def test_a_compatible_server_needs_no_key_and_is_not_paid(serve, command, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    done = command(server := serve(key=None), "labeler.model=Qwen/Qwen3-VL-8B-Instruct", labeler="compatible")
    assert done.code == 0, done.err
    assert "nothing is paid" in done.err and len(done.lines) == NUM_PHOTOS
    assert f"{NUM_PHOTOS} requests sent, {NUM_PHOTOS} answered" in done.err
    path, _, body = server.requests[0]
    assert path == "/v1/chat/completions" and body["temperature"] == 0 and "store" not in body


def test_a_compatible_server_needs_the_name_of_its_model(serve, command):
    done = command(server := serve(), "labeler.model=null", labeler="compatible")
    assert done.code == 2 and "labeler.model is required by labeler=compatible" in done.err and not server.requests


@pytest.mark.integration
def test_a_dry_run_sends_nothing_and_needs_no_key(serve, command, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    done = command(server := serve(), "labeler.dry_run=true", typed=True)
    assert done.code == 0 and not server.requests
    shown = json.loads(done.out)
    assert shown["POST"] == f"{server.url}/responses" and shown["body"]["store"] is False
    assert len(done.out) < 20_000 and "OPENAI_API_KEY" in shown["Authorization"]
    assert (done.folder / "dry_run.jpg").read_bytes().startswith(b"\xff\xd8")


@pytest.mark.integration
def test_the_key_is_in_no_file_and_no_output(serve, command):
    done = [
        command(serve(script=["ok", "500", "refusal"]), typed=True),
        command(serve(key="another"), "labeler.effort=low"),
    ]
    secret = KEY.encode()
    for one in done:
        assert KEY not in one.out + one.err
    assert done[1].code == 2 and "does not accept the key in OPENAI_API_KEY" in done[1].err
    for path in done[0].folder.parent.rglob("*"):
        assert not path.is_file() or secret not in path.read_bytes(), path


@pytest.mark.integration
def test_secrets_of_an_address_are_not_printed(serve, command):
    server = serve(always="404")
    address = f"{server.url.replace('//', '//me:hidden@')}?token=hidden"
    done = command(None, f'labeler.base_url="{address}"', typed=True)
    assert done.code == 2 and "hidden" not in done.out + done.err
