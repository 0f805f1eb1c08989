"""What is sent, where to, what comes of it, in both interfaces, and what it costs."""

import base64
import io
import json
import re

import pytest
from PIL import Image

from style_match.labeling import openai
from style_match.labeling.client import Address, connect
from style_match.utils.errors import UserError
from tests.labeling.api.conftest import KEY, NUM_PHOTOS

APIS = ("responses", "chat")
ENVIRONMENT = {
    "OPENAI_ORG_ID": "org-of-the-user",
    "OPENAI_PROJECT_ID": "project-of-the-user",
    "OPENAI_ADMIN_KEY": "admin-of-the-user",
    "OPENAI_CUSTOM_HEADERS": "X-Gateway-Token: token-of-the-user\nAuthorization: Bearer other-of-the-user",
}


def jpeg_of(body: dict) -> bytes:
    contents = [each["content"] for each in body.get("input") or body["messages"]]
    url = next(part["image_url"] for parts in contents for part in parts if "image_url" in part)
    return base64.b64decode((url if isinstance(url, str) else url["url"]).partition(",")[2])


@pytest.mark.parametrize("api", APIS)
def test_labels_are_what_was_drawn(api, serve, command, known):
    done = command(server := serve(), f"labeler.api={api}", typed=api == APIS[0])
    assert done.code == 0, done.err
    assert {f"images/{image}": row["fashion_style"] for image, row in done.lines.items()} == {
        name: look.style for name, look in known.looks.items()
    }
    assert sum(server.asked.values()) == NUM_PHOTOS
    assert f"{NUM_PHOTOS} requests sent, {NUM_PHOTOS} answered" in done.err


@pytest.mark.parametrize("api", APIS)
def test_only_prompt_schema_and_pixels_are_sent(api, serve, command):
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
        platform = {name.lower() for name in headers if name.lower().startswith("x-stainless")}
        assert platform <= {"x-stainless-raw-response", "x-stainless-retry-count", "x-stainless-read-timeout"}
        assert {name.lower(): value for name, value in headers.items()}["user-agent"] == "style_match"


def test_stored_answers_are_not_asked_for_again(serve, command):
    command(server := serve())
    again = command(server, "labeler.api=chat")  # the other interface asks the same question
    assert sum(server.asked.values()) == NUM_PHOTOS
    assert again.code == 0 and len(again.lines) == NUM_PHOTOS
    command(server, "labeler.effort=low")
    assert sum(server.asked.values()) == 2 * NUM_PHOTOS


