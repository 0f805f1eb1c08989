"""index=qdrant on a server and embedded: whom it asks, what it tells nobody, what it refuses."""

import gc
import socket

import pytest
from qdrant_client import QdrantClient

from style_match.serving.index.folder import delete_everywhere, known_indexes, open_or_build
from style_match.serving.index.qdrant import escaped, unescaped
from style_match.serving.where import parse
from style_match.utils.errors import UserError

from .conftest import config_of, people
from .qdrant_fake import Fake

KEY = "0123456789abcdef0123456789abcdef"
SECRET = "a-key-nobody-may-read"


@pytest.fixture
def server():
    fake = Fake()
    yield fake
    fake.close()


def nobody_listens() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{one.getsockname()[1]}"


def test_a_server_answers_as_the_exact_index_does(server, unlisted, make, capsys):
    ids, vectors, cells = people(40)
    exact = make("exact")
    exact.build(ids[5:], vectors[5:], cells[5:], KEY)
    for chosen in (range(40), range(5, 40)):
        some = [ids[i] for i in chosen], vectors[list(chosen)], [cells[i] for i in chosen]
        index = open_or_build(config_of("qdrant", url=server.url), unlisted, *some, KEY)
    assert "0 added, 0 replaced, 5 removed" in capsys.readouterr().err
    for condition in (None, parse("age < 30 and `스타일 word` == '깔끔한' or not gender == 'm'")):
        exclude = [[one] for one in ids[5:]]
        ask = {"where": condition, "exclude": exclude}
        assert index.search(vectors[5:], 6, **ask) == exact.search(vectors[5:], 6, **ask)
    assert len(index) == 35
    index.close()
    assert {"text.gender", "number.age", "flag.gender"} <= server.payload_indexes.keys()
    # another machine, without this cache, finds the collection as it is
    server.seen.clear()
    other = make("qdrant", url=server.url, collection=index.collection)
    other.open(unlisted / "not there", matcher=KEY)
    assert other.digests() == exact.digests()
    assert other.search(vectors[:3], 2, where=parse("gender == 'f'")) == exact.search(
        vectors[:3], 2, where=parse("gender == 'f'")
    )
    assert not [method for method, path, _ in server.seen if method in ("PUT", "DELETE")]


