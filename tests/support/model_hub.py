"""A small real stand-in for the hub to which models and datasets are pushed, in one commit each."""

from __future__ import annotations

import base64
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_a_test"


@dataclass(slots=True)
class ModelRepository:
    """One repository: its files as they were committed, who may read it, and what it holds."""

    private: bool
    kind: str = "model"
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)


class ModelHub:
    """Takes models and datasets at `url`; `repositories` shows what has come."""

    def __init__(self) -> None:
        self.repositories: dict[str, ModelRepository] = {}
        self.large: dict[str, bytes] = {}
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                code, told = hub.answer(self)
                body = json.dumps(told).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_PUT = do_GET  # noqa: N815 - the names that http.server calls

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> ModelHub:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, _: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> tuple[int, object]:
        """Answer one request of the hub's protocol."""
        path = unquote(urlsplit(request.path).path).strip("/")
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        if path.startswith("storage/"):
            self.large[path.removeprefix("storage/")] = body
            return 200, {}
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, {"error": "Invalid username or password."}
        if path == "api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if path == "api/repos/create":
            return self._create(json.loads(body))
        if path.endswith(".git/info/lfs/objects/batch"):
            return 200, self._batch(json.loads(body))
        parts = path.split("/")
        name = "/".join(parts[2:4])
        repository = self.repositories.get(name)
        if repository is None or parts[:2] != ["api", f"{repository.kind}s"]:
            return 404, {"error": "Repository not found"}
        if len(parts) == 4:
            return 200, {"id": name, "private": repository.private, "siblings": [], "tags": []}
        if parts[4] == "preupload":
            return 200, {"files": [_mode(each) for each in json.loads(body)["files"]]}
        return 200, self._commit(name, repository, body)

    def _create(self, told: dict[str, Any]) -> tuple[int, object]:
        name = f"{told['organization']}/{told['name']}"
        if name in self.repositories:
            return 409, {"error": "You already created this model repo", "url": name}
        private = told.get("visibility") == "private"
        self.repositories[name] = ModelRepository(private=private, kind=told.get("type", "model"))
        return 200, {"url": f"{self.url}/{name}", "id": name}

    def _batch(self, told: dict[str, Any]) -> dict[str, Any]:
        found = [
            {**each, "actions": {"upload": {"href": f"{self.url}/storage/{each['oid']}"}}}
            for each in told["objects"]
        ]
        return {"transfer": "basic", "objects": found}

    def _commit(self, name: str, repository: ModelRepository, body: bytes) -> dict[str, Any]:
        for line in map(json.loads, body.decode().splitlines()):
            value = line["value"]
            if line["key"] == "header":
                repository.commits.append(value["summary"])
            elif line["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                repository.files[value["path"]] = self.large[value["oid"]]
        commit = f"{len(repository.commits):040d}"
        return {"commitUrl": f"{self.url}/{name}/commit/{commit}", "commitOid": commit}


def _mode(told: dict[str, Any]) -> dict[str, Any]:
    large = told["path"].endswith((".safetensors", ".parquet"))
    return {
        "path": told["path"],
        "uploadMode": "lfs" if large else "regular",
        "shouldIgnore": False,
    }
