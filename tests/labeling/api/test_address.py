"""Where requests go, and what of the environment goes with them."""

import pytest

from style_match.labeling.client import Address, connect
from style_match.utils.errors import UserError

ENVIRONMENT = {
    "OPENAI_ORG_ID": "org-of-the-user",
    "OPENAI_PROJECT_ID": "project-of-the-user",
    "OPENAI_ADMIN_KEY": "admin-of-the-user",
    "OPENAI_CUSTOM_HEADERS": "X-Gateway-Token: token-of-the-user\nAuthorization: Bearer other-of-the-user",
}


@pytest.mark.parametrize("labeler", ["openai", "compatible"])
def test_what_the_environment_says_does_not_go_to_another_server(labeler, serve, command, monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    done = command(server := serve(key=None), labeler=labeler)
    assert done.code == 0 and server.requests, done.err
    assert not [headers for _, headers, _ in server.requests if "of-the-user" in str(headers)]


def test_organisation_and_project_go_to_the_provider_alone(monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    hosts = ["https://api.openai.com/v1", "https://eu.api.openai.com/v1", "https://api.openai.com.example.org/v1"]
    clients = [connect(Address(url, allow_http=False), "key", timeout_s=1, connect_timeout_s=1) for url in hosts]
    assert [client.organization for client in clients] == ["org-of-the-user", "org-of-the-user", None]
    assert [client.project for client in clients] == ["project-of-the-user", "project-of-the-user", None]
    assert not any("X-Gateway-Token" in client.default_headers for client in clients)


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_no_proxy_stands_before_this_machine(variable, serve, command, monkeypatch):
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
    assert done.code == 2 and "labeler.base_url" in done.err and "is no address" in done.err, done.err
    assert "Traceback" not in done.err and "sec" not in done.err.replace("seconds", "")


def test_servers_of_one_machine_are_told_apart():
    names = [
        Address(url, allow_http=True).name
        for url in ("http://here:8000/v1", "http://here:8001/v1", "http://here/v1", "https://here/v1")
    ]
    assert names == ["here:8000", "here:8001", "here:80", "here:443"]
    assert Address("https://api.openai.com:443/v1", allow_http=False).name == "api.openai.com"


def test_photos_do_not_go_unencrypted():
    with pytest.raises(UserError, match=r"labeler\.allow_http=true"):
        Address("http://api.openai.com/v1", allow_http=False)
