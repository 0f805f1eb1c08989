"""index=qdrant on a server and embedded: requests, secrets, collections of others."""

import socket

import pytest
from qdrant_client import QdrantClient
from qdrant_client.http.exceptions import UnexpectedResponse

from style_match.serving.index import qdrant
from style_match.serving.index.folder import delete_everywhere, known_indexes, open_or_build
from style_match.serving.where import parse
from style_match.utils.errors import UserError

from .conftest import KEY, config_of, people

SECRET = "a-key-nobody-may-read"
URL = "http://127.0.0.1:6333"


class Server:
    """Stands for the client of a server at URL: one collection store in memory, whoever connects."""

    def __init__(self):
        self.held = QdrantClient(":memory:")
        self.key = self.sent_key = self.failing = None
        self.called: list[str] = []
        self.payload_indexes: set[str] = set()

    def connect(self, *location, url=None, api_key=None, **options):
        """What replaces `QdrantClient`; embedded clients are real ones."""
        if url is None:
            return QdrantClient(*location, **options)
        assert url == URL
        self.sent_key = api_key
        return self

    def __getattr__(self, method: str):
        def call(**arguments):
            self.called.append(method)
            code = 403 if self.key not in (None, self.sent_key) else self.failing
            if code:
                raise UnexpectedResponse(code, "", f"out of memory, with the key {self.sent_key}".encode(), None)
            if method == "create_payload_index":
                return self.payload_indexes.add(arguments["field_name"])
            return getattr(self.held, method)(**arguments)

        return call

    def close(self) -> None:
        """Close the connection; the server keeps running."""


@pytest.fixture
def server(monkeypatch):
    stand_in = Server()
    monkeypatch.setattr(qdrant, "QdrantClient", stand_in.connect)
    return stand_in


@pytest.mark.filterwarnings("ignore:Local mode performs exact")
def test_a_server_answers_as_the_exact_index_does(server, unlisted, make, monkeypatch, capsys):
    ids, vectors, cells = people(40)
    exact = make("exact")
    exact.build(ids[5:], vectors[5:], cells[5:], KEY)
    for rows in (range(40), range(5, 40)):
        some = [ids[i] for i in rows], vectors[list(rows)], [cells[i] for i in rows]
        index = open_or_build(config_of("qdrant", url=URL), unlisted, *some, KEY)
    assert "0 added, 0 replaced, 5 removed" in capsys.readouterr().err
    for condition in (None, parse("age < 30 and `스타일 word` == '깔끔한' or not gender == 'm'")):
        options = {"where": condition, "exclude": [[one] for one in ids[5:]]}
        assert index.search(vectors[5:], 6, **options) == exact.search(vectors[5:], 6, **options)
    assert len(index) == 35
    index.close()
    assert {"text.gender", "number.age", "flag.gender"} <= server.payload_indexes
    # another machine, without this cache, finds the collection
    monkeypatch.setenv("STYLE_MATCH_CACHE", str(unlisted / "another cache"))
    server.called.clear()
    other = open_or_build(config_of("qdrant", url=URL), unlisted, *some, KEY)
    assert "35 profiles, up to date" in capsys.readouterr().err
    assert len(other) == 35
    assert not {"upsert", "delete", "create_collection"} & set(server.called)
    assert f": 1 profiles deleted from {other.collection}" in delete_everywhere(unlisted, ids[5:6])[0]


def test_the_key_comes_from_the_environment_and_is_repeated_nowhere(server, unlisted, monkeypatch, capsys):
    server.key = SECRET
    config = config_of("qdrant", url=URL)
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


@pytest.mark.parametrize(
    ("url", "message"),
    [
        *[(url, "QDRANT_API_KEY") for url in ("https://me:secret@host:6333", "https://secret@host")],
        ("http://host?api-key=secret", "QDRANT_API_KEY"),
        *[(url, "is not an address; use index.url=https://HOST:6333") for url in ("host:6333", "ftp://host")],
        *[(url, "is not an address") for url in ("http://", "http://secret:port", "http://[::1")],
    ],
)
def test_an_address_with_a_secret_or_none_is_refused_and_not_repeated(url, message, make):
    with pytest.raises(Exception, match=message) as caught:
        make("qdrant", url=url)
    assert "secret" not in str(caught.value.__cause__)


def test_a_server_that_cannot_be_reached_is_a_mistake(unlisted):
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{one.getsockname()[1]}"
    with pytest.raises(UserError, match=r"cannot be reached .*leave index\.url out .* index=exact"):
        open_or_build(config_of("qdrant", url=url), unlisted, *people(3), KEY)


def test_a_person_is_deleted_from_servers_too_or_the_server_is_named(server, unlisted):
    ids, vectors, cells = people(6)
    index = open_or_build(config_of("qdrant", url=URL), unlisted, ids, vectors, cells, KEY)
    index.close()
    (line,) = delete_everywhere(unlisted, ["p002", "p003"])
    assert line.endswith(f": 2 profiles deleted from {index.collection} at {URL}")
    left = {point.payload["id"] for point in server.held.scroll(index.collection, limit=10)[0]}
    assert left == set(ids) - {"p002", "p003"}
    server.failing = 500
    (line,) = delete_everywhere(unlisted, ["p001"])
    assert "NOT deleted" in line and URL in line and "out of memory" in line


def test_collections_of_others_are_left_alone(server, make):
    profiles = people(4)
    make("qdrant", url=URL, collection="mine").build(*profiles, "first matcher")
    with pytest.raises(UserError, match=r"of the matcher first matcher, .* with those of second matcher"):
        make("qdrant", url=URL, collection="mine").build(*profiles, "second matcher")
    server.held.clear_payload("mine", [point.id for point in server.held.scroll("mine")[0]])
    with pytest.raises(UserError, match="was not made by this version of style_match"):
        make("qdrant", url=URL, collection="mine").build(*profiles, "first matcher")
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


def test_column_names_are_escaped_without_collisions():
    names = ["age", "스타일 word", "a.b[0]", '"quoted"', "_5f", "_", "é_ê", "tab\t", ""]
    assert len({qdrant.escaped(name) for name in names}) == len(names)
    assert all(sign.isascii() and (sign.isalnum() or sign == "_") for name in names for sign in qdrant.escaped(name))
