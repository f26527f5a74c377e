"""The Batch API of the test server: files, batches, their results, and what can go wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email import message_from_bytes
from email.policy import HTTP
from typing import Any

from tests.support.http_server import Line, Request, Response

Reply = Callable[[Mapping[str, Any]], tuple[int, dict[str, Any]]]


@dataclass(slots=True)
class BatchScript:
    """How batches go: `ends` are the final states of the first ones, then all are completed.

    An "expired" one answers the first half of its requests, a "failed" one none. `rejects` names
    requests, by what their passage holds, that get an error line in the first batch with them.
    `deaf` drops the connection after a batch was created, before the client hears of it.
    """

    seconds: float = 0.05
    ends: Sequence[str] = ()
    rejects: Sequence[str] = ()
    deaf: int = 0
    absent: bool = False


@dataclass(slots=True)
class Batches:
    """The files and batches that a server holds."""

    reply: Reply
    script: BatchScript = field(default_factory=BatchScript)
    files: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    polls: int = 0

    async def handle(self, request: Request, line: Line) -> Response:
        """Answer one path under /v1/files or /v1/batches."""
        _, _, kind, *rest = request.path.partition("?")[0].split("/")
        if self.script.absent:
            return _error(404, f"no {request.method} {request.path} here")
        if kind == "files" and request.method == "POST":
            return self._upload(request)
        if kind == "files":
            content = self.files.get(rest[0])
            if content is None:
                return _error(404, "No such File object")
            return Response(content, content_type="application/jsonl")
        if request.method == "POST":
            return self._create(request, line)
        if rest:
            return self._state(rest[0])
        rows = [_shown(batch) for batch in reversed(self.batches.values())]
        return Response({"object": "list", "data": rows, "has_more": False})

    def _upload(self, request: Request) -> Response:
        head = f"Content-Type: {request.header('Content-Type')}\r\n\r\n".encode()
        form = message_from_bytes(head + request.body, policy=HTTP)
        fields = {part.get_param("name", header="content-disposition"): part.get_payload(
            decode=True) for part in form.walk() if not part.is_multipart()}  # fmt: skip
        if fields.get("purpose") != b"batch" or not isinstance(fields.get("file"), bytes):
            return _error(400, "no file for a batch")
        name = f"file-{len(self.files)}"
        self.files[name] = fields["file"]
        return Response({"id": name, "object": "file", "purpose": "batch"})

    def _create(self, request: Request, line: Line) -> Response:
        body = request.json()
        lines = [json.loads(each) for each in self.files[body["input_file_id"]].splitlines()]
        assert body["completion_window"] == "24h"
        assert all(each["url"] == body["endpoint"] for each in lines)
        number = len(self.batches)
        batch = {
            "id": f"batch_{number}",
            "object": "batch",
            "status": "validating",
            "metadata": body.get("metadata"),
            "ready": time.monotonic() + self.script.seconds,
            "end": self.script.ends[number] if number < len(self.script.ends) else "completed",
            "lines": lines,
        }
        self.batches[str(batch["id"])] = batch
        self.asked += [each["custom_id"] for each in lines]
        if self.script.deaf:
            self.script.deaf -= 1
            line.transport.abort()
        return Response(_shown(batch))

    def _state(self, batch_id: str) -> Response:
        self.polls += 1
        batch = self.batches.get(batch_id)
        if batch is None:
            return _error(404, "No such batch")
        if batch["status"] not in {"completed", "failed", "expired"}:
            batch["status"] = "in_progress"
            if time.monotonic() >= batch["ready"]:
                self._end(batch)
        return Response(_shown(batch))

    def _end(self, batch: dict[str, Any]) -> None:
        batch["status"] = batch["end"]
        if batch["end"] == "failed":
            error = {"code": "token_limit_exceeded", "message": "Enqueued token limit reached"}
            batch["errors"] = {"object": "list", "data": [error]}
            return
        good, bad = [], []
        lines = batch["lines"]
        answered = len(lines) // 2 if batch["end"] == "expired" else len(lines)
        for place, line in enumerate(lines):
            words = json.dumps(line["body"], ensure_ascii=False)
            row: dict[str, Any] = {"id": f"req_{place}", "custom_id": line["custom_id"]}
            if place >= answered:
                error = {"code": "batch_expired", "message": "This request could not be executed"}
                bad.append({**row, "response": None, "error": error})
            elif marks := [mark for mark in self.script.rejects if mark in words]:
                self.script.rejects = [m for m in self.script.rejects if m not in marks]
                told = {"status_code": 500, "body": {"error": {"message": "overloaded"}}}
                bad.append({**row, "response": told, "error": None})
            else:
                status, body = self.reply(line["body"])
                good.append(
                    {**row, "response": {"status_code": status, "body": body}, "error": None}
                )
        for name, rows in (("output_file_id", good), ("error_file_id", bad)):
            if rows:
                batch[name] = f"file-{len(self.files)}"
                content = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
                self.files[batch[name]] = content.encode()


def _shown(batch: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in batch.items() if key not in {"ready", "end", "lines"}}


def _error(status: int, words: str) -> Response:
    return Response({"error": {"message": words, "type": "error", "code": None}}, status)
