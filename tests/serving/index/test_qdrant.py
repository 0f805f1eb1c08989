"""index=qdrant on a server and embedded: requests, secrets, foreign collections, interruptions."""

import gc
import json
import socket

import pytest
from qdrant_client import QdrantClient

from style_match.serving.index.folder import delete_everywhere, known_indexes, open_or_build
from style_match.serving.index.qdrant import Qdrant, escaped
from style_match.serving.where import parse
from style_match.utils.errors import UserError

from .conftest import KEY, config_of, people
from .qdrant_fake import Fake

SECRET = "a-key-nobody-may-read"


@pytest.fixture
def server():
    fake = Fake()
    yield fake
    fake.close()


def test_a_server_answers_as_the_exact_index_does(server, unlisted, make, monkeypatch, capsys):
    ids, vectors, cells = people(40)
    exact = make("exact")
    exact.build(ids[5:], vectors[5:], cells[5:], KEY)
    for rows in (range(40), range(5, 40)):
        some = [ids[i] for i in rows], vectors[list(rows)], [cells[i] for i in rows]
        index = open_or_build(config_of("qdrant", url=server.url), unlisted, *some, KEY)
    assert "0 added, 0 replaced, 5 removed" in capsys.readouterr().err
    for condition in (None, parse("age < 30 and `스타일 word` == '깔끔한' or not gender == 'm'")):
        options = {"where": condition, "exclude": [[one] for one in ids[5:]]}
        assert index.search(vectors[5:], 6, **options) == exact.search(vectors[5:], 6, **options)
    assert len(index) == 35
    index.close()
    assert {"text.gender", "number.age", "flag.gender"} <= server.payload_indexes.keys()
    # another machine, without this cache, finds the collection
    monkeypatch.setenv("STYLE_MATCH_CACHE", str(unlisted / "another cache"))
    server.seen.clear()
    other = open_or_build(config_of("qdrant", url=server.url), unlisted, *some, KEY)
    assert "35 profiles, up to date" in capsys.readouterr().err
    assert len(other) == 35
    assert not [method for method, path, _ in server.seen if method in ("PUT", "DELETE")]
    assert f": 1 profiles deleted from {other.collection}" in delete_everywhere(unlisted, ids[5:6])[0]


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_the_key_comes_from_the_environment_and_is_repeated_nowhere(server, unlisted, monkeypatch, capsys):
    server.key = SECRET
    config = config_of("qdrant", url=server.url)
    with pytest.raises(UserError, match="requires a key: put it into the variable QDRANT_API_KEY"):
        open_or_build(config, unlisted, *people(5), KEY)
    monkeypatch.setenv("QDRANT_API_KEY", "wrong-" + SECRET)
    with pytest.raises(UserError, match="rejects the key in the variable QDRANT_API_KEY") as rejected:
        open_or_build(config, unlisted, *people(5), KEY)
    monkeypatch.setenv("QDRANT_API_KEY", SECRET)
    open_or_build(config, unlisted, *people(5), KEY).close()
    server.failing = 500
    with pytest.raises(UserError, match="out of memory") as failed:
        open_or_build(config, unlisted, *people(5), KEY)
    assert SECRET not in str(rejected.value) + str(failed.value) + "".join(capsys.readouterr())
    assert not [path for path in unlisted.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


@pytest.mark.parametrize("url", ["https://me:secret@host:6333", "https://secret@host", "http://host?api-key=secret"])
def test_an_address_with_a_secret_is_refused_and_not_repeated(url, make):
    with pytest.raises(Exception, match="QDRANT_API_KEY") as caught:
        make("qdrant", url=url)
    assert "secret" not in str(caught.value.__cause__)


@pytest.mark.parametrize("url", ["host:6333", "ftp://host", "http://", "http://host:port", "http://[::1"])
def test_what_is_no_address_is_refused(url, make):
    with pytest.raises(Exception, match=r"index\.url.* is not an address; use index\.url=https://HOST:6333"):
        make("qdrant", url=url)


def test_a_server_that_cannot_be_reached_is_a_mistake(unlisted):
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{one.getsockname()[1]}"
    with pytest.raises(UserError, match=r"cannot be reached .*leave index\.url out .* index=exact"):
        open_or_build(config_of("qdrant", url=url), unlisted, *people(3), KEY)


def test_a_person_is_deleted_from_servers_too_or_the_server_is_named(server, unlisted):
    ids, vectors, cells = people(6)
    index = open_or_build(config_of("qdrant", url=server.url), unlisted, ids, vectors, cells, KEY)
    index.close()
    (line,) = delete_everywhere(unlisted, ["p002", "p003"])
    assert line.endswith(f": 2 profiles deleted from {index.collection} at {server.url}")
    left = {point.payload["id"] for point in server.held.scroll(index.collection, limit=10)[0]}
    assert left == set(ids) - {"p002", "p003"}
    server.close()
    (line,) = delete_everywhere(unlisted, ["p001"])
    assert "NOT deleted" in line and server.url in line and "cannot be reached" in line
    path = unlisted / "cache" / "indexes" / "known.json"
    entries = json.loads(path.read_text())
    path.write_text(json.dumps({folder: {"data_root": about["data_root"]} for folder, about in entries.items()}))
    (line,) = delete_everywhere(unlisted, ["p001"])
    assert "NOT deleted" in line and f"delete its collection there, named {index.collection}" in line


def test_collections_of_others_are_left_alone(server, make):
    profiles = people(4)
    make("qdrant", url=server.url, collection="mine").build(*profiles, "first matcher")
    with pytest.raises(UserError, match=r"of the matcher first matcher, .* with those of second matcher"):
        make("qdrant", url=server.url, collection="mine").build(*profiles, "second matcher")
    points = [point.id for point in server.held.scroll("mine")[0]]
    server.held.set_payload("mine", {"format": 2}, points)
    with pytest.raises(UserError, match=r"has format 2; .* reads up to 1"):
        make("qdrant", url=server.url, collection="mine").build(*profiles, "first matcher")
    server.held.clear_payload("mine", points)
    with pytest.raises(UserError, match="was not made by style_match"):
        make("qdrant", url=server.url, collection="mine").build(*profiles, "first matcher")
    assert server.held.count("mine").count == 4


def test_an_embedded_one_serves_one_process_at_a_time(make, tmp_path):
    index = make("qdrant")
    index.build(*people(4), KEY, folder=tmp_path)
    with pytest.raises(UserError, match="in use by another process"):
        make("qdrant").build(*people(4), KEY, folder=tmp_path)
    index.close()
    client = QdrantClient(path=str(tmp_path / "qdrant"))
    assert client.count(index.collection).count == 4
    client.close()


def test_damaged_embedded_storage_is_rebuilt(unlisted, capsys):
    open_or_build(config_of("qdrant"), unlisted, *people(4), KEY).close()
    (known,) = known_indexes()
    (known.folder / "qdrant" / "meta.json").write_text("{")
    index = open_or_build(config_of("qdrant"), unlisted, *people(4), KEY)
    assert "rebuilt" in capsys.readouterr().err and len(index) == 4
    index.close()


def test_an_interrupted_build_is_completed(unlisted, monkeypatch, capsys):
    profiles = people(20)
    call = Qdrant._call

    def interrupted(self, method, **arguments):
        if method == "upsert":
            call(self, method, **arguments | {"points": arguments["points"][:3]})
            raise KeyboardInterrupt
        return call(self, method, **arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Qdrant, "_call", interrupted)
        with pytest.raises(KeyboardInterrupt):
            open_or_build(config_of("qdrant"), unlisted, *profiles, KEY)
    gc.collect()  # the interrupted process is this one: its lock goes with its client
    index = open_or_build(config_of("qdrant"), unlisted, *profiles, KEY)
    assert "17 added, 0 replaced, 0 removed" in capsys.readouterr().err
    assert len(index) == 20
    index.close()


def test_column_names_are_escaped_without_collisions():
    names = ["age", "스타일 word", "a.b[0]", '"quoted"', "_5f", "_", "é_ê", "tab\t", ""]
    assert len({escaped(name) for name in names}) == len(names)
    assert all(sign.isascii() and (sign.isalnum() or sign == "_") for name in names for sign in escaped(name))