def test_a_compatible_server_needs_no_key_and_is_free(serve, command, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    done = command(server := serve(key=None), "labeler.model=Qwen/Qwen3-VL-8B-Instruct", labeler="compatible")
    assert done.code == 0, done.err
    assert "free of charge" in done.err and len(done.lines) == NUM_PHOTOS
    path, _, body = server.requests[0]
    assert path == "/v1/chat/completions" and body["temperature"] == 0 and "store" not in body
    missing = command(server, "labeler.model=null", labeler="compatible")
    assert missing.code == 2 and "labeler=compatible needs labeler.model" in missing.err


@pytest.mark.integration
def test_a_dry_run_sends_nothing_and_needs_no_key(serve, command, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    done = command(server := serve(), "labeler.dry_run=true", typed=True)
    assert done.code == 0 and not server.requests
    shown = json.loads(done.out)
    assert shown["POST"] == f"{server.url}/responses" and shown["body"]["store"] is False
    assert len(done.out) < 20_000 and "OPENAI_API_KEY" in shown["Authorization"]
    assert (done.folder / "dry_run.jpg").read_bytes().startswith(b"\xff\xd8")
    done = command(server)
    assert done.code == 2 and "Set the environment variable OPENAI_API_KEY" in done.err and not server.requests


@pytest.mark.integration
def test_the_key_is_in_no_file_and_no_output(serve, command):
    first = command(serve(script=["ok", "500", "refusal"]), typed=True)
    second = command(serve(key="another"), "labeler.effort=low")
    assert KEY not in first.out + first.err + second.out + second.err
    assert second.code == 2 and "does not accept the key in OPENAI_API_KEY" in second.err
    for path in first.folder.parent.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


@pytest.mark.integration
def test_secrets_in_the_address_are_not_printed(serve, command):
    server = serve(always="404")
    address = f"{server.url.replace('//', '//me:hidden@')}?token=hidden"
    done = command(None, f'labeler.base_url="{address}"', typed=True)
    assert done.code == 2 and "hidden" not in done.out + done.err


@pytest.mark.parametrize("labeler", ["openai", "compatible"])
def test_secrets_of_the_environment_are_not_sent_to_other_servers(labeler, serve, command, monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    done = command(server := serve(key=None), labeler=labeler)
    assert done.code == 0 and server.requests, done.err
    assert not [headers for _, headers, _ in server.requests if "of-the-user" in str(headers)]


def test_organisation_and_project_are_sent_to_openai_only(monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    hosts = ["https://api.openai.com/v1", "https://eu.api.openai.com/v1", "https://api.openai.com.example.org/v1"]
    clients = [connect(Address(url, allow_http=False), "key", timeout_s=1, max_retries=0) for url in hosts]
    assert [client.organization for client in clients] == ["org-of-the-user", "org-of-the-user", None]
    assert [client.project for client in clients] == ["project-of-the-user", "project-of-the-user", None]
    assert not any("X-Gateway-Token" in client.default_headers for client in clients)


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_local_server_is_reached_without_a_proxy(variable, serve, command, monkeypatch):
    server, proxy = serve(), serve(key=None)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, proxy.url.removesuffix("/v1"))
    done = command(server)
    assert done.code == 0 and server.requests and not proxy.requests, done.err


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:abc/v1", "http://[::1", "https://host:99999/v1", "https://me:sec/ret@host/v1", "host/v1"]
)
def test_a_broken_address_is_named(url, command):
    done = command(None, f'labeler.base_url="{url}"', typed="sec" in url)
    assert done.code == 2 and "labeler.base_url" in done.err and "is not a URL" in done.err, done.err
    assert "sec" not in done.err.replace("seconds", "")


def test_servers_of_one_machine_are_distinguished():
    urls = ("http://here:8000/v1", "http://here:8001/v1", "http://here/v1", "https://here/v1")
    names = [Address(url, allow_http=True).name for url in urls]
    assert names == ["here:8000", "here:8001", "here:80", "here:443"]
    assert Address("https://api.openai.com:443/v1", allow_http=False).name == "api.openai.com"


def test_photos_are_not_sent_unencrypted():
    with pytest.raises(UserError, match=r"labeler\.allow_http=true"):
        Address("http://api.openai.com/v1", allow_http=False)


def test_the_estimate_is_near_what_is_used(serve, command):
    done = command(serve())
    said = re.search(r"about (\d+) input tokens", done.err)
    used = re.search(r"; (\d+) input tokens", done.err)
    assert said and used and 0.7 < int(said[1]) / int(used[1]) < 1.5
    assert "prices of 2026-" in done.err


def test_an_estimate_above_the_money_allowed_sends_nothing(serve, command):
    done = command(server := serve(), "labeler.max_cost_usd=0.00001")
    assert done.code == 2 and not server.requests
    assert re.search(r"estimated to cost \$\S+, more than labeler\.max_cost_usd=1e-05", done.err), done.err


def test_a_model_without_a_price_is_used_but_not_with_a_bound(serve, command):
    assert "price unknown" in command(serve(), "labeler.model=new-model").err
    done = command(server := serve(), "labeler.model=newer-model", "labeler.max_cost_usd=1")
    assert done.code == 2 and "needs the price of the model" in done.err and not server.requests
    given = ["labeler.price.input=1", "labeler.price.cached=0.1", "labeler.price.output=4"]
    done = command(serve(), "labeler.model=newer-model", "labeler.max_cost_usd=1", *given)
    assert done.code == 0 and len(done.lines) == NUM_PHOTOS


def test_sending_stops_at_the_limit_whatever_was_estimated(serve, command, monkeypatch):
    price = ["labeler.price.input=0", "labeler.price.cached=0", "labeler.price.output=10000"]
    monkeypatch.setattr(openai, "OUTPUT_TOKENS", 1)
    limit = "labeler.max_cost_usd=1.5"  # an answer costs about $0.7 and is estimated as $0.01
    done = command(server := serve(), *price, limit, "labeler.concurrency=4")
    assert done.code == 2 and "labeler.max_cost_usd=1.5 is reached" in done.err, done.err
    assert 0.3 < float(re.findall(r"\$([0-9.]+)", done.err.partition("this command: ")[2])[0]) <= 1.5
    assert 1 <= sum(server.asked.values()) == len(done.lines) < NUM_PHOTOS
    again = command(server, *price)
    assert again.code == 0 and len(again.lines) == NUM_PHOTOS


def test_both_attempts_of_an_invalid_answer_are_counted(serve, command):
    valid, invalid = serve(), serve(of_image={"images/s0003.jpg": ["violation"]})
    errors = [command(valid).err, command(invalid, "labeler.effort=low").err]
    once, twice = (int(err.rpartition(" input tokens (")[0].split()[-1]) for err in errors)
    assert twice > once
