"""Qdrant's REST interface, as much of it as is asked, before a client's own in-memory collections."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from qdrant_client import QdrantClient, models


class Fake:
    """A server on a free port. `key`: what it wants as API key; `seen`: (method, path) and key of every request."""

    def __init__(self, key: str | None = None):
        self.key = key
        self.seen: list[tuple[str, str, str | None]] = []
        self.payload_indexes: dict[str, str] = {}
        self.held = QdrantClient(":memory:")
        self.failing: int | None = None
        fake, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
                with lock:
                    code, result = fake.answer(self.command, self.path, body, self.headers.get("api-key"))
                content = json.dumps({"result": result, "status": "ok", "time": 0.0}).encode()
                self.send_response(code)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_PUT = do_POST = do_DELETE = answer

            def log_message(self, *words: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, method: str, path: str, body: dict, key: str | None) -> tuple[int, Any]:
        self.seen.append((method, path, key))
        if self.key is not None and key != self.key:
            return 403, f"forbidden: {key}"
        if self.failing is not None:
            return self.failing, f"out of memory, with the key {key}"
        name, _, what = path.partition("?")[0].removeprefix("/collections/").partition("/")
        return 200, self.does(method, name, what, body)

    def does(self, method: str, name: str, what: str, body: dict) -> Any:
        held, plain = self.held, lambda model: model.model_dump(mode="json")
        done = {"operation_id": 0, "status": "completed"}
        if what == "exists":
            return {"exists": held.collection_exists(name)}
        if what == "" and method == "PUT":
            made = models.CreateCollection.model_validate(body)
            return held.create_collection(name, vectors_config=made.vectors, hnsw_config=made.hnsw_config)
        if what == "" and method == "DELETE":
            return held.delete_collection(name)
        if what == "":
            told = plain(held.get_collection(name))
            schema = {key: {"data_type": kind, "points": 0} for key, kind in self.payload_indexes.items()}
            return told | {"payload_schema": schema}
        if what == "index":
            self.payload_indexes[body["field_name"]] = body["field_schema"]
            return done
        if what == "points" and method == "PUT":
            held.upsert(name, models.PointsList.model_validate(body).points)
            return done
        if what == "points":
            return [plain(one) for one in held.retrieve(name, body["ids"], with_payload=body["with_payload"])]
        if what == "points/delete":
            held.delete(name, models.PointIdsList.model_validate(body))
            return done
        if what == "points/count":
            return plain(held.count(name, exact=body["exact"]))
        if what == "points/scroll":
            asked = models.ScrollRequest.model_validate(body)
            points, offset = held.scroll(
                name,
                asked.filter,
                limit=asked.limit,
                offset=asked.offset,
                with_payload=asked.with_payload,
                with_vectors=bool(asked.with_vector),
            )
            return {"points": [plain(one) for one in points], "next_page_offset": offset}
        assert what == "points/query/batch", (method, what)
        asked = models.QueryRequestBatch.model_validate(body).searches
        for one in asked:
            one.params = None  # how a server searches; in memory everything is scanned
        return [plain(one) for one in held.query_batch_points(name, asked)]