def test_the_key_comes_from_the_environment_and_is_told_to_nobody_else(server, unlisted, monkeypatch, capsys):
    server.key = SECRET
    config = config_of("qdrant", url=server.url)
    with pytest.raises(UserError, match="wants a key: put it into the variable QDRANT_API_KEY"):
        open_or_build(config, unlisted, *people(5), KEY)
    monkeypatch.setenv("QDRANT_API_KEY", "wrong-" + SECRET)
    with pytest.raises(UserError, match="does not accept the key of the variable QDRANT_API_KEY") as told:
        open_or_build(config, unlisted, *people(5), KEY)
    assert SECRET not in str(told.value)
    monkeypatch.setenv("QDRANT_API_KEY", SECRET)
    open_or_build(config, unlisted, *people(5), KEY).close()
    server.failing = 500
    with pytest.raises(UserError, match="out of memory") as told:
        open_or_build(config, unlisted, *people(5), KEY)
    assert SECRET not in str(told.value)
    assert SECRET not in "".join(capsys.readouterr())
    assert not [path for path in unlisted.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


@pytest.mark.parametrize("url", ["https://me:secret@host:6333", "https://secret@host", "http://host?api-key=secret"])
def test_an_address_with_a_secret_is_refused_and_not_repeated(url):
    with pytest.raises(Exception) as told:
        open_or_build(config_of("qdrant", url=url), "data", *people(2), KEY)
    assert "QDRANT_API_KEY" in str(told.value) and "secret" not in str(told.value.__cause__)


@pytest.mark.parametrize("url", ["host:6333", "ftp://host", "http://", "http://host:port", "http://[::1"])
def test_what_is_no_address_is_refused(url, make):
    with pytest.raises(Exception, match=r"index\.url.* is no address: write index\.url=https://HOST:6333"):
        make("qdrant", url=url)


def test_a_server_that_cannot_be_reached_is_a_mistake_with_a_remedy(unlisted):
    config = config_of("qdrant", url=nobody_listens())
    with pytest.raises(UserError, match=r"cannot be reached .*Is it running.* leave index\.url out .* index=exact"):
        open_or_build(config, unlisted, *people(3), KEY)


def test_who_is_forgotten_is_deleted_from_servers_too_or_it_is_said(server, unlisted):
    ids, vectors, cells = people(6)
    index = open_or_build(config_of("qdrant", url=server.url), unlisted, ids, vectors, cells, KEY)
    name = index.collection
    index.close()
    (line,) = delete_everywhere(unlisted, ["p002", "p003"])
    assert line.endswith(": 2 profiles deleted")
    left = {point.payload["id"] for point in server.held.scroll(name, limit=10)[0]}
    assert left == set(ids) - {"p002", "p003"}
    server.close()
    (line,) = delete_everywhere(unlisted, ["p001"])
    assert "NOT deleted" in line and server.url in line and "cannot be reached" in line
    assert len(known_indexes()) == 1


def test_collections_of_others_are_left_alone(server, make, tmp_path):
    ids, vectors, cells = people(4)
    first = make("qdrant", url=server.url, collection="mine")
    first.build(ids, vectors, cells, "first matcher")
    second = make("qdrant", url=server.url, collection="mine")
    for do in (
        lambda: second.build(ids, vectors, cells, "second matcher"),
        lambda: second.open(tmp_path, matcher="second matcher"),
    ):
        with pytest.raises(UserError, match=r"of the matcher first matcher, .* with those of second matcher"):
            do()
    points = [point.id for point in server.held.scroll("mine")[0]]
    server.held.set_payload("mine", {"format": 2}, points)
    with pytest.raises(UserError, match=r"is of format 2; .* reads up to 1"):
        make("qdrant", url=server.url, collection="mine").open(tmp_path, matcher="first matcher")
    server.held.clear_payload("mine", points)
    with pytest.raises(UserError, match="is not one of style_match"):
        make("qdrant", url=server.url, collection="mine").build(ids, vectors, cells, "first matcher")
    assert server.held.count("mine").count == 4


def test_an_embedded_one_serves_one_process_at_a_time(make, tmp_path):
    index = make("qdrant")
    index.build(*people(4), KEY, folder=tmp_path)
    with pytest.raises(UserError, match="in use by another process"):
        make("qdrant").open(tmp_path, matcher=KEY)
    index.close()
    make("qdrant").open(tmp_path, matcher=KEY)


def test_a_writer_that_was_stopped_is_made_up_for(unlisted, monkeypatch, capsys):
    from style_match.serving.index.qdrant import Points

    ids, vectors, cells = people(20)
    put = Points._put

    def stopped(self, points):
        put(self, points[:3])
        raise KeyboardInterrupt

    monkeypatch.setattr(Points, "_put", stopped)
    with pytest.raises(KeyboardInterrupt):
        open_or_build(config_of("qdrant", batch=5), unlisted, ids, vectors, cells, KEY)
    monkeypatch.setattr(Points, "_put", put)
    gc.collect()  # the process that was stopped is this one: its lock goes with its client
    index = open_or_build(config_of("qdrant"), unlisted, ids, vectors, cells, KEY)
    assert "17 added, 0 replaced, 0 removed" in capsys.readouterr().err
    assert len(index) == 20
    index.close()


def test_the_embedded_storage_is_one_of_qdrant(make, tmp_path):
    index = make("qdrant")
    index.build(*people(4), KEY, folder=tmp_path)
    index.close()
    client = QdrantClient(path=str(tmp_path / "qdrant"))
    assert client.count(index.collection).count == 4
    client.close()


@pytest.mark.parametrize("name", ["age", "스타일 word", "a.b[0]", '"quoted"', "_5f", "é_ê", "tab\t", ""])
def test_any_column_name_fits_into_a_path(name):
    assert unescaped(escaped(name)) == name
    assert all(sign.isascii() and (sign.isalnum() or sign == "_") for sign in escaped(name))
