"""Files and batches of the server."""

import email
import email.policy
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

Answerer = Callable[[str, dict[str, Any]], tuple[int, dict[str, Any]]]  # (path, body) -> (status, body)


@dataclass
class Jobs:
    """Files and batches.

    Attributes:
        answer: Answers one request of a batch.
        seconds: Time of a batch.
        outcome: Returns the outcome of the next batch: completed, expired, failed, cancelled or token_limit.
    """

    answer: Answerer
    seconds: float
    outcome: Callable[[], str]
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.lock = RLock()
        self.ends: dict[str, tuple[float, str]] = {}

    def upload(self, content_type: str, body: bytes) -> dict[str, Any]:
        """Take a multipart form with `purpose` and `file`."""
        form = email.message_from_bytes(
            f"Content-Type: {content_type}\r\n\r\n".encode() + body, policy=email.policy.HTTP
        )
        parts = {part.get_param("name", header="content-disposition"): part for part in form.iter_parts()}
        purpose = parts["purpose"].get_payload(decode=True).decode().strip()
        return self.add(parts["file"].get_payload(decode=True), parts["file"].get_filename(), purpose)

    def add(self, content: bytes, filename: str, purpose: str) -> dict[str, Any]:
        with self.lock:
            file = {
                "id": f"file-{uuid.uuid4().hex}",
                "object": "file",
                "bytes": len(content),
                "created_at": int(time.time()),
                "filename": filename,
                "purpose": purpose,
                "status": "processed",
            }
            self.files[file["id"]], self.contents[file["id"]] = file, content
            return file

    def remove(self, file_id: str) -> dict[str, Any] | None:
        with self.lock:
            if self.files.pop(file_id, None) is None:
                return None
            del self.contents[file_id]
            return {"id": file_id, "object": "file", "deleted": True}

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            lines = self.contents[body["input_file_id"]].splitlines()
            batch = {
                "id": f"batch_{uuid.uuid4().hex}",
                "object": "batch",
                "endpoint": body["endpoint"],
                "input_file_id": body["input_file_id"],
                "completion_window": body["completion_window"],
                "created_at": int(time.time()),
                "metadata": body.get("metadata"),
                "status": "in_progress",
                "output_file_id": None,
                "error_file_id": None,
                "errors": None,
                "request_counts": {"total": len(lines), "completed": 0, "failed": 0},
            }
            self.batches[batch["id"]] = batch
            self.ends[batch["id"]] = (time.monotonic() + self.seconds, self.outcome())
            return batch

    def look(self, batch_id: str) -> dict[str, Any] | None:
        with self.lock:
            batch = self.batches.get(batch_id)
            if batch and batch["status"] == "in_progress":
                end, outcome = self.ends[batch_id]
                if time.monotonic() >= end:
                    self._end(batch, outcome)
            return batch

    def _end(self, batch: dict[str, Any], outcome: str) -> None:
        if outcome in ("failed", "token_limit"):
            code = "token_limit_exceeded" if outcome == "token_limit" else "invalid_json_line"
            batch["status"] = "failed"
            batch["errors"] = {"object": "list", "data": [{"code": code, "message": "Not taken.", "line": None}]}
            return
        lines = [json.loads(line) for line in self.contents[batch["input_file_id"]].splitlines()]
        worked = lines if outcome == "completed" else lines[: len(lines) // 2]
        good, bad = [], []
        for line in worked:
            status, body = self.answer(batch["endpoint"], line["body"])
            response = {"status_code": status, "request_id": uuid.uuid4().hex, "body": body}
            said = {"id": uuid.uuid4().hex, "custom_id": line["custom_id"], "response": response, "error": None}
            (good if status == 200 else bad).append(said)
        for line in lines[len(worked) :]:
            error = {"code": f"batch_{outcome}", "message": f"This request was not worked on: {outcome}."}
            bad.append({"id": uuid.uuid4().hex, "custom_id": line["custom_id"], "response": None, "error": error})
        for key, rows in (("output_file_id", good), ("error_file_id", bad)):
            if rows:
                content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in reversed(rows))
                batch[key] = self.add(content.encode(), f"{batch['id']}_{key}.jsonl", "batch_output")["id"]
        batch["request_counts"] = {"total": len(lines), "completed": len(good), "failed": len(bad)}
        batch["status"] = outcome

    def listed(self, rows: dict[str, dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
        """Return one page, newest first."""
        with self.lock:
            found = [row for row in reversed(rows.values()) if query.get("purpose") in (None, row.get("purpose"))]
        ids = [row["id"] for row in found]
        first = ids.index(query["after"]) + 1 if query.get("after") in ids else 0
        page = found[first : first + int(query.get("limit", 20))]
        more = first + len(page) < len(found)
        return {"object": "list", "data": page, "has_more": more, "last_id": page[-1]["id"] if page else None}
