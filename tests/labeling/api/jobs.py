"""Files and batches of the server."""

import email
import email.policy
import json
import time
import uuid
from collections.abc import Callable
from typing import Any

Answerer = Callable[[str, dict[str, Any]], tuple[int, dict[str, Any]]]  # (path, body) -> (status, body)


class Jobs:
    """Files and batches.

    Args:
        answer: answers one request of a batch.
        seconds: time of a batch.
        outcome: returns the outcome of the next batch: completed, expired, failed, cancelled or token_limit.
    """

    def __init__(self, answer: Answerer, seconds: float, outcome: Callable[[], str]) -> None:
        self.answer, self.seconds, self.outcome = answer, seconds, outcome
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.ends: dict[str, tuple[float, str]] = {}

    def upload(self, content_type: str, body: bytes) -> dict[str, Any]:
        """Take a multipart form with `purpose` and `file`."""
        head = f"Content-Type: {content_type}\r\n\r\n".encode()
        form = email.message_from_bytes(head + body, policy=email.policy.HTTP)
        parts = {part.get_param("name", header="content-disposition"): part for part in form.iter_parts()}
        assert parts["purpose"].get_payload(decode=True).strip() == b"batch"
        return {"id": self.add(parts["file"].get_payload(decode=True)), "object": "file"}

    def add(self, content: bytes) -> str:
        file_id = f"file-{uuid.uuid4().hex}"
        self.files[file_id] = content
        return file_id

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        batch = {
            "id": f"batch_{uuid.uuid4().hex}",
            "object": "batch",
            "endpoint": body["endpoint"],
            "input_file_id": body["input_file_id"],
            "created_at": int(time.time()),
            "metadata": body["metadata"],
            "status": "in_progress",
            "request_counts": {"total": self.files[body["input_file_id"]].count(b"\n"), "completed": 0, "failed": 0},
        }
        self.batches[batch["id"]] = batch
        self.ends[batch["id"]] = (time.monotonic() + self.seconds, self.outcome())
        return batch

    def look(self, batch_id: str) -> dict[str, Any] | None:
        batch = self.batches.get(batch_id)
        if batch and batch["status"] == "in_progress" and time.monotonic() >= self.ends[batch_id][0]:
            self._end(batch, self.ends[batch_id][1])
        return batch

    def _end(self, batch: dict[str, Any], outcome: str) -> None:
        if outcome in ("failed", "token_limit"):
            code = "token_limit_exceeded" if outcome == "token_limit" else "invalid_json_line"
            batch["status"] = "failed"
            batch["errors"] = {"object": "list", "data": [{"code": code, "message": "Not taken.", "line": None}]}
            return
        lines = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        num_answered = len(lines) if outcome == "completed" else len(lines) // 2
        good, bad = [], []
        for number, line in enumerate(lines):
            if number < num_answered:
                status, body = self.answer(batch["endpoint"], line["body"])
                said = {"custom_id": line["custom_id"], "response": {"status_code": status, "body": body}}
                (good if status == 200 else bad).append(said)
            else:
                bad.append({"custom_id": line["custom_id"], "response": None, "error": {"code": f"batch_{outcome}"}})
        for key, rows in (("output_file_id", good), ("error_file_id", bad)):
            if rows:
                batch[key] = self.add("".join(json.dumps(row) + "\n" for row in reversed(rows)).encode())
        batch["status"] = outcome

    def listed(self, query: dict[str, str]) -> dict[str, Any]:
        """Return one page of the batches, newest first."""
        ids = list(reversed(self.batches))
        first = ids.index(query["after"]) + 1 if "after" in query else 0
        page = [self.batches[batch_id] for batch_id in ids[first : first + int(query.get("limit", 20))]]
        return {"object": "list", "data": page, "has_more": first + len(page) < len(ids)}
